package client_test

import (
	"slices"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// said returns the texts in a group's conversation, oldest first.
func (d *device) said(t testing.TB, id ident.GroupID) (out []string) {
	t.Helper()
	for _, m := range d.written(t, id) {
		out = append(out, m.Text)
	}
	return out
}

// TestNewcomerReadsEarlierGenerations: who is added with days of history reads what was written in them under
// keys that are over, by members who have left since, too; who is added without reads what comes.
func TestNewcomerReadsEarlierGenerations(t *testing.T) {
	cluster := shared(t)
	all := friends(t, cluster, "Alice", "Bob", "Carol", "Dave", "Erin")
	alice, bob, carol, dave, erin := all[0], all[1], all[2], all[3], all[4]
	id := alice.group(t, "band").ID
	alice.let(t, id, bob)
	alice.let(t, id, erin)
	erin.say(t, id, "one")
	ok(t, "rekey", alice.Group(id).Rekey(patient(t)))
	bob.in(t, id, "the second generation", func(g client.Group) bool { return g.Generation == 2 })
	bob.say(t, id, "two")
	ok(t, "remove", alice.Group(id).Remove(patient(t), erin.id()))
	alice.say(t, id, "three")
	ok(t, "add", alice.Group(id).Add(patient(t), 7, carol.id()))
	carol.in(t, id, "joined", status(client.GroupJoined))
	alice.let(t, id, dave)
	alice.say(t, id, "four")
	want := []string{"one", "two", "three", "four"}
	carol.until(t, "all four messages", func() bool { return slices.Equal(carol.said(t, id), want) })
	dave.until(t, "the last message", func() bool { return slices.Equal(dave.said(t, id), want[3:]) })
	for _, m := range carol.written(t, id)[:3] {
		if left := m.From == erin.id(); m.Unverified != left || m.FromName == "" {
			t.Errorf("got %+v, want its author, verified unless no member any more", m)
		}
	}
	carol = carol.reopen(t)
	bob.say(t, id, "five")
	carol.until(t, "what comes later", func() bool {
		return slices.Equal(carol.said(t, id),
			append(want, "five"))
	})
	if first := carol.notices(t, id)[0].Notice; first.Kind != "joined" ||
		!slices.Equal(first.Members, []ident.AccountID{carol.id()}) {
		t.Errorf("the first notice is %+v, want none of what happened before she came", first)
	}
}

// TestDevicesOfANewcomerReadTheSame: what one device of a newcomer opens of earlier generations the others do
// too: one that is there when it comes in, one that is off then, one that is linked later, and one that lost
// everything and has a handover of a later generation.
func TestDevicesOfANewcomerReadTheSame(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	carol, carol2 := twoDevices(t, cluster, "Carol")
	approve(t, alice, bob)
	approve(t, alice, carol)
	away := linkByInvite(t, cluster, carol, "Carol-3")
	away.stop()
	id := alice.group(t, "band").ID
	alice.let(t, id, bob)
	bob.say(t, id, "one")
	ok(t, "rekey", alice.Group(id).Rekey(patient(t)))
	alice.say(t, id, "two")
	ok(t, "rekey", alice.Group(id).Rekey(patient(t)))
	ok(t, "add", alice.Group(id).Add(patient(t), 7, carol.id()))
	carol.in(t, id, "joined", status(client.GroupJoined))
	carol.say(t, id, "three")
	want := []string{"one", "two", "three"}
	all := func(d *device) {
		t.Helper()
		d.until(t, "all that the group wrote, verified", func() bool {
			// in the order in which it came: by copies, a history, the group's mailbox
			for _, m := range d.written(t, id) {
				if m.Unverified || m.Mine != (m.Text == "three") {
					return false
				}
			}
			return slices.Equal(slices.Sorted(slices.Values(d.said(t, id))),
				slices.Sorted(slices.Values(want)))
		})
	}
	for _, d := range []*device{carol, carol2} {
		all(d)
	}
	ok(t, "rekey", alice.Group(id).Rekey(patient(t)))
	carol.in(t, id, "the next generation", func(g client.Group) bool { return g.Generation == 4 })
	alice.say(t, id, "four")
	want = append(want, "four")
	away = away.reopen(t)
	tablet := linkByInvite(t, cluster, carol, "Carol-4")
	carol2.in(t, id, "the next generation", func(g client.Group) bool { return g.Generation == 4 })
	carol2.Lab().EmptyGroup(id)
	carol2 = carol2.reopen(t)
	for _, d := range []*device{carol, carol2, away, tablet} {
		all(d)
	}
}
