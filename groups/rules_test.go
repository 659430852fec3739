package groups

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestRulesOfChanges(t *testing.T) {
	b, alice := found(t, 1)
	bob, carol := b.add(t, alice, 2), b.add(t, alice, 3)
	late := b.invite(t, alice)
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
	once := request(t, alice, late, newUser(t, 9))
	soon, _, err := NewInvite(rand.Reader, FormShared, b.now.Add(time.Second), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.commit(t, alice, soon)
	past, _, err := NewInvite(rand.Reader, FormShared, b.now.Add(-time.Second), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.mustSync(t, bob, carol)
	b.now = b.now.Add(time.Minute)
	with := func(f func(a *Addition)) Change {
		c := once
		c.Adds = []Addition{once.Adds[0]}
		m := *once.Adds[0].Member
		c.Adds[0].Member = &m
		f(&c.Adds[0])
		return c
	}
	old := Target{Account: carol.id, Joined: carol.Member(carol.id).Joined + 1}
	unsigned := LeafUpdate{Account: carol.id, Number: 2, Leaf: carol.Member(carol.id).Leaf,
		Signature: make([]byte, 64)}
	invite := func(accounts ...ident.AccountID) Change {
		ch, _, err := NewBoundInvite(rand.Reader, b.now.Add(time.Hour), 0, accounts)
		if err != nil {
			t.Fatal(err)
		}
		return ch
	}
	crowd := make([]ident.AccountID, MaxMembers+1)
	for i := range crowd {
		crowd[i] = accountOf(100 + i)
	}

	for _, c := range []struct {
		name string
		by   *user
		ch   Change
		want error
	}{
		{"a member commits", carol, Change{Kind: KindRekey}, fault.Denied},
		{"an admin renames", alice, Change{Kind: KindInfo, Info: Info{Name: "runners"}}, nil},
		{"the second admin too", bob, Change{Kind: KindInfo, Info: Info{Name: "swimmers",
			Picture: make([]byte, MaxPicture)}}, nil},
		{"the same info again", alice, Change{Kind: KindInfo, Info: Info{Name: "walkers"}}, fault.Exists},
		{"a name too long", alice, Change{Kind: KindInfo, Info: Info{Name: string(make([]byte, 129))}},
			fault.Invalid},
		{"a picture too large", alice, Change{Kind: KindInfo,
			Info: Info{Picture: make([]byte, MaxPicture+1)}}, fault.Invalid},
		{"an admin removes itself", alice, Change{Kind: KindRemove, Targets: target(alice, alice.id)},
			fault.Denied},
		{"an admin lowers itself", alice, Change{Kind: KindRole, Targets: target(alice, alice.id),
			Role: Plain}, fault.Denied},
		{"an admin removes another", alice, Change{Kind: KindRemove, Targets: target(alice, bob.id)}, nil},
		{"a removal of an earlier stay", alice, Change{Kind: KindRemove, Targets: []Target{old}},
			fault.Exists},
		{"a removal of nobody", alice, Change{Kind: KindRemove}, fault.Exists},
		{"a role that is so", alice, Change{Kind: KindRole, Targets: target(alice, carol.id), Role: Plain},
			fault.Exists},
		{"a role unknown", alice, Change{Kind: KindRole, Targets: target(alice, carol.id), Role: 4},
			fault.Invalid},
		{"a second genesis", alice, Change{Kind: KindCreate, Adds: once.Adds}, fault.Denied},
		{"a rekey leaves a forged leaf key out", alice, Change{Kind: KindRekey,
			Leaves: []LeafUpdate{unsigned}}, nil},
		{"a kind unknown", alice, Change{Kind: 11}, fault.Invalid},
		{"an addition without a request", alice,
			Change{Kind: KindAdd, Adds: []Addition{{Member: &Member{Account: accountOf(8)}}}}, fault.Invalid},
		{"an addition of nobody", alice, Change{Kind: KindAdd}, fault.Exists},
		{"an addition", alice, once, nil},
		{"an addition by an expired invitation", alice,
			with(func(a *Addition) { a.Serial = soon.Invite.Serial }), fault.Exists},
		{"an addition by no invitation", alice, with(func(a *Addition) { a.Serial = 77 }), fault.Exists},
		{"an addition of a member", alice, with(func(a *Addition) { a.Member.Account = carol.id }),
			fault.Exists},
		{"an addition with other history", alice, with(func(a *Addition) { a.ShareDays++ }), fault.Denied},
		{"an addition with a bad key", alice, with(func(a *Addition) { a.Member.Sign = [32]byte{1} }),
			fault.Denied},
		{"a return of nobody", alice, with(func(a *Addition) { a.Serial, a.Replaces = 0, 5 }), fault.Exists},
		{"an invitation without uses", alice, Change{Kind: KindInvite, Invite: Invite{Serial: 1,
			NotAfter: 1}}, fault.Invalid},
		{"an invitation that is over", alice, past, fault.Exists},
		{"an invitation for members", alice, invite(alice.id, carol.id), fault.Exists},
		{"an invitation for too many", alice, invite(crowd...), fault.Invalid},
		{"an invitation for many", alice, invite(crowd[1:]...), nil},
		{"a revocation of nothing", alice, Change{Kind: KindRevokeInvite, Serial: 77}, fault.Exists},
		{"a revocation", alice, Change{Kind: KindRevokeInvite, Serial: late.Serial}, nil},
		{"a ban of who is not there", alice, Change{Kind: KindRevokeInvite, Accounts: crowd[:1], Ban: true},
			nil},
		{"a ban of a member without a removal", alice, Change{Kind: KindRevokeInvite,
			Accounts: []ident.AccountID{carol.id}, Ban: true}, fault.Denied},
		{"an end", bob, Change{Kind: KindDisband}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			again, err := DecodeChange(c.ch.Encode())
			if err == nil && !bytes.Equal(again.Encode(), c.ch.Encode()) {
				t.Error("the change is another one when it was written and read")
			}
			_, err = c.by.Propose(rand.Reader, b.now, c.ch)
			if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestStateHasBounds(t *testing.T) {
	_, alice, _ := crowd(t, MaxMembers)
	full := Change{Kind: KindAdd, Adds: []Addition{direct(newUser(t, 3))}}
	if _, err := alice.Propose(rand.Reader, start, full); !errors.Is(err, fault.Limited) {
		t.Errorf("a member too many: got %v, want limited", err)
	}
	c := &core{}
	for i := range MaxBanned + 5 {
		c.ban(accountOf(i))
	}
	if len(c.banned) != MaxBanned || c.banned[0] != accountOf(5) {
		t.Errorf("got %d banned from %x on, want %d, the oldest forgotten", len(c.banned),
			c.banned[0][1:3], MaxBanned)
	}
	for i := range MaxInvites + 1 {
		err := c.invite(Invite{Serial: uint64(i + 1), Uses: 1, NotAfter: 10}, 1)
		if (err != nil) != (i == MaxInvites) || err != nil && !errors.Is(err, fault.Limited) {
			t.Fatalf("invitation %d: got %v", i, err)
		}
	}
	if err := c.invite(Invite{Serial: 9999, Uses: 1, NotAfter: 30}, 20); err != nil || len(c.invites) != 1 {
		t.Errorf("when all others are over: got %v and %d invitations, want one", err, len(c.invites))
	}
	if one, left := JoinAdds(MaxAdds, make49()...); len(one.Adds) != MaxAdds || len(left) != 1 {
		t.Errorf("49 additions: got %d and %d left over, want 48 and 1", len(one.Adds), len(left))
	}
}

func make49() (out []Change) {
	for range MaxAdds + 1 {
		out = append(out, Change{Kind: KindAdd, Adds: make([]Addition, 1)})
	}
	return out
}

func TestEveryFlippedBitOfALoneSlotIsRefused(t *testing.T) {
	b, alice := found(t, 1)
	u := newUser(t, 2)
	b.commit(t, alice, request(t, alice, b.invite(t, alice), u))
	ticket := u.keys.Ticket(b.group, u.id)
	slot := b.slotFor(ticket)
	for i := 0; i < len(slot); i += 13 {
		bad := bytes.Clone(slot)
		bad[i] ^= 1
		if _, err := Enter(b.now, testCluster, ticket, nil, b.log, bad); err == nil {
			t.Fatalf("byte %d of the slot flipped: entered", i)
		}
	}
	for i := range b.log {
		for j := 0; j < len(b.log[i]); j += 31 {
			log := append([][]byte(nil), b.log...)
			log[i] = bytes.Clone(log[i])
			log[i][j] ^= 1
			if _, err := Enter(b.now, testCluster, ticket, nil, log, slot); err == nil {
				t.Fatalf("byte %d of commit %d flipped: entered", j, i+1)
			}
		}
	}
}
