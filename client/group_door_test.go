package client_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/client/internal/closed"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// open makes a public group and a link of it.
func (d *device) open(t testing.TB, name string, uses int) (ident.GroupID, client.GroupLink) {
	t.Helper()
	g := d.groupOf(t, name, client.GroupPublic)
	if g.Form != client.GroupPublic {
		t.Errorf("made a group of form %q, want public", g.Form)
	}
	l, err := d.Group(g.ID).CreateLink(patient(t), time.Now().Add(time.Hour), uses, 0)
	ok(t, "link", err)
	return g.ID, l
}

// walkIn joins by a link, at once.
func (d *device) walkIn(t testing.TB, link client.GroupLink) client.Group {
	t.Helper()
	g, err := d.JoinGroup(patient(t), link.Link)
	if ok(t, "join", err); g.Status != client.GroupJoined || g.Form != client.GroupPublic {
		t.Fatalf("the link made the group %s of form %q, pending %+v, want joined and public", g.Status,
			g.Form, g.Pending)
	}
	return g
}

func TestLinkOfAPublicGroupNeedsNoAdmin(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	carol, _ := create(t, cluster, "Carol")
	id, link := alice.open(t, "open evening", 5)
	alice.stop()
	bob.walkIn(t, link)
	bob.say(t, id, "anybody here?")
	carol.walkIn(t, link)
	carol.in(t, id, "three are members", members(3))
	carol.say(t, id, "I am")
	bob.message(t, "I am")
	alice = alice.reopen(t)
	got := alice.in(t, id, "three are members", members(3))
	if len(got.Links) != 1 || got.Links[0].Uses != 3 {
		t.Errorf("got links %+v, want one with three uses left", got.Links)
	}
	alice.message(t, "I am")
	alice.say(t, id, "welcome")
	for _, d := range []*device{bob, carol} {
		d.message(t, "welcome")
	}
	for _, id := range []ident.AccountID{bob.id(), carol.id()} {
		if told := alice.told(t, got.ID, id); told[client.NoticeJoined] != 1 ||
			told[client.NoticeAdded] != 0 {
			t.Errorf("Alice was told %v, want one who joined", told)
		}
	}
	// What an admin gives them reaches them as it does everybody: a role, and a generation.
	ok(t, "promote", alice.Group(id).SetRole(patient(t), bob.id(), client.RoleAdmin))
	bob.in(t, id, "the role", func(g client.Group) bool { return g.Role == client.RoleAdmin })
	ok(t, "rekey", bob.Group(id).Rekey(patient(t)))
	carol.say(t, id, "new keys")
	alice.message(t, "new keys")
}

// TestDoorKeysReachALaterDevice: before any admin has given the account keys of its own.
func TestDoorKeysReachALaterDevice(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	carol, _ := create(t, cluster, "Carol")
	id, link := alice.open(t, "open evening", 5)
	alice.stop()
	bob.walkIn(t, link)
	carol.walkIn(t, link)
	bob.in(t, id, "Carol is in", members(3))
	second := linkByInvite(t, cluster, bob, "Bob-2")
	second.in(t, id, "joined", members(3))
	second.say(t, id, "from the other device")
	carol.message(t, "from the other device")
	alice = alice.reopen(t)
	ok(t, "rekey", alice.Group(id).Rekey(patient(t)))
	second.say(t, id, "with new keys")
	bob.message(t, "with new keys")
}

// TestDoorSharesTheDaysOfItsLink: as an admin who adds somebody.
func TestDoorSharesTheDaysOfItsLink(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	id := alice.groupOf(t, "open evening", client.GroupPublic).ID
	alice.say(t, id, "before")
	for days, name := range []string{"Bob", "Carol"} {
		link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 1, days)
		ok(t, "link", err)
		d, _ := create(t, cluster, name)
		d.walkIn(t, link)
		alice.in(t, id, name+" is in", members(2+days))
		alice.say(t, id, "after "+name)
		if days > 0 {
			d.message(t, "before")
		}
		d.message(t, "after "+name)
		all, err := d.Messages(t.Context(), client.Filter{Conversation: id.String()})
		ok(t, "messages", err)
		if had := slices.ContainsFunc(all,
			func(m client.Message) bool { return m.Text == "before" }); had != (days > 0) {
			t.Errorf("%s, with %d days: has what was said before %t", name, days, had)
		}
	}
}

