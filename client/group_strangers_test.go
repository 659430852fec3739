package client_test

import (
	"testing"
)

func TestStrangersCannotFillTheListOfGroups(t *testing.T) {
	cluster := shared(t)
	mallory, _ := create(t, cluster, "Mallory")
	bob, _ := create(t, cluster, "Bob")
	made, err := mallory.Lab().MakeUpGroups(patient(t), mallory.group(t, "bait").ID, bob.id(), 67)
	ok(t, "invite", err)
	bob.until(t, "what strangers may", func() bool {
		all, err := bob.Groups(patient(t))
		ok(t, "groups", err)
		convs, err := bob.AllConversations(patient(t))
		ok(t, "conversations", err)
		_, err = bob.Group(made[len(made)-1]).Get(patient(t))
		return err == nil && len(all) == 64 && len(convs) == 64
	})
	ok(t, "end the workers of the others", bob.Lab().GroupWorkers(patient(t), 64))
}
