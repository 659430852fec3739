package client_test

import (
	"testing"

	"github.com/starling-swarm/starling/client"
)

// TestImpostorIsRemoved: who comes in with a link under another account's ID does not stay, and the account
// itself is not kept out.
func TestImpostorIsRemoved(t *testing.T) {
	for name, later := range map[string]uint32{"of the account's generation": 0, "of one to come": 3} {
		t.Run(name, func(t *testing.T) {
			cluster := shared(t)
			alice, _ := create(t, cluster, "Alice")
			bob, _ := create(t, cluster, "Bob")
			carol, _ := create(t, cluster, "Carol")
			mallory, _ := create(t, cluster, "Mallory")
			id, link := alice.open(t, "open evening", 5)
			bob.walkIn(t, link)
			alice.in(t, id, "Bob is in", members(2))
			alice.stop() // what she finds out has to survive that
			mallory.Lab().JoinAs(patient(t), t, link.Link, carol.id(), later)
			bob.in(t, id, "the impostor is in", members(3))
			alice = alice.reopen(t)
			for _, d := range []*device{alice, bob} {
				g := d.in(t, id, "the impostor is out", func(g client.Group) bool {
					return members(2)(g) &&
						g.Generation > 1
				})
				if len(g.Banned) > 0 {
					t.Errorf("%v are banned, want nobody", g.Banned)
				}
			}
			bob.say(t, id, "after it")
			alice.message(t, "after it")
			all, err := alice.Messages(t.Context(), client.Filter{Conversation: id.String()})
			ok(t, "messages", err)
			for _, m := range all {
				if m.From == carol.id() && m.Text == "it is me" {
					t.Errorf("%q is shown as Carol's", m.Text)
				}
			}
			again, err := alice.Group(id).CreateLink(patient(t), link.Expires, 1, 0)
			ok(t, "link", err)
			carol.walkIn(t, again)
			alice.in(t, id, "Carol herself is in", members(3))
		})
	}
}