// TestManyComeThroughADoorAtOnce, while generations begin.
func TestManyComeThroughADoorAtOnce(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	id, link := alice.open(t, "open evening", 10)
	var all []*device
	for i := range 3 {
		d, _ := create(t, cluster, fmt.Sprint("Guest ", i))
		all = append(all, d)
	}
	done := make(chan error, len(all))
	for _, d := range all {
		go func() {
			_, err := d.JoinGroup(patient(t), link.Link)
			done <- err
		}()
	}
	for range 2 {
		ok(t, "rekey", alice.Group(id).Rekey(patient(t)))
	}
	for range all {
		ok(t, "join", <-done)
	}
	for _, d := range append(all, alice) {
		d.in(t, id, "all are in", func(g client.Group) bool {
			return len(inside(g)) == 4 &&
				g.Generation == 3
		})
	}
	all[0].say(t, id, "crowded")
	for _, d := range append(all[1:], alice) {
		d.message(t, "crowded")
	}
}

// TestRemovedSpammerIsRefusedByTheNodes: the others need not change a thing, and its link does not help it.
func TestRemovedSpammerIsRefusedByTheNodes(t *testing.T) {
	for _, form := range []client.GroupForm{client.GroupOwnKeys, client.GroupPublic} {
		t.Run(string(form), func(t *testing.T) {
			cluster := shared(t)
			all := friends(t, cluster, "Alice", "Bob", "Mallory")
			alice, bob, mallory := all[0], all[1], all[2]
			id := alice.groupOf(t, "open evening", form).ID
			link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 10, 0)
			ok(t, "link", err)
			for _, d := range []*device{bob, mallory} {
				_, err := d.JoinGroup(patient(t), link.Link)
				ok(t, "join", err)
				d.in(t, id, "joined", status(client.GroupJoined))
			}
			alice.in(t, id, "three are members", members(3))
			invitation, err := mallory.Lab().LinkInvitation(patient(t), link.Link)
			ok(t, "look at the link", err)
			spam := mallory.Lab().Spam(t, id)
			ok(t, "spam as a member", spam.Store(patient(t), bob.Lab()))
			spam = mallory.Lab().Spam(t, id)
			ok(t, "remove", alice.Group(id).Remove(patient(t), mallory.id()))
			for _, generation := range []uint32{1, 2} {
				if err := spam.Pretend(patient(t), bob.Lab(), generation); !closed.IsNoKey(err) {
					t.Errorf("a store by who was removed: got %v, want to be refused", err)
				}
			}
			bob.say(t, id, "quiet again")
			alice.message(t, "quiet again")
			mallory.in(t, id, "removed", status(client.GroupRemoved))
			if _, err := mallory.JoinGroup(patient(t), link.Link); !errors.Is(err, fault.Denied) ||
				!strings.Contains(err.Error(), "older than the removal") {
				t.Errorf("the link lets back in who was removed: got %v, want denied", err)
			}
			ok(t, "close the link", alice.Group(id).RevokeLink(patient(t), link.Serial))
			if form != client.GroupPublic {
				return
			}
			if g := bob.in(t, id, "the link is closed",
				func(g client.Group) bool {
					return len(g.Links) == 0 &&
						g.Generation == 3
				}); g.Status != client.GroupJoined {
				t.Errorf("Bob is %s, want a member", g.Status)
			}
			// Under another name, with what the link led to.
			eve, _ := create(t, cluster, "Eve")
			if g, err := eve.Lab().JoinWith(patient(t), invitation); !errors.Is(err, fault.Denied) {
				t.Errorf("a closed link: got %+v, %v, want denied", g.Status, err)
			}
		})
	}
}

