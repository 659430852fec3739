package client_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// TestDeviceInMoreGroupsThanItCanFollow gets the messages of all its groups, although it follows two at once,
// and its changes go into the log of each.
func TestDeviceInMoreGroupsThanItCanFollow(t *testing.T) {
	cluster := shared(t)
	cfg := config(t, cluster, "Alice-1")
	cfg.Follow(2, 50*time.Millisecond)
	alice, _ := createWith(t, cfg, "Alice")
	bob, _ := create(t, cluster, "Bob")
	for _, p := range [][2]*device{{alice, bob}, {bob, alice}} {
		if _, err := p[0].AddContact(patient(t), p[1].id(), ""); err != nil {
			t.Fatal(err)
		}
	}
	var ids []ident.GroupID
	for i := range 5 {
		g := alice.group(t, fmt.Sprint("group ", i))
		alice.add(t, g.ID, bob)
		ids = append(ids, g.ID)
	}
	for _, id := range ids {
		bob.in(t, id, "both are in", members(2))
	}
	for round := range 2 {
		for i, id := range ids {
			bob.say(t, id, fmt.Sprint("round ", round, " in ", i))
		}
		for i, id := range ids {
			text := fmt.Sprint("round ", round, " in ", i)
			alice.until(t, text, func() bool {
				for _, m := range alice.written(t, id) {
					if m.Text == text {
						return true
					}
				}
				return false
			})
		}
	}
	for i, id := range ids {
		name := fmt.Sprint("renamed ", i)
		ok(t, "rename", alice.Group(id).SetInfo(patient(t), client.GroupInfo{Name: &name}))
		bob.in(t, id, name, func(g client.Group) bool { return g.Name == name })
	}
}
