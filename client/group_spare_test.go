package client_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// walkers makes a group of an only admin, whose phrase it returns, and a member.
func walkers(t *testing.T, cluster *swarmtest.Cluster) (alice, bob *device, id ident.GroupID, words string) {
	t.Helper()
	alice, words = create(t, cluster, "Alice")
	bob, _ = create(t, cluster, "Bob")
	approve(t, alice, bob)
	id = alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	return alice, bob, id, words
}

func adminAgain(g client.Group) bool {
	return g.Status == client.GroupJoined && g.Role == client.RoleAdmin
}

func TestOnlyAdminThatIsRestoredAloneIsAdminAgain(t *testing.T) {
	cluster := shared(t)
	alice, bob, id, words := walkers(t, cluster)
	carol, _ := create(t, cluster, "Carol")
	approve(t, alice, carol)
	begun := nextGeneration(t, id, 0, alice, bob)
	bob.say(t, id, "before")
	alice.message(t, "before")
	settleDocuments(t, alice)
	loot := alice.Lab().Steal(id)
	alice.stop()
	restored := recovered(t, cluster, words, "rescue")
	got := restored.in(t, id, "it is an admin again", adminAgain)
	if got.Warning != "" || got.Name != "walkers" || !isMember(bob.id())(got) {
		t.Errorf("got %+v, want walkers with bob and no warning", got)
	}
	nextGeneration(t, id, begun, bob, restored)
	shutOutOf(t, loot, restored, 5)
	if n := restored.Lab().LeafNumber(id); n != 2 {
		t.Errorf("got leaf key %d, want 2", n)
	}
	if got := bob.told(t, id, alice.id()); got[client.NoticeRemoved]+got[client.NoticeReturned] != 0 {
		t.Errorf("bob was told %v, want nothing: the account was a member all the time", got)
	}
	bob.say(t, id, "after")
	if got := restored.message(t, "after"); got.From != bob.id() {
		t.Errorf("got a message of %s, want bob's", got.From)
	}
	restored.say(t, id, "here I am")
	bob.message(t, "here I am")
	if all, err := restored.Messages(t.Context(), client.Filter{Conversation: id.String()}); err != nil ||
		hasText(all, "before") {
		t.Errorf("the phrase opened a message (%t), %v", hasText(all, "before"), err)
	}
	restored.let(t, id, carol)
	ok(t, "remove", restored.Group(id).Remove(patient(t), bob.id()))
	bob.in(t, id, "its removal", status(client.GroupRemoved))
	carol.in(t, id, "bob is gone", members(2))
	settleDocuments(t, restored) // and once more
	restored.stop()
	recovered(t, cluster, words, "rescue-2").in(t, id, "it is an admin again", adminAgain)
}

func TestOnlyAdminOfAPublicGroupComesBack(t *testing.T) {
	cluster := shared(t)
	alice, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	carol, _ := create(t, cluster, "Carol")
	id, link := alice.open(t, "walkers", 2)
	settleDocuments(t, alice)
	alice.stop()
	begun := bob.walkIn(t, link).Generation
	restored := recovered(t, cluster, words, "rescue")
	restored.in(t, id, "it is an admin again", adminAgain)
	nextGeneration(t, id, begun, bob, restored)
	carol.walkIn(t, link)
	for _, d := range []*device{bob, carol, restored} {
		d.in(t, id, "all are in", members(3))
	}
	restored.say(t, id, "welcome")
	carol.message(t, "welcome")
	bob.say(t, id, "thanks")
	restored.message(t, "thanks")
}