func TestWhoIsBannedIsToldAtTheDoor(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	id, old := alice.open(t, "open evening", 5)
	bob.walkIn(t, old)
	alice.in(t, id, "Bob is in", members(2))
	ok(t, "ban", alice.Group(id).Ban(patient(t), bob.id()))
	bob.in(t, id, "removed", status(client.GroupRemoved))
	link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 5, 0)
	ok(t, "link", err)
	g, err := bob.JoinGroup(patient(t), link.Link)
	if !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), "banned") ||
		g.Status != client.GroupRemoved || !strings.Contains(g.Cause, "banned") {
		t.Fatalf("got %s with cause %q, pending %+v, %v, want to be told of the ban", g.Status,
			g.Cause, g.Pending, err)
	}
	bob.next(t, "a notice", func(e client.Event) bool {
		return e.Kind == client.EventNotice &&
			strings.Contains(e.Text, "banned")
	})
	// A link from before the ban would not let him in anyway: the reason is the ban all the same.
	if g, err = bob.JoinGroup(patient(t), old.Link); !errors.Is(err, fault.Denied) ||
		g.Status != client.GroupRemoved || g.Cause != "the account is banned" {
		t.Fatalf("an old link: got %s with cause %q, %v, want to be told of the ban", g.Status, g.Cause, err)
	}
	// Whoever may again comes in by the same link.
	alice.add(t, id, bob)
	g, err = bob.JoinGroup(patient(t), link.Link)
	if ok(t, "join", err); g.Status != client.GroupJoined {
		t.Errorf("got %s, want joined", g.Status)
	}
}

// TestLinkToAGroupThatIsNotThere: whoever follows it is told, and waits for nothing.
func TestLinkToAGroupThatIsNotThere(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	_, link := alice.open(t, "open evening", 5)
	invitation, err := bob.Lab().LinkInvitation(patient(t), link.Link)
	ok(t, "look at the link", err)
	key, _, err := ed25519.GenerateKey(nil)
	ok(t, "make up a group", err)
	copy(invitation[2:], key) // after the version and the type
	if g, err := bob.Lab().JoinWith(patient(t), invitation); !errors.Is(err, fault.Denied) ||
		client.GroupStatus(g.Status) != client.GroupRemoved || !strings.Contains(g.Cause, "no such group") {
		t.Errorf("got %s with cause %q, %v, want to be told that there is no such group",
			g.Status, g.Cause, err)
	}
}

// TestJoinThatMembersDoNotTakeIsRevoked: nodes cannot read a join, so they take in the key of whoever has the
// link.
func TestJoinThatMembersDoNotTakeIsRevoked(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	mallory, _ := create(t, cluster, "Mallory")
	id, link := alice.open(t, "open evening", 5)
	bob.walkIn(t, link)
	alice.in(t, id, "Bob is in", members(2))
	alice.stop()
	invitation, err := mallory.Lab().LinkInvitation(patient(t), link.Link)
	ok(t, "look at the link", err)
	spam := mallory.Lab().JoinWithRubbish(patient(t), t, invitation)
	ok(t, "spam with the key that came with it", spam.Store(patient(t), mallory.Lab()))
	bob.say(t, id, "is that noise?") // it is no member's, and shown to nobody
	alice = alice.reopen(t)
	alice.message(t, "is that noise?")
	ok(t, "idle", alice.Idle(patient(t)))
	if err := spam.Pretend(patient(t), mallory.Lab(), 1); !closed.IsNoKey(err) {
		t.Errorf("a store with the key of a join that does not count: got %v, want to be refused", err)
	}
	if g := bob.in(t, id, "all goes on", members(2)); g.Warning != "" {
		t.Errorf("Bob is warned: %s", g.Warning)
	}
}

func TestPublicGroupHasEightLinksAtOnce(t *testing.T) {
	alice, _ := create(t, shared(t), "Alice")
	id, first := alice.open(t, "open evening", 1)
	for range 7 {
		_, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 1, 0)
		ok(t, "link", err)
	}
	if _, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 1, 0); !errors.Is(err,
		fault.Limited) || !strings.Contains(err.Error(), "close one") {
		t.Errorf("a ninth link: got %v, want limited and what to do", err)
	}
	ok(t, "close", alice.Group(id).RevokeLink(patient(t), first.Serial))
	_, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 1, 0)
	ok(t, "another link", err)
}

