package client_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

func ptr[T any](v T) *T { return &v }

// friends makes accounts that have approved each other.
func friends(t testing.TB, cluster *swarmtest.Cluster, names ...string) (out []*device) {
	t.Helper()
	for _, name := range names {
		d, _ := create(t, cluster, name)
		out = append(out, d)
	}
	for _, a := range out {
		for _, b := range out {
			if a != b {
				if _, err := a.AddContact(patient(t), b.id(), ""); err != nil {
					t.Fatalf("add contact: %v", err)
				}
			}
		}
	}
	return out
}

func (d *device) group(t testing.TB, name string) client.Group {
	t.Helper()
	return d.groupOf(t, name, client.GroupShared)
}

func (d *device) groupOf(t testing.TB, name string, form client.GroupForm) client.Group {
	t.Helper()
	g, err := d.CreateGroup(patient(t), client.GroupInfo{Name: &name}, form)
	if err != nil {
		t.Fatalf("create group: %v", err)
	}
	return g
}

// in waits until f holds of a group.
func (d *device) in(t testing.TB, id ident.GroupID, what string, f func(client.Group) bool) client.Group {
	t.Helper()
	g, err := d.Group(id).Wait(patient(t), f)
	if err != nil {
		t.Fatalf("wait until %s: %v; have %+v", what, err, g)
	}
	return g
}

func status(want client.GroupStatus) func(client.Group) bool {
	return func(g client.Group) bool { return g.Status == want }
}

func members(n int) func(client.Group) bool {
	return func(g client.Group) bool { return g.Status == client.GroupJoined && len(inside(g)) == n }
}

func inside(g client.Group) (out []ident.AccountID) {
	for _, m := range g.Members {
		if m.Status != "invited" {
			out = append(out, m.Account)
		}
	}
	return out
}

func (d *device) add(t testing.TB, id ident.GroupID, who ...*device) {
	t.Helper()
	var ids []ident.AccountID
	for _, w := range who {
		ids = append(ids, w.id())
	}
	if err := d.Group(id).Add(patient(t), 0, ids...); err != nil {
		t.Fatalf("add: %v", err)
	}
}

// band makes a group of friends, the first its admin.
func band(t testing.TB, cluster *swarmtest.Cluster, names ...string) ([]*device, ident.GroupID) {
	t.Helper()
	all := friends(t, cluster, names...)
	g := all[0].group(t, "band")
	all[0].add(t, g.ID, all[1:]...)
	for _, d := range all {
		d.in(t, g.ID, "all are members", members(len(all)))
	}
	return all, g.ID
}

