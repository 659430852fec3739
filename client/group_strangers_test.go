package client_test

import (
	"testing"
)

func TestStrangersCannotFillTheListOfGroups(t *testing.T) {
	cluster := shared(t)
	mallory, _ := create(t, cluster, "Mallory")
	bob, _ := create(t, cluster, "Bob")
	made, err := mallory.MakeUpGroups(patient(t), mallory.group(t, "bait").ID, bob.id(), 67)
	ok(t, "invite", err)
	bob.until(t, "what strangers may", func() bool {
		all, err := bob.Groups(patient(t))
		ok(t, "groups", err)
		convs, err := bob.AllConversations(patient(t))
		ok(t, "conversations", err)
		_, err = bob.Group(patient(t), made[len(made)-1])
		return err == nil && len(all) == 64 && len(convs) == 64
	})
	ok(t, "end the workers of the others", bob.GroupWorkers(patient(t), 64))
}
