package client_test

import (
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// generations begins n generations.
func (d *device) generations(t *testing.T, id ident.GroupID, n int) {
	t.Helper()
	for range n {
		ok(t, "rekey", d.Group(id).Rekey(patient(t)))
	}
}

// TestMemberWhoseSlotsWereDroppedReturnsByItself: it was away for more generations than nodes keep slots of
// in any case.
func TestMemberWhoseSlotsWereDroppedReturnsByItself(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob")
	alice, bob := all[0], all[1]
	settleDocuments(t, bob)
	bob.stop()
	alice.generations(t, id, 5)
	ok(t, "drop slots", alice.Lab().DropSlots(patient(t), id))
	bob = bob.reopen(t)
	bob.in(t, id, "it asks for keys", func(g client.Group) bool {
		return g.Status == client.GroupReturning &&
			g.Warning != ""
	})
	bob.in(t, id, "it is back", status(client.GroupJoined))
	alice.say(t, id, "welcome back")
	bob.message(t, "welcome back")
	alice.sawReturn(t, id, bob.id())
	if got := bob.told(t, id, bob.id()); got[client.NoticeRemoved] != 0 {
		t.Errorf("got %v, want no removal", got)
	}
}

// TestRemovalWhileAwayIsLearned after many generations as long as slots from before are there, and of the
// newest ones at any rate.
func TestRemovalWhileAwayIsLearned(t *testing.T) {
	for name, c := range map[string]struct {
		generations int
		drop        bool
	}{"long ago": {5, false}, "slots dropped": {3, true}} {
		t.Run(name, func(t *testing.T) {
			all, id := band(t, shared(t), "Alice", "Bob")
			alice, bob := all[0], all[1]
			bob.stop()
			ok(t, "remove", alice.Group(id).Remove(patient(t), bob.id()))
			alice.generations(t, id, c.generations)
			if c.drop {
				ok(t, "drop slots", alice.Lab().DropSlots(patient(t), id))
			}
			bob = bob.reopen(t)
			bob.in(t, id, "removal", status(client.GroupRemoved))
		})
	}
}