func ok(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestAcceptedContactJoinsAtOnce(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol")
	alice, bob := all[0], all[1]
	g := bob.in(t, id, "joined", status(client.GroupJoined))
	if g.Name != "band" || g.Role != client.RoleMember || len(g.Members) != 3 {
		t.Errorf("Bob has %+v, want the band with three members", g)
	}
	ok(t, "rename", alice.Group(id).SetInfo(patient(t), client.GroupInfo{Name: ptr("orchestra")}))
	for _, d := range all {
		d.in(t, id, "it is renamed", func(g client.Group) bool { return g.Name == "orchestra" })
	}
	for _, d := range all {
		ok(t, "idle", d.Idle(patient(t)))
	}
}

func TestRemovedMemberIsOutAndCanComeBack(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol")
	alice, bob, carol := all[0], all[1], all[2]
	key := bob.Lab().GroupReadKey(id)
	ok(t, "read as a member", bob.Lab().ReadGroup(patient(t), id, key))
	ok(t, "remove", alice.Group(id).Remove(patient(t), bob.id()))
	bob.in(t, id, "removed", status(client.GroupRemoved))
	for { // a replica that lags serves the old key for a moment
		err := bob.Lab().ReadGroup(patient(t), id, key)
		if errors.Is(err, fault.Stale) {
			break
		}
		ok(t, "read after the removal", err)
	}
	if bob.Lab().HasGroupKeys(id) {
		t.Error("who was removed has keys of the group on its disk")
	}
	if g := carol.in(t, id, "two remain", members(2)); g.Generation != 2 {
		t.Errorf("generation is %d after a removal, want 2", g.Generation)
	}
	alice.add(t, id, bob)
	for _, d := range all {
		d.in(t, id, "Bob is back", members(3))
	}
}

func TestLeavingIsFinishedByAnAdmin(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol")
	alice, bob, carol := all[0], all[1], all[2]
	if err := alice.Group(id).Leave(patient(t)); err == nil {
		t.Errorf("the last admin left")
	}
	ok(t, "leave", bob.Group(id).Leave(patient(t)))
	bob.in(t, id, "left", status(client.GroupLeft))
	for _, d := range []*device{alice, carol} {
		d.in(t, id, "two remain", members(2))
	}
}

func TestTwoAdminsAtOnceConverge(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol", "Dave")
	alice, bob, carol := all[0], all[1], all[2]
	ok(t, "promote", alice.Group(id).SetRole(patient(t), bob.id(), client.RoleAdmin))
	bob.in(t, id, "Bob is an admin", func(g client.Group) bool { return g.Role == client.RoleAdmin })
	done := make(chan error, 3)
	go func() { done <- alice.Group(id).Remove(patient(t), carol.id()) }()
	go func() { done <- bob.Group(id).Rekey(patient(t)) }()
	go func() {
		done <- bob.Group(id).SetInfo(patient(t),
			client.GroupInfo{Description: ptr("two admins")})
	}()
	for range 3 {
		ok(t, "change", <-done)
	}
	carol.in(t, id, "removed", status(client.GroupRemoved))
	for _, d := range []*device{alice, bob, all[3]} {
		g := d.in(t, id, "all is in the log", func(g client.Group) bool {
			return len(inside(g)) == 3 && g.Description == "two admins"
		})
		if g.Generation != 2 && g.Generation != 3 {
			// a removal that comes first is the new generation that was wanted
			t.Errorf("generation %d, want 2 or 3", g.Generation)
		}
		if slices.Contains(inside(g), carol.id()) {
			t.Errorf("Carol is a member still")
		}
	}
}

func TestOldAdminIsDemotedByTheNewOne(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob")
	alice, bob := all[0], all[1]
	ok(t, "promote", alice.Group(id).SetRole(patient(t), bob.id(), client.RoleAdmin))
	bob.in(t, id, "Bob is an admin", func(g client.Group) bool { return g.Role == client.RoleAdmin })
	ok(t, "demote", bob.Group(id).SetRole(patient(t), alice.id(), client.RoleMember))
	alice.in(t, id, "Alice is a member", func(g client.Group) bool { return g.Role == client.RoleMember })
	if err := alice.Group(id).Rekey(patient(t)); err == nil {
		t.Errorf("an admin of the past changed the group")
	}
	ok(t, "disband", bob.Group(id).Disband(patient(t)))
	alice.in(t, id, "disbanded", status(client.GroupDisbanded))
}

func TestLinkLetsStrangersIn(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	carol, _ := create(t, cluster, "Carol")
	g := alice.group(t, "open evening")
	link, err := alice.Group(g.ID).CreateLink(patient(t), time.Now().Add(time.Hour), 2, 0)
	ok(t, "link", err)
	for _, d := range []*device{bob, carol} {
		w, err := d.JoinGroup(patient(t), link.Link)
		if ok(t, "join", err); w.ID != g.ID {
			t.Fatalf("joined %s, want %s", w.ID, g.ID)
		}
		d.in(t, g.ID, "joined", status(client.GroupJoined))
		if d == bob {
			again, err := bob.JoinGroup(patient(t), link.Link)
			if ok(t, "join again", err); again.Status != client.GroupJoined {
				t.Errorf("joining again made the group %s", again.Status)
			}
		}
	}
	got := alice.in(t, g.ID, "three are members", members(3))
	if len(got.Links) != 0 {
		t.Errorf("the link has uses left: %+v", got.Links)
	}
}

func TestInvitationOfAStrangerWaits(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	first, second := alice.group(t, "first"), alice.group(t, "second")
	alice.add(t, first.ID, bob)
	alice.add(t, second.ID, bob)
	for _, id := range []ident.GroupID{first.ID, second.ID} {
		g := bob.in(t, id, "invited", status(client.GroupInvited))
		if g.Invitation == nil || g.Invitation.From != alice.id() {
			t.Errorf("got %+v, want an invitation from Alice", g)
		}
	}
	ok(t, "accept", bob.Group(first.ID).Accept(patient(t)))
	ok(t, "decline", bob.Group(second.ID).Decline(patient(t)))
	bob.in(t, first.ID, "joined", status(client.GroupJoined))
	if all, err := bob.Groups(patient(t)); err != nil || len(all) != 1 {
		t.Errorf("got %d groups, %v, want one", len(all), err)
	}
}

// TestGroupChangeSurvivesDeathAroundItsCommit kills the admin's process when slots are staged and their
// commit is not stored yet, and when it is stored and the process has not heard of it.
func TestGroupChangeSurvivesDeathAroundItsCommit(t *testing.T) {
	for _, point := range []string{"staged", "stored"} {
		t.Run(point, func(t *testing.T) {
			cluster := shared(t)
			var armed atomic.Bool
			reached := make(chan struct{})
			cfg := config(t, cluster, "Alice-1")
			cfg.AtCommit(func(ctx context.Context, at string) {
				if at == point && armed.Swap(false) {
					close(reached)
					<-ctx.Done()
				}
			})
			alice, _ := createWith(t, cfg, "Alice")
			bob, _ := create(t, cluster, "Bob")
			_, err := bob.AddContact(patient(t), alice.id(), "")
			ok(t, "add contact", err)
			g := alice.group(t, "band")
			alice.add(t, g.ID, bob)
			bob.in(t, g.ID, "joined", members(2))
			alice.in(t, g.ID, "Bob joined", members(2))
			armed.Store(true)
			go alice.Group(g.ID).Remove(t.Context(), bob.id()) //nolint:errcheck // it dies
			select {
			case <-reached:
			case <-patient(t).Done():
				t.Fatal("no commit went out")
			}
			alice.kill(t)
			alice = alice.reopen(t)
			bob.in(t, g.ID, "removed", status(client.GroupRemoved))
			got := alice.in(t, g.ID, "Bob is out", func(g client.Group) bool {
				return len(inside(g)) == 1 &&
					len(g.Pending) == 0
			})
			if got.Generation != 2 {
				t.Errorf("generation %d, want 2: the removal came about once", got.Generation)
			}
		})
	}
}

// keeping is a network that keeps commits of groups from its client once it is told to.
type keeping struct {
	client.Network
	armed atomic.Bool
}

func (n *keeping) Subscribe(ctx context.Context, m ident.MailboxID, build func() []byte, sign client.SignFunc,
	handle func(envelope.Envelope) error) error {
	return n.Network.Subscribe(ctx, m, build, sign, func(e envelope.Envelope) error {
		if n.armed.Load() && e.Namespace == envelope.GroupLog {
			return nil
		}
		return handle(e)
	})
}

func TestWithheldCommitIsFound(t *testing.T) {
	cluster := shared(t)
	net := &keeping{}
	cfg := config(t, cluster, "Bob-1")
	cfg.SetNetwork(func(inner client.Network) client.Network {
		net.Network = inner
		return net
	})
	bob, _ := createWith(t, cfg, "Bob")
	alice, _ := create(t, cluster, "Alice")
	_, err := bob.AddContact(patient(t), alice.id(), "")
	ok(t, "add contact", err)
	g := alice.group(t, "band")
	alice.add(t, g.ID, bob)
	bob.in(t, g.ID, "joined", members(2))
	alice.in(t, g.ID, "Bob joined", members(2))
	ok(t, "say", alice.Lab().SayInGroup(patient(t), g.ID, nil))
	ok(t, "sync", bob.SyncToHeads(patient(t)))
	if g := bob.in(t, g.ID, "joined", members(2)); g.Warning != "" {
		t.Fatalf("warned without a cause: %s", g.Warning)
	}
	net.armed.Store(true)
	ok(t, "rename", alice.Group(g.ID).SetInfo(patient(t), client.GroupInfo{Name: ptr("orchestra")}))
	ok(t, "say", alice.Lab().SayInGroup(patient(t), g.ID, nil))
	bob.in(t, g.ID, "the commit comes from another node",
		func(g client.Group) bool { return g.Name == "orchestra" })
}

// TestKickedAndInvitedWhileAwayComesBack: the invitation overtakes the commits, which a device that was away
// has not seen.
func TestKickedAndInvitedWhileAwayComesBack(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol")
	alice, bob := all[0], all[1]
	bob.stop()
	for range 2 {
		ok(t, "remove", alice.Group(id).Remove(patient(t), bob.id()))
		alice.add(t, id, bob)
	}
	ok(t, "idle", alice.Idle(patient(t)))
	bob = bob.reopen(t)
	for _, d := range []*device{alice, bob, all[2]} {
		d.in(t, id, "Bob is back", members(3))
	}
	ok(t, "say", bob.Lab().SayInGroup(patient(t), id, nil))
}

func TestWhoIsBannedStaysOut(t *testing.T) {
	cluster := shared(t)
	all, id := band(t, cluster, "Alice", "Bob")
	alice, bob := all[0], all[1]
	link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 5, 0)
	ok(t, "link", err)
	ok(t, "ban", alice.Group(id).Ban(patient(t), bob.id()))
	bob.in(t, id, "removed", status(client.GroupRemoved))
	if _, err := bob.JoinGroup(patient(t), link.Link); err == nil {
		t.Error("an invitation from before the removal was taken")
	}
	carol, _ := create(t, cluster, "Carol")
	_, err = carol.JoinGroup(patient(t), link.Link)
	ok(t, "join", err)
	alice.in(t, id, "Carol is in", members(2))
	alice.add(t, id, bob)
	bob.in(t, id, "Bob is allowed again", members(3))
}

