package groups

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

func TestBoundInvitationCountsForItsAccountsOnly(t *testing.T) {
	b, alice := found(t, 1)
	bob, carol, eve := newUser(t, 2), newUser(t, 3), newUser(t, 4)
	in := b.invite(t, alice, bob.id, carol.id)
	if !in.Bound || len(alice.Invited()) != 2 {
		t.Fatalf("got %v invited, want two", alice.Invited())
	}
	req, err := in.Request(eve.id, eve.keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.OpenRequest(req); !errors.Is(err, fault.Denied) {
		t.Errorf("a request of somebody else: got %v, want denied", err)
	}
	stolen := request(t, alice, in, bob)
	m := *stolen.Adds[0].Member
	m.Account = eve.id
	if _, err := alice.Propose(rand.Reader, b.now,
		Change{Kind: KindAdd, Adds: []Addition{{Member: &m, Serial: in.Serial,
			slot: stolen.Adds[0].slot}}}); !errors.Is(err, fault.Exists) {
		t.Errorf("an addition of somebody else: got %v, want exists", err)
	}
	both, _ := JoinAdds(alice.MaxAdds(), stolen, request(t, alice, in, carol), stolen)
	b.commit(t, alice, both)
	b.enter(t, bob)
	b.enter(t, carol)
	if len(alice.Invites()) != 0 || len(alice.Members()) != 3 || bob.Digest() != carol.Digest() ||
		bob.Digest() != alice.Digest() {
		t.Errorf("got %d invitations and %d members, want none and 3 who agree", len(alice.Invites()),
			len(alice.Members()))
	}
	if got := len(b.slots[len(b.slots)-1].Slots); got != 2 {
		t.Errorf("two who join: got %d slots, want 2", got)
	}
}

func TestJoinTakesAnAccountOutOfAllInvitations(t *testing.T) {
	b, alice := found(t, 1)
	bob := newUser(t, 2)
	b.invite(t, alice, bob.id, accountOf(5))
	b.invite(t, alice, bob.id)
	b.commit(t, alice, request(t, alice, b.invite(t, alice), bob))
	if got := alice.Invited(); len(got) != 1 || got[0] != accountOf(5) || len(alice.Invites()) != 1 {
		t.Errorf("got %d invited in %d invitations, want one in one", len(got), len(alice.Invites()))
	}
}

func TestRevocationTakesAccountsOut(t *testing.T) {
	b, alice := found(t, 1)
	x, y := accountOf(5), accountOf(6)
	in := b.invite(t, alice, x, y)
	b.invite(t, alice, x)
	p, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindRevokeInvite, Accounts: []ident.AccountID{x},
		Ban: true})
	if err != nil || len(p.Ops) != 1 {
		t.Fatalf("got %v, %v, want the second invitation to end at the nodes", p, err)
	}
	b.store(p)
	b.mustSync(t, alice)
	if got := alice.Invited(); len(got) != 1 || got[0] != y || len(alice.Banned()) != 1 {
		t.Errorf("got %d invited and %d banned, want one each", len(got), len(alice.Banned()))
	}
	b.invite(t, alice, x)
	if len(alice.Banned()) != 0 {
		t.Error("an invitation does not lift the ban")
	}
	b.commit(t, alice, Change{Kind: KindRevokeInvite, Serial: in.Serial})
	if _, err := alice.Invitation(in.Serial, private.Key{}); !errors.Is(err, fault.NotFound) {
		t.Errorf("a revoked invitation: got %v, want not found", err)
	}
}

