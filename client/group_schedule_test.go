package client_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// wakes makes a device look at its errands, and waits until a group is as f wants.
func (d *device) wakes(t testing.TB, id ident.GroupID, what string, f func(client.Group) bool) client.Group {
	t.Helper()
	d.Lab().WakeKeeper()
	return d.in(t, id, what, f)
}

// later reports whether an errand is not due for a while.
func (d *device) later(id ident.GroupID, kind string, least time.Duration) func(client.Group) bool {
	return func(client.Group) bool {
		due, ok := d.Lab().GroupErrandDue(id, kind)
		return ok && due >= least
	}
}

func TestLeafKeysAndGenerationsChangeWeekly(t *testing.T) {
	cluster := shared(t)
	var k clock
	alice, _ := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	bob, _ := createWith(t, k.config(t, cluster, "bob-1"), "Bob")
	bob2 := linkByInviteWith(t, k.config(t, cluster, "bob-2"), bob)
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	bob2.in(t, id, "the account is in", status(client.GroupJoined))
	was := bob2.Lab().LeafKeys(id)
	begun := bob.in(t, id, "the account is in", status(client.GroupJoined)).Generation

	k.pass(7*day - time.Hour) // a leaf key is due, a generation is not
	bob.wakes(t, id, "its leaf key is with the admins", bob.later(id, "leaf", 5*day))
	must(t, alice.SyncToHeads(patient(t)))
	bob2.in(t, id, "it has the leaf key", func(client.Group) bool { return bob2.Lab().LeafKeys(id) > was })
	// it may have been as fast
	bob2.wakes(t, id, "it does not change the key again", bob2.later(id, "leaf", 5*day))
	if g, err := bob.Group(id).Get(t.Context()); err != nil || g.Generation != begun {
		t.Errorf("within the week: got generation %d, %v, want %d", g.Generation, err, begun)
	}

	k.pass(5 * time.Hour)
	got := alice.wakes(t, id, "a generation begins",
		func(g client.Group) bool { return g.Generation > begun })
	for _, d := range []*device{alice, bob, bob2} {
		d.in(t, id, "the generation is there",
			func(g client.Group) bool { return g.Generation == got.Generation })
	}
	for _, d := range []*device{bob, bob2} {
		if n := d.Lab().LeafNumber(id); n != 2 {
			t.Errorf("%s: got leaf key %d, want 2", d.Account().Label, n)
		}
	}
	alice.wakes(t, id, "the next generation is put off", alice.later(id, "rekey", 6*day))
	alice.say(t, id, "after the change")
	bob2.message(t, "after the change")

	k.pass(17 * day) // the superseded leaf key goes
	bob2.wakes(t, id, "old keys are erased", bob2.later(id, "erase", 20*time.Hour))
	if kept := bob2.Lab().LeafKeys(id); was != 1 || kept > 4 {
		t.Errorf("got %d leaf keys, had %d, want 4 at most and 1", kept, was)
	}
	bob.say(t, id, "still here")
	alice.message(t, "still here")
}

func TestMemberThatWasAwayForFifteenDaysCatchesUp(t *testing.T) {
	cluster := shared(t)
	var k clock
	alice, _ := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	bob, _ := createWith(t, k.config(t, cluster, "bob-1"), "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	bob.stop()
	for i := range 5 {
		k.pass(3 * day)
		alice.say(t, id, fmt.Sprintf("day %d", 3*i+3))
		if err := alice.Group(id).Rekey(patient(t)); err != nil {
			t.Fatal(err)
		}
		alice.say(t, id, fmt.Sprintf("day %d, later", 3*i+3))
	}
	bob = bob.reopen(t)
	for i := range 5 {
		bob.message(t, fmt.Sprintf("day %d", 3*i+3))
		bob.message(t, fmt.Sprintf("day %d, later", 3*i+3))
	}
	bob.say(t, id, "back")
	alice.message(t, "back")
}

func TestOnlyTheNewestGenerationLetsSomebodyIn(t *testing.T) {
	cluster := shared(t)
	all, id := band(t, cluster, "Alice", "Bob")
	alice, bob := all[0], all[1]
	sign := [32]byte{7}
	old, err := bob.Lab().Credential(id, sign)
	if err != nil {
		t.Fatal(err)
	}
	look := func(credential []byte) error {
		if err := alice.FetchPerson(patient(t), bob.id()); err != nil {
			t.Fatal(err)
		}
		return alice.Lab().CheckNewcomer(id, bob.id(), sign, credential)
	}
	if err := look(old); err != nil {
		t.Errorf("with the newest generation: %v", err)
	}
	if err := alice.Lab().CheckNewcomer(id, bob.id(), [32]byte{8}, old); !errors.Is(err, fault.Denied) {
		t.Errorf("for another key: got %v, want Denied", err)
	}
	linkByInvite(t, cluster, bob, "bob-2") // a generation begins
	if err := look(old); !errors.Is(err, fault.Denied) {
		t.Errorf("with a generation that is over: got %v, want Denied", err)
	}
	fresh, err := bob.Lab().Credential(id, sign)
	if err != nil {
		t.Fatal(err)
	}
	if err := look(fresh); err != nil {
		t.Errorf("with the newest generation again: %v", err)
	}
	if err := alice.Lab().CheckForged(id, bob.id()); !errors.Is(err, fault.Denied) {
		t.Errorf("a member with a key that is not the account's: got %v, want Denied", err)
	}
	stranger, _ := create(t, cluster, "Carol")
	if err := alice.Lab().CheckNewcomer(id, stranger.id(), sign, fresh); !errors.Is(err, fault.NotFound) {
		t.Errorf("of an account that is not known: got %v, want NotFound", err)
	}
}