func TestRepeatedInvitationsChangeNothing(t *testing.T) {
	cluster := shared(t)
	all, id := band(t, cluster, "Alice", "Bob")
	alice, bob := all[0], all[1]
	_, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 5, 0)
	ok(t, "link", err)
	before := bob.in(t, id, "Bob knows", func(g client.Group) bool { return len(g.Links) == 1 })
	for range 2 {
		ok(t, "invite again", alice.Lab().RepeatInvitation(patient(t), id, bob.id()))
	}
	ok(t, "idle", alice.Idle(patient(t)))
	ok(t, "sync", bob.SyncToHeads(patient(t)))
	ok(t, "idle", bob.Idle(patient(t)))
	after := bob.in(t, id, "still a member", status(client.GroupJoined))
	if after.Commits != before.Commits || len(after.Members) != 2 {
		t.Errorf("got %d commits and %d members, want %d and 2", after.Commits,
			len(after.Members), before.Commits)
	}
	// Once he is removed, what he was sent before is too old.
	ok(t, "remove", alice.Group(id).Remove(patient(t), bob.id()))
	bob.in(t, id, "removed", status(client.GroupRemoved))
	ok(t, "sync", bob.SyncToHeads(patient(t)))
	if g, err := bob.Group(id).Get(patient(t)); err != nil || g.Status != client.GroupRemoved {
		t.Errorf("got %s, %v after a late look at old invitations, want removed", g.Status, err)
	}
}