func TestOnlyAdminComesBackAfterGenerationsAndLeafKeys(t *testing.T) {
	cluster := shared(t)
	var k clock
	alice, words := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	bob, _ := createWith(t, k.config(t, cluster, "bob-1"), "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	begun := nextGeneration(t, id, 0, alice, bob)
	for range 2 {
		k.pass(7*day - time.Hour)
		alice.wakes(t, id, "its leaf key is changed", alice.later(id, "leaf", 5*day))
		k.pass(5 * time.Hour)
		begun = alice.wakes(t, id, "a generation begins",
			func(g client.Group) bool { return g.Generation > begun }).Generation
	}
	ok(t, "rename", alice.Group(id).SetInfo(patient(t), client.GroupInfo{Name: ptr("runners")}))
	bob.in(t, id, "all that", func(g client.Group) bool {
		return g.Name == "runners" &&
			g.Generation == begun
	})
	leaf := alice.Lab().LeafNumber(id)
	if b, g := alice.Lab().Spare(id); len(b) != 167 || g != begun {
		t.Errorf("got spare keys of %d bytes and generation %d, want 167 and %d", len(b), g, begun)
	}
	settleDocuments(t, alice)
	loot := alice.Lab().Steal(id)
	alice.stop()
	cfg := k.config(t, cluster, "rescue")
	c, _, err := client.Restore(patient(t), cfg, words, client.RestoreOptions{NoWait: true})
	ok(t, "restore", err)
	restored := run(t, c, cfg)
	restored.in(t, id, "it is an admin again", adminAgain)
	nextGeneration(t, id, begun, bob, restored)
	if n := restored.Lab().LeafNumber(id); n != leaf+1 {
		t.Errorf("got leaf key %d, want %d", n, leaf+1)
	}
	shutOutOf(t, loot, restored, 5)
	bob.say(t, id, "after")
	restored.message(t, "after")
}

func TestSpareKeysGoWhenThereIsAnotherAdmin(t *testing.T) {
	cluster := shared(t)
	alice, bob, id, words := walkers(t, cluster)
	if b, _ := alice.Lab().Spare(id); len(b) == 0 {
		t.Error("the only admin has no spare keys")
	}
	ok(t, "role", alice.Group(id).SetRole(patient(t), bob.id(), client.RoleAdmin))
	bob.in(t, id, "its role", func(g client.Group) bool { return g.Role == client.RoleAdmin })
	for _, d := range []*device{alice, bob} {
		if b, _ := d.Lab().Spare(id); len(b) != 0 {
			t.Errorf("%s has spare keys, as one of two admins", d.Account().Label)
		}
	}
	settleDocuments(t, alice)
	alice.stop()
	restored := recovered(t, cluster, words, "rescue")
	bob.in(t, id, "alice's wish", asksToReturn(alice.id()))
	ok(t, "approve", bob.Group(id).Approve(patient(t), alice.id()))
	got := restored.in(t, id, "it is back", status(client.GroupJoined))
	if got.Role != client.RoleMember {
		t.Errorf("got role %s, want member", got.Role)
	}
	bob.in(t, id, "alice is back", isMember(alice.id()))
	if b, _ := bob.Lab().Spare(id); len(b) == 0 {
		t.Error("bob is the only admin and has no spare keys")
	}
	ok(t, "leave", restored.Group(id).Leave(patient(t)))
	if b, _ := restored.Lab().Spare(id); len(b) != 0 {
		t.Error("who left has spare keys")
	}
	ok(t, "disband", bob.Group(id).Disband(patient(t)))
	bob.in(t, id, "the end", status(client.GroupDisbanded))
	if b, _ := bob.Lab().Spare(id); len(b) != 0 {
		t.Error("there are spare keys of a group that is over")
	}
}

func TestDevicesAgreeAboutSpareKeys(t *testing.T) {
	cluster := shared(t)
	alice, alice2 := twoDevices(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice2.in(t, id, "the group", adminAgain)
	alice2.let(t, id, bob)
	old, _ := alice.Lab().Spare(id)
	ok(t, "rekey", alice2.Group(id).Rekey(patient(t)))
	begun := nextGeneration(t, id, 1, alice, alice2, bob)
	for _, d := range []*device{alice, alice2} {
		ok(t, "a device that is behind", d.Lab().WriteSpareAgain(id, 1, old))
		settleDocuments(t, d)
	}
	one, g := alice.Lab().Spare(id)
	if two, _ := alice2.Lab().Spare(id); !bytes.Equal(one, two) || g != begun {
		t.Errorf("the devices have different spare keys (%t), or of generation %d, want %d",
			!bytes.Equal(one, two), g, begun)
	}
	one[166] ^= 1 // as of a commit that never was in the log
	ok(t, "spoil", alice2.Lab().SetSpare(id, one))
	ok(t, "rename", alice.Group(id).SetInfo(patient(t), client.GroupInfo{Name: ptr("runners")}))
	alice2.in(t, id, "the name", func(g client.Group) bool { return g.Name == "runners" })
	one[166] ^= 1
	if two, _ := alice2.Lab().Spare(id); !bytes.Equal(one, two) {
		t.Error("wrong spare keys stay")
	}

	// One device loses its keys while the other is away, which is shut out by what it comes back with: its
	// keys are in the mailbox.
	alice.stop()
	alice2.Lab().LoseGroup(id)
	alice2 = alice2.reopen(t)
	alice2.in(t, id, "it is an admin again", adminAgain)
	alice = alice.reopen(t)
	begun = nextGeneration(t, id, begun, alice, alice2, bob)
	ok(t, "rekey", alice.Group(id).Rekey(patient(t)))
	nextGeneration(t, id, begun, alice, alice2, bob)
	bob.say(t, id, "to both")
	alice.message(t, "to both")
	alice2.message(t, "to both")
}

// TestComebackSurvivesAKill lets the process die at every step of it.
func TestComebackSurvivesAKill(t *testing.T) {
	for _, point := range []string{"staged", "stored"} {
		t.Run(point, func(t *testing.T) {
			cluster := shared(t)
			alice, bob, id, words := walkers(t, cluster)
			settleDocuments(t, alice)
			alice.stop()
			var armed atomic.Bool
			armed.Store(true)
			reached := make(chan struct{})
			cfg := config(t, cluster, "rescue")
			cfg.AtCommit(func(ctx context.Context, at string) {
				if at == point && armed.Swap(false) {
					close(reached)
					<-ctx.Done()
				}
			})
			c, _, err := client.Restore(patient(t), cfg, words, client.RestoreOptions{NoWait: true})
			ok(t, "restore", err)
			restored := run(t, c, cfg)
			select {
			case <-reached:
			case <-patient(t).Done():
				t.Fatal(errors.New("no commit"))
			}
			restored.kill(t)
			restored = restored.reopen(t)
			restored.in(t, id, "it is an admin again", adminAgain)
			restored.say(t, id, "survived")
			bob.message(t, "survived")
			if got := bob.in(t, id, "the new generation",
				func(g client.Group) bool { return g.Generation > 1 }); got.Generation != 2 {
				t.Errorf("got generation %d, want 2", got.Generation)
			}
		})
	}
}

// TestOnlyAdminIsLostWhileItsCommitIsOnItsWay: whether the generation began or not, the documents have its
// keys.
func TestOnlyAdminIsLostWhileItsCommitIsOnItsWay(t *testing.T) {
	for point, generation := range map[string]uint32{"staged": 2, "stored": 3} {
		t.Run(point, func(t *testing.T) {
			cluster := shared(t)
			var armed atomic.Bool
			reached := make(chan struct{})
			cfg := config(t, cluster, "alice-1")
			cfg.AtCommit(func(ctx context.Context, at string) {
				if at == point && armed.Swap(false) {
					close(reached)
					<-ctx.Done()
				}
			})
			alice, words := createWith(t, cfg, "Alice")
			bob, _ := create(t, cluster, "Bob")
			approve(t, alice, bob)
			id := alice.group(t, "walkers").ID
			alice.let(t, id, bob)
			settleDocuments(t, alice)
			armed.Store(true)
			go alice.Group(id).Rekey(t.Context()) //nolint:errcheck // it dies
			select {
			case <-reached:
			case <-patient(t).Done():
				t.Fatal(errors.New("no commit"))
			}
			if b, _ := alice.Lab().Spare(id); point == "staged" && len(b) != 2*167 {
				t.Errorf("got %d bytes of spare keys before the commit, want those of two generations",
					len(b))
			}
			ok(t, "share documents", alice.ShareDocuments(patient(t)))
			alice.kill(t)
			recovered(t, cluster, words, "rescue").in(t, id, "it is an admin again", adminAgain)
			bob.in(t, id, "the generation of that",
				func(g client.Group) bool { return g.Generation == generation })
		})
	}
}

func TestSpareKeysOfAnOldGenerationAreOfNoUse(t *testing.T) {
	cluster := shared(t)
	alice, bob, id, words := walkers(t, cluster)
	old, _ := alice.Lab().Spare(id)
	ok(t, "rekey", alice.Group(id).Rekey(patient(t)))
	begun := nextGeneration(t, id, 1, alice, bob)
	ok(t, "old keys", alice.Lab().SetSpare(id, old))
	settleDocuments(t, alice)
	alice.stop()
	restored := recovered(t, cluster, words, "rescue")
	got := restored.in(t, id, "a warning", func(g client.Group) bool { return g.Warning != "" })
	if !strings.Contains(got.Warning, "no other admin") || got.Status != client.GroupReturning ||
		got.Name != "walkers" {
		t.Errorf("got %+v, want a warning that no other admin is there", got)
	}
	if g, err := bob.Group(id).Get(t.Context()); err != nil || g.Generation != begun {
		t.Errorf("got generation %d, %v, want %d", g.Generation, err, begun)
	}
}
