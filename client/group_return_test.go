package client_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// told counts what a conversation says that happened to an account.
func (d *device) told(t *testing.T, id ident.GroupID, who ident.AccountID) map[client.NoticeKind]int {
	t.Helper()
	all, err := d.Messages(t.Context(), client.Filter{Conversation: id.String()})
	ok(t, "messages", err)
	out := map[client.NoticeKind]int{}
	for _, m := range all {
		if m.Notice != nil && len(m.Notice.Members) == 1 && m.Notice.Members[0] == who {
			out[m.Notice.Kind]++
		}
	}
	return out
}

func (d *device) sawReturn(t *testing.T, id ident.GroupID, who ident.AccountID) {
	t.Helper()
	if got := d.told(t, id, who); got[client.NoticeReturned] != 1 || got[client.NoticeRemoved] != 0 ||
		got[client.NoticeJoined] != 0 {
		t.Errorf("%s was told %v, want one return and nothing else", d.Account().Label, got)
	}
}

func asksToReturn(id ident.AccountID) func(client.Group) bool {
	return func(g client.Group) bool {
		for _, p := range g.Pending {
			if p.Kind == "return" && p.Account == id {
				return true
			}
		}
		return false
	}
}

// TestDeviceThatLostItsStateReturnsByItself: no recovery casts doubt on it. A role does not come back.
func TestDeviceThatLostItsStateReturnsByItself(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol")
	alice, bob, carol := all[0], all[1], all[2]
	ok(t, "role", alice.Group(id).SetRole(patient(t), bob.id(), client.RoleModerator))
	bob.in(t, id, "the role", func(g client.Group) bool { return g.Role == client.RoleModerator })
	settleDocuments(t, bob)
	bob.Lab().LoseGroup(id)
	bob = bob.reopen(t)
	got := bob.in(t, id, "it is back", func(g client.Group) bool {
		return g.Status == client.GroupJoined &&
			g.Role != ""
	})
	if got.Role != client.RoleMember {
		t.Errorf("got role %s, want member", got.Role)
	}
	alice.say(t, id, "welcome back")
	bob.message(t, "welcome back")
	carol.message(t, "welcome back")
	alice.sawReturn(t, id, bob.id())
	carol.sawReturn(t, id, bob.id())
}

func TestRestoredAccountReturnsByItselfOnceTheRecoveryIsOld(t *testing.T) {
	cluster := shared(t)
	var k clock
	alice, _ := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	bob, words := create(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	settleDocuments(t, bob)
	bob.stop()
	cfg := k.config(t, cluster, "rescue")
	c, _, err := client.Restore(patient(t), cfg, words, client.RestoreOptions{NoWait: true})
	ok(t, "restore", err)
	restored := run(t, c, cfg)
	alice.in(t, id, "bob's wish", asksToReturn(bob.id()))
	k.pass(71 * time.Hour)
	alice.Lab().WakeKeeper()
	if g, err := restored.Group(id).Get(t.Context()); err != nil || g.Status != client.GroupReturning {
		t.Errorf("after 71 hours: got %s, %v, want returning", g.Status, err)
	}
	k.pass(2 * time.Hour)
	restored.Upkeep() // keys of the day
	alice.Lab().WakeKeeper()
	restored.in(t, id, "it is back", status(client.GroupJoined))
}

func TestAnyAdminFinishesAReturn(t *testing.T) {
	cluster := shared(t)
	var armed atomic.Bool
	reached := make(chan struct{})
	cfg := config(t, cluster, "alice-1")
	cfg.AtCommit(func(ctx context.Context, at string) {
		if at == "stored" && armed.Swap(false) {
			close(reached)
			<-ctx.Done()
		}
	})
	alice, _ := createWith(t, cfg, "Alice")
	bob, words := create(t, cluster, "Bob")
	carol, _ := create(t, cluster, "Carol")
	approve(t, alice, bob)
	approve(t, alice, carol)
	approve(t, bob, carol)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	alice.let(t, id, carol)
	ok(t, "role", alice.Group(id).SetRole(patient(t), carol.id(), client.RoleAdmin))
	for _, d := range []*device{bob, carol} {
		d.in(t, id, "two admins", func(g client.Group) bool {
			n := 0
			for _, m := range g.Members {
				if m.Role == client.RoleAdmin {
					n++
				}
			}
			return n == 2
		})
	}
	settleDocuments(t, bob)
	bob.stop()
	restored := recovered(t, cluster, words, "rescue")
	for _, d := range []*device{alice, carol} {
		d.in(t, id, "bob's wish", asksToReturn(bob.id()))
	}
	armed.Store(true)
	go alice.Group(id).Approve(t.Context(), bob.id()) //nolint:errcheck // it dies
	select {
	case <-reached:
	case <-patient(t).Done():
		t.Fatal(errors.New("no removal"))
	}
	alice.kill(t) // bob is out, and only Carol is there to let him in
	restored.in(t, id, "it is back", status(client.GroupJoined))
	carol.in(t, id, "bob is back", isMember(bob.id()))
	carol.sawReturn(t, id, bob.id())
}

func TestDisbandingErasesTheKeysOfAllDevices(t *testing.T) {
	cluster := shared(t)
	alice, alice2 := twoDevices(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice2.in(t, id, "the group", status(client.GroupJoined))
	alice.let(t, id, bob)
	if _, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 1, 0); err != nil {
		t.Fatal(err)
	}
	ok(t, "disband", alice.Group(id).Disband(patient(t)))
	for _, d := range []*device{alice, alice2, bob} {
		d.in(t, id, "the end", status(client.GroupDisbanded))
		d.keyless(t, id)
	}
}

func TestMuteAndReadMarkOfAGroupAreOnAllDevices(t *testing.T) {
	cluster := shared(t)
	alice, alice2 := twoDevices(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice2.in(t, id, "the group", status(client.GroupJoined))
	alice.let(t, id, bob)
	bob.say(t, id, "unread")
	for _, d := range []*device{alice, alice2} {
		d.message(t, "unread")
	}
	ok(t, "mute", alice.Conversation(id).Mute(patient(t), time.Now().Add(time.Hour)))
	if _, err := alice.Conversation(id).MarkRead(patient(t)); err != nil {
		t.Fatal(err)
	}
	alice2.next(t, "mute and mark", func(client.Event) bool {
		all, err := alice2.Conversations(t.Context())
		ok(t, "conversations", err)
		for _, c := range all {
			if c.ID == id.String() {
				return !c.MutedUntil.IsZero() && c.Unread == 0
			}
		}
		return false
	})
}
