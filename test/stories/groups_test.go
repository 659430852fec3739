package stories

import (
	"slices"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// sees waits until a group looks as f says.
func (d *device) sees(t *testing.T, id ident.GroupID, what string, f func(client.Group) bool) {
	t.Helper()
	if g, err := d.Group(id).Wait(patient(t), f); err != nil {
		t.Fatalf("%s waits until %s: %v; has %+v", d.cfg.Label, what, err, g)
	}
}

func is(s client.GroupStatus) func(client.Group) bool {
	return func(g client.Group) bool { return g.Status == s }
}

func joined(n int) func(client.Group) bool {
	return func(g client.Group) bool {
		invited := func(m client.GroupMember) bool { return m.Status == "invited" }
		waiting := slices.ContainsFunc(g.Members, invited)
		return g.Status == client.GroupJoined && len(g.Members) == n && !waiting
	}
}

func TestLifeOfAClosedGroup(t *testing.T) {
	swarmtest.Bubble(t, node.EmbeddedConfig{}, func(t *testing.T, w *swarmtest.World) {
		alice, bob, carol := create(t, w, "alice"), create(t, w, "bob"), create(t, w, "carol")
		bob.knows(t, alice)
		name := "band"
		g, err := alice.CreateGroup(patient(t), client.GroupInfo{Name: &name}, client.GroupShared)
		must(t, "create group", err)
		must(t, "add", alice.Group(g.ID).Add(patient(t), 0, bob.id(), carol.id()))
		carol.sees(t, g.ID, "she is invited by a stranger", is(client.GroupInvited))
		must(t, "accept", carol.Group(g.ID).Accept(patient(t)))
		for _, d := range []*device{alice, bob, carol} {
			d.sees(t, g.ID, "all three are members", joined(3))
		}

		for _, from := range []*device{alice, bob, carol} {
			text := from.cfg.Label + " speaks"
			from.writes(t, g.ID, text)
			for _, to := range []*device{alice, bob, carol} {
				if to != from {
					to.gets(t, text)
				}
			}
		}

		must(t, "remove", alice.Group(g.ID).Remove(patient(t), carol.id()))
		carol.sees(t, g.ID, "she is out", is(client.GroupRemoved))
		bob.sees(t, g.ID, "two are left", joined(2))
		bob.writes(t, g.ID, "among ourselves")
		alice.gets(t, "among ourselves")
		if slices.Contains(carol.texts(t, g.ID.String()), "among ourselves") {
			t.Error("carol has a message that was written after her removal")
		}
	})
}
