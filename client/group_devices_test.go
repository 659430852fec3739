package client_test

import (
	"errors"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// twoDevices makes an account with two devices, of which the second was linked by the first.
func twoDevices(t testing.TB, cluster *swarmtest.Cluster, name string) (first, second *device) {
	t.Helper()
	first, _ = create(t, cluster, name)
	return first, linkByInvite(t, cluster, first, name+"-2")
}

// approve makes two accounts contacts of each other.
func approve(t testing.TB, a, b *device) {
	t.Helper()
	for d, id := range map[*device]ident.AccountID{a: b.id(), b: a.id()} {
		if _, err := d.AddContact(patient(t), id, ""); err != nil {
			t.Fatalf("add contact: %v", err)
		}
	}
}

// let adds a contact to a group and waits until both sides know.
func (d *device) let(t testing.TB, id ident.GroupID, who *device) {
	t.Helper()
	d.add(t, id, who)
	who.in(t, id, "the account is in", status(client.GroupJoined))
	d.in(t, id, "the account is a member", isMember(who.id()))
}

func isMember(id ident.AccountID) func(client.Group) bool {
	return func(g client.Group) bool {
		for _, m := range g.Members {
			if m.Account == id && m.Status == "member" {
				return true
			}
		}
		return false
	}
}

func (d *device) say(t testing.TB, id ident.GroupID, text string) {
	t.Helper()
	sent, err := d.Send(patient(t), id, client.Outgoing{Text: text})
	if err != nil {
		t.Fatalf("send %q: %v", text, err)
	}
	if _, err := d.Wait(patient(t), sent.ID, client.StateStored); err != nil {
		t.Fatalf("send %q: %v", text, err)
	}
}

func TestGroupOfOneDeviceIsOnTheOthers(t *testing.T) {
	cluster := shared(t)
	alice, alice2 := twoDevices(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	got := alice2.in(t, id, "the group", status(client.GroupJoined))
	if got.Name != "walkers" || got.Role != client.RoleAdmin {
		t.Errorf("on the other device: got %+v, want walkers as admin", got)
	}
	alice2.let(t, id, bob) // the second device may do all that the first may
	alice.in(t, id, "bob", isMember(bob.id()))
	bob.say(t, id, "hello all")
	for _, d := range []*device{alice, alice2} {
		if got := d.message(t, "hello all"); got.From != bob.id() || got.Unverified {
			t.Errorf("%s: got %+v, want a verified message of bob", d.Account().Label, got)
		}
	}
	alice.say(t, id, "from the first")
	alice2.message(t, "from the first")
}

func TestDeviceThatIsLinkedLaterGetsTheGroups(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	if err := alice.Group(id).Rekey(patient(t)); err != nil {
		t.Fatal(err)
	}
	bob.say(t, id, "before the tablet")
	alice.message(t, "before the tablet")
	tablet := linkByInvite(t, cluster, alice, "tablet")
	got := tablet.in(t, id, "the group", status(client.GroupJoined))
	if got.Role != client.RoleAdmin || !isMember(bob.id())(got) {
		t.Errorf("got %+v, want an admin of a group with bob", got)
	}
	bob.say(t, id, "after the tablet")
	tablet.message(t, "after the tablet")
	if err := alice.Group(id).Rekey(patient(t)); err != nil {
		t.Fatal(err)
	}
	bob.say(t, id, "of the next generation")
	tablet.message(t, "of the next generation")
}

func TestGroupLeftOnOneDeviceIsLeftOnAll(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, bob2 := twoDevices(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	bob2.in(t, id, "the group", status(client.GroupJoined))
	alice.say(t, id, "kept")
	bob2.message(t, "kept")
	if err := bob.Group(id).Leave(patient(t)); err != nil {
		t.Fatal(err)
	}
	gone := status(client.GroupLeft)
	bob.in(t, id, "leaving", gone)
	bob2.in(t, id, "leaving", gone)
	alice.in(t, id, "bob is gone", members(1))
	for _, d := range []*device{bob, bob2} {
		d.keyless(t, id)
	}
	all, err := bob2.Messages(t.Context(), client.Filter{Conversation: id.String()})
	if err != nil || !hasText(all, "kept") {
		t.Errorf("after leaving: got %d messages, %v, want those from before", len(all), err)
	}
	alice.let(t, id, bob) // and comes back, on both
	bob2.in(t, id, "the group again", status(client.GroupJoined))
	alice.say(t, id, "again")
	bob2.message(t, "again")
}

func hasText(all []client.Message, text string) bool {
	for _, m := range all {
		if m.Text == text {
			return true
		}
	}
	return false
}

// keyless waits until a device holds no keys of a group.
func (d *device) keyless(t testing.TB, id ident.GroupID) {
	t.Helper()
	d.in(t, id, "its keys are erased", func(client.Group) bool { return d.Lab().GroupKeys(id) == 0 })
}

func TestRemovedAccountLosesTheKeysOnAllDevices(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, bob2 := twoDevices(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	bob2.in(t, id, "the group", status(client.GroupJoined))
	if err := alice.Group(id).Remove(patient(t), bob.id()); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*device{bob, bob2} {
		d.in(t, id, "removal", status(client.GroupRemoved))
		d.keyless(t, id)
	}
	if err := bob.Contact(alice.id()).Remove(patient(t)); err != nil { // so that an invitation waits
		t.Fatal(err)
	}
	alice.add(t, id, bob)
	bob.in(t, id, "invitation", status(client.GroupInvited))
	bob = bob.reopen(t)
	if err := bob.Group(id).Accept(patient(t)); err != nil {
		t.Errorf("accept after a removal and a restart: %v", err)
	}
	bob.in(t, id, "the account is in again", status(client.GroupJoined))
}

func TestDeclinedInvitationIsDeclinedOnAllDevices(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, bob2 := twoDevices(t, cluster, "Bob")
	id := alice.group(t, "walkers").ID
	if err := alice.Group(id).Add(patient(t), 0, bob.id()); err != nil {
		t.Fatal(err)
	}
	invited := status(client.GroupInvited)
	bob.in(t, id, "invitation", invited)
	bob2.in(t, id, "invitation", invited)
	if err := bob.Group(id).Decline(patient(t)); err != nil {
		t.Fatal(err)
	}
	bob2.next(t, "the invitation to go", func(e client.Event) bool {
		_, err := bob2.Group(id).Get(t.Context())
		return e.Kind == client.EventGroup && errors.Is(err, fault.NotFound)
	})
}

func TestRestoredAccountReturnsWithAnAdminsWord(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, words := create(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	settleDocuments(t, bob)
	bob.stop()
	restored := recovered(t, cluster, words, "rescue")
	restored.in(t, id, "the group", func(g client.Group) bool {
		return g.Status == client.GroupReturning &&
			g.Warning != ""
	})
	alice.in(t, id, "bob's wish", func(g client.Group) bool {
		for _, p := range g.Pending {
			if p.Kind == "return" && p.Account == bob.id() {
				return true
			}
		}
		return false
	})
	if got, err := restored.Group(id).Get(t.Context()); err != nil || got.Status != client.GroupReturning {
		t.Fatalf("before the admin's word: got %+v, %v, want returning", got, err)
	}
	if err := alice.Group(id).Approve(patient(t), bob.id()); err != nil {
		t.Fatal(err)
	}
	got := restored.in(t, id, "returning", status(client.GroupJoined))
	if got.Role != client.RoleMember || got.Warning != "" {
		t.Errorf("got %+v, want a member without warning", got)
	}
	alice.say(t, id, "welcome back")
	restored.message(t, "welcome back")
	restored.say(t, id, "thanks")
	alice.message(t, "thanks")
}

func settleDocuments(t testing.TB, d *device) {
	t.Helper()
	if err := d.Idle(patient(t)); err != nil {
		t.Fatalf("idle: %v", err)
	}
}