func TestDelegationsAreTheSameForEveryAdmin(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
	b.mustSync(t, bob)
	for range 3 {
		ch, _, err := NewInvite(rand.Reader, FormShared, b.now.Add(time.Hour), 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		p, err := bob.Propose(rand.Reader, b.now, ch)
		if err != nil || len(p.Ops) != 1 {
			t.Fatalf("got %v, %v, want one delegation", p, err)
		}
		b.store(p)
		b.mustSync(t, alice, bob)
		d := p.Ops[0].(envelope.Delegate)
		if index, _ := alice.Head(); d.Serial != envelope.Serial(index, 0) || d.Rights != envelope.MayWrite ||
			len(d.Namespaces) != 1 || d.Namespaces[0] != envelope.GroupAsk {
			t.Errorf("got %+v, want one to write requests, with the commit as serial", d)
		}
	}
	b.commit(t, alice, Change{Kind: KindRekey})
	b.mustSync(t, bob)
	one, two := alice.Delegates(), bob.Delegates()
	for i := range one {
		if one[i].Serial != two[i].Serial || one[i].Key != two[i].Key ||
			one[i].Generation != two[i].Generation || i > 0 && one[i].Serial <= one[i-1].Serial {
			t.Error("the delegations differ, or do not rise")
		}
	}
	if len(one) != 3 || len(two) != 3 {
		t.Errorf("got %d and %d delegations, want 3", len(one), len(two))
	}
}

func TestKickedMemberComesBackByANewInvitationOnly(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	stay := target(alice, bob.id)
	early := b.invite(t, alice)
	b.commit(t, alice, Change{Kind: KindRemove, Targets: stay})
	again := newUser(t, 2)
	if _, err := alice.Propose(rand.Reader, b.now, request(t, alice, early, again)); !errors.Is(err,
		fault.Exists) {
		t.Errorf("an invitation from before the removal: got %v, want exists", err)
	}
	ch := request(t, alice, b.invite(t, alice), again)
	if err := alice.CheckAdd(ch, b.now); err != nil {
		t.Errorf("a request that counts: got %v", err)
	}
	b.commit(t, alice, ch)
	b.enter(t, again)
	if err := alice.CheckAdd(ch, b.now); !errors.Is(err, fault.Exists) {
		t.Errorf("the same request again: got %v, want exists", err)
	}
	if _, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindRemove, Targets: stay}); !errors.Is(err,
		fault.Exists) {
		t.Errorf("the removal of the earlier stay: got %v, want exists", err)
	}
	if _, err := again.Open(say(t, b, alice, "back")); err != nil {
		t.Errorf("who came back: got %v, want messages open", err)
	}
	b.commit(t, alice, Change{Kind: KindRemove, Targets: target(alice, again.id), Ban: true})
	third := newUser(t, 2)
	if _, err := alice.Propose(rand.Reader, b.now, request(t, alice, b.invite(t, alice),
		third)); !errors.Is(err, fault.Exists) {
		t.Errorf("a banned account with an open invitation: got %v, want exists", err)
	}
	b.commit(t, alice, request(t, alice, b.invite(t, alice, third.id), third))
	b.enter(t, third)
}

func TestNewcomerReadsWhatTheInvitationShares(t *testing.T) {
	b, alice := found(t, 1)
	old := say(t, b, alice, "old")
	b.now = b.now.Add(48 * time.Hour)
	for days, want := range map[uint16]error{0: fault.Denied, 2: nil} {
		u := newUser(t, 10+int(days))
		ch, seed, err := NewInvite(rand.Reader, FormShared, b.now.Add(time.Hour), 1, days)
		if err != nil {
			t.Fatal(err)
		}
		b.commit(t, alice, ch)
		b.commit(t, alice, request(t, alice, invitation(t, alice, ch.Invite.Serial, seed), u))
		b.enter(t, u)
		if _, err := u.Open(old); !errors.Is(err, want) {
			t.Errorf("with %d days shared: got %v, want %v", days, err, want)
		}
		if u.Digest() != alice.Digest() {
			t.Error("the newcomer has another state")
		}
	}
}

func TestLeaveIsFinishedByAnyAdminAndNotForTheLast(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	if _, err := alice.Leave(rand.Reader); !errors.Is(err, fault.Denied) {
		t.Errorf("the last admin: got %v, want denied", err)
	}
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
	b.mustSync(t, bob)
	word, err := alice.Leave(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b.commit(t, bob, Change{Kind: KindRekey}) // the word outlives its generation
	w, err := bob.ReadToAdmins(word)
	if err != nil || w.Leave == nil || w.Account != alice.id {
		t.Fatalf("got %+v, %v, want that alice leaves", w, err)
	}
	b.mustSync(t, alice)
	b.commit(t, bob, *w.Leave)
	if bob.Member(alice.id) != nil || !errors.Is(b.sync(alice), fault.Denied) {
		t.Error("the first admin is still in the group")
	}
	if _, err := bob.ReadToAdmins(word); !errors.Is(err, fault.Exists) {
		t.Errorf("the same word again: got %v, want exists", err)
	}
	if _, err := bob.Propose(rand.Reader, b.now, *w.Leave); !errors.Is(err, fault.Exists) {
		t.Errorf("the removal again: got %v, want exists", err)
	}
}