// TestJoinSurvivesDeathAfterItsCommit kills the process when the nodes have the commit, and it has not heard
// of it.
func TestJoinSurvivesDeathAfterItsCommit(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	id, link := alice.open(t, "open evening", 1) // its only use is the one that dies
	reached := make(chan struct{})
	var dead atomic.Bool
	cfg := config(t, cluster, "Bob-1")
	cfg.AtCommit(func(ctx context.Context, at string) {
		if at == "stored" && !dead.Swap(true) {
			close(reached)
			<-ctx.Done()
		}
	})
	bob, _ := createWith(t, cfg, "Bob")
	go bob.JoinGroup(t.Context(), link.Link) //nolint:errcheck // it dies
	select {
	case <-reached:
	case <-patient(t).Done():
		t.Fatal("no commit went out")
	}
	bob.kill(t)
	// The link is used up, and a generation begins, before he is back.
	alice.in(t, id, "Bob is in", members(2))
	ok(t, "rekey", alice.Group(id).Rekey(patient(t)))
	bob = bob.reopen(t)
	bob.in(t, id, "joined", members(2))
	bob.say(t, id, "made it")
	alice.message(t, "made it")
	if told := alice.told(t, id, bob.id()); told[client.NoticeJoined] != 1 {
		t.Errorf("Alice was told %v, want one join", told)
	}
}

// TestDeclinedJoinIsUndone declines when the nodes have the commit, and the device has not heard of it.
func TestDeclinedJoinIsUndone(t *testing.T) {
	for name, dies := range map[string]bool{"at once": false, "after its death": true} {
		t.Run(name, func(t *testing.T) {
			cluster := shared(t)
			alice, _ := create(t, cluster, "Alice")
			id, link := alice.open(t, "open evening", 5)
			var bob *device
			var once atomic.Bool
			declined := make(chan error, 1)
			cfg := config(t, cluster, "Bob-1")
			cfg.AtCommit(func(ctx context.Context, at string) {
				if at == "stored" && !once.Swap(true) {
					declined <- bob.Group(id).Decline(ctx)
					if dies {
						<-ctx.Done()
					}
				}
			})
			bob, _ = createWith(t, cfg, "Bob")
			go bob.JoinGroup(t.Context(), link.Link) //nolint:errcheck // what it returns depends on when it looks
			ok(t, "decline", <-declined)
			if dies {
				bob.kill(t)
				bob = bob.reopen(t)
			}
			bob.in(t, id, "left", status(client.GroupLeft))
			alice.in(t, id, "Bob came and has gone", func(g client.Group) bool {
				return g.Commits == 4 &&
					len(g.Members) == 1
			})
			if told := alice.told(t, id, bob.id()); told[client.NoticeJoined] != 1 {
				t.Errorf("Alice was told %v, want one join", told)
			}
		})
	}
}

func TestTwoOwnDevicesAtADoorAreOneMember(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	first, second := twoDevices(t, cluster, "Bob")
	id, link := alice.open(t, "open evening", 5)
	alice.stop()
	done := make(chan error, 2)
	for _, d := range []*device{first, second} {
		go func() {
			_, err := d.JoinGroup(patient(t), link.Link)
			done <- err
		}()
	}
	for range 2 {
		ok(t, "join", <-done)
	}
	for _, d := range []*device{first, second} {
		d.in(t, id, "both are in", members(2))
		d.say(t, id, "from "+d.Account().Label)
	}
	alice = alice.reopen(t)
	for _, d := range []*device{first, second} {
		alice.message(t, "from "+d.Account().Label)
	}
	if g := alice.in(t, id, "one joined", members(2)); g.Links[0].Uses != 4 {
		t.Errorf("the link has %d uses left, want 4", g.Links[0].Uses)
	}
}

// shutNet is a network whose nodes take no joins, as when too many came within one generation.
type shutNet struct {
	client.Network
	shut *atomic.Bool
}

func (n *shutNet) Do(ctx context.Context, purpose string, m ident.MailboxID, b []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	if r, err := envelope.DecodeRequest(b); err == nil && n.shut.Load() {
		if put, ok := r.Ops[0].(envelope.Store); ok && put.Namespace == envelope.GroupLog {
			return nil, ident.Path{}, fault.New(fault.Limited, "append commit",
				"1024 joined in this generation")
		}
	}
	return n.Network.Do(ctx, purpose, m, b, sign)
}

func TestAdminIsAskedWhenADoorIsShut(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	id, link := alice.open(t, "open evening", 5)
	alice.stop()
	var shut atomic.Bool
	shut.Store(true)
	come := func(name string) *device {
		cfg := config(t, cluster, name+"-1")
		cfg.SetNetwork(func(inner client.Network) client.Network {
			return &shutNet{Network: inner,
				shut: &shut}
		})
		d, _ := createWith(t, cfg, name)
		g, err := d.JoinGroup(patient(t), link.Link)
		ok(t, "join", err)
		if g.Status != client.GroupWaiting || len(g.Pending) != 1 || g.Pending[0].Kind != "join" ||
			!g.Pending[0].Held || !strings.Contains(g.Pending[0].Cause, "1024") {
			t.Fatalf("got %s, pending %+v, want to wait for an admin, and why", g.Status, g.Pending)
		}
		return d
	}
	bob, carol := come("Bob"), come("Carol")
	// Whoever tries the link again finds it open.
	shut.Store(false)
	carol.walkIn(t, link)
	alice = alice.reopen(t)
	for _, d := range []*device{alice, bob, carol} {
		d.in(t, id, "all are in", members(3))
	}
	bob.say(t, id, "thanks")
	alice.message(t, "thanks")
}

// TestGroupWithOwnKeys: everything that a group can do, with keys that the nodes tell apart.
func TestGroupWithOwnKeys(t *testing.T) {
	cluster := shared(t)
	all := friends(t, cluster, "Alice", "Bob", "Carol")
	alice, bob, carol := all[0], all[1], all[2]
	id := alice.groupOf(t, "staff", client.GroupOwnKeys).ID
	alice.say(t, id, "hello")
	alice.let(t, id, bob)
	alice.let(t, id, carol)
	if g := bob.in(t, id, "all are in", members(3)); g.Form != client.GroupOwnKeys {
		t.Errorf("Bob's group is %q, want own-keys", g.Form)
	}
	bob.say(t, id, "hi")
	for _, d := range []*device{alice, carol} {
		d.message(t, "hi")
	}
	// A link asks the admins, as in any group but a public one.
	ok(t, "promote", alice.Group(id).SetRole(patient(t), bob.id(), client.RoleAdmin))
	bob.in(t, id, "the role", func(g client.Group) bool { return g.Role == client.RoleAdmin })
	ok(t, "remove", bob.Group(id).Remove(patient(t), carol.id()))
	carol.in(t, id, "removed", status(client.GroupRemoved))
	alice.say(t, id, "among ourselves")
	bob.message(t, "among ourselves")
	bob.let(t, id, carol)
	carol.say(t, id, "back again")
	alice.message(t, "back again")
	settleDocuments(t, carol)
	carol.Lab().LoseGroup(id)
	carol = carol.reopen(t)
	carol.in(t, id, "it is back", func(g client.Group) bool {
		return g.Status == client.GroupJoined &&
			g.Role != ""
	})
	carol.say(t, id, "with new keys")
	for _, d := range []*device{alice, bob} {
		d.message(t, "with new keys")
	}
	ok(t, "leave", carol.Group(id).Leave(patient(t)))
	alice.in(t, id, "two remain", members(2))
	ok(t, "demote", bob.Group(id).SetRole(patient(t), alice.id(), client.RoleMember))
	alice.in(t, id, "Alice is a member", func(g client.Group) bool { return g.Role == client.RoleMember })
	alice.say(t, id, "no admin any more")
	bob.message(t, "no admin any more")
}
