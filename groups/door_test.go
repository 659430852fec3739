package groups

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// door opens a door for a number of uses within 72 hours.
func (b *mailbox) door(t fataler, by *user, uses uint32, days uint16) *Invitation {
	t.Helper()
	ch, seed, err := NewInvite(rand.Reader, by.Form(), b.now.Add(72*time.Hour), uses, days)
	if err != nil {
		t.Fatalf("open a door: %v", err)
	}
	b.commit(t, by, ch)
	return invitation(t, by, ch.Invite.Serial, seed)
}

// try makes a join by a door upon the log as it is.
func (b *mailbox) try(u *user, in *Invitation) (*Proposal, error) {
	ticket := in.DoorTicket(u.id, u.keys)
	p, _, err := (*Shared)(nil).Join(rand.Reader, b.now, testCluster, ticket, in, []byte("word"), b.log,
		b.slotFor(ticket))
	return p, err
}

// comeIn joins by a door and enters.
func (b *mailbox) comeIn(t fataler, u *user, in *Invitation) {
	t.Helper()
	p, err := b.try(u, in)
	if err != nil {
		t.Fatalf("join %x: %v", u.id[1:3], err)
	}
	if !b.store(p) {
		t.Fatalf("join %x: lost a race", u.id[1:3])
	}
	b.enterDoor(t, u, in)
}

func (b *mailbox) enterDoor(t fataler, u *user, in *Invitation) {
	t.Helper()
	ticket := in.DoorTicket(u.id, u.keys)
	err := error(fault.New(fault.NotFound, "enter", "no slot"))
	for i := len(b.log) - 1; i >= 0 && err != nil; i-- {
		if at, ok := ticket.Locator(b.log[i]); ok && b.slots[i].Find(at) != nil {
			u.State, err = Enter(b.now, testCluster, ticket, in, b.log, b.slots[i].Find(at))
		}
	}
	if err != nil {
		t.Fatalf("enter %x: %v", u.id[1:3], err)
	}
	b.mustSync(t, u)
}

func invite(t fataler, by *user, in *Invitation) *Invite {
	t.Helper()
	i, err := by.core.findInvite(in.Serial)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return i
}

// agree sees that members have one state, read each other and survive their disk.
func (b *mailbox) agree(t *testing.T, all ...*user) {
	t.Helper()
	b.mustSync(t, all...)
	for _, u := range all {
		blob := say(t, b, u, "hello")
		for _, o := range all {
			if m, err := o.Open(blob); err != nil || m.Sender != u.id {
				t.Errorf("%x reads %x: %v", o.id[1:3], u.id[1:3], err)
			}
		}
		again, err := Unmarshal(u.Marshal())
		if err != nil || !bytes.Equal(again.Marshal(), u.Marshal()) || again.Digest() != all[0].Digest() {
			t.Errorf("%x: read back: %v, or another state", u.id[1:3], err)
		}
	}
}

func TestDoorLetsInAtOnce(t *testing.T) {
	for name, before := range map[string]func(b *mailbox, alice, bob *user){
		"in the generation of its opening": func(_ *mailbox, _, _ *user) {},
		"after other commits": func(b *mailbox, alice, _ *user) {
			b.commit(t, alice,
				Change{Kind: KindInfo, Info: Info{Name: "x"}})
		},
		"in a later generation": func(b *mailbox, alice, _ *user) {
			b.commit(t, alice, Change{Kind: KindRekey})
			b.commit(t, alice, Change{Kind: KindRekey})
			b.commit(t, alice, Change{Kind: KindInfo, Info: Info{Name: "x"}})
		},
		"after a removal": func(b *mailbox, alice, bob *user) {
			b.commit(t, alice, Change{Kind: KindRemove, Targets: target(alice, bob.id)})
		},
		"after a void generation, and one that counts": func(b *mailbox, alice, _ *user) {
			b.store(bad{kind: KindRekey, fresh: true, garbage: true}.make(t, b, alice))
			b.mustSync(t, alice)
			b.commit(t, alice, Change{Kind: KindRekey})
		},
		"when others came through it": func(b *mailbox, alice, _ *user) { b.mustSync(t, alice) },
	} {
		t.Run(name, func(t *testing.T) {
			b, alice := foundForm(t, 1, FormPublic)
			bob := b.add(t, alice, 2)
			in := b.door(t, alice, 5, 0)
			if name == "when others came through it" {
				b.comeIn(t, newUser(t, 8), in)
				b.comeIn(t, newUser(t, 9), in)
			}
			before(b, alice, bob)
			uses := invite(t, alice, in).Uses
			u := newUser(t, 3)
			p, err := b.try(u, in)
			if err != nil {
				t.Fatal(err)
			}
			b.store(p)
			b.mustSync(t, alice)
			index, _ := alice.Head()
			d, err := alice.Describe(p.Commit)
			if err != nil || d.Void || d.Kind != KindJoin || d.Author != u.id || d.Change.Kind != KindJoin ||
				len(d.Change.Adds) != 1 ||
				d.Change.Adds[0].Member.Account != u.id || d.Change.Adds[0].Serial != in.Serial {
				t.Fatalf("got %+v, %v, want the join described", d, err)
			}
			want := ownKey(u.keys.SignPublic(), alice.core, 0)
			if op, ok := p.Ops[0].(envelope.Delegate); !ok || len(p.Ops) != 1 ||
				op.Serial != envelope.Serial(index, 0) || op.Key != want.Key || op.NotAfter != 0 ||
				op.Generation != alice.Generation() {
				t.Errorf("got %+v, want its own key for the nodes", p.Ops)
			}
			if len(p.Commit) > envelope.MaxJoin || len(p.Slots) != 0 {
				t.Errorf("got %d bytes and %d slots", len(p.Commit), len(p.Slots))
			}
			m := alice.Member(u.id)
			if m == nil || !m.Door || m.Role != Plain || m.Joined != index ||
				string(m.Credential) != "word" || invite(t, alice, in).Uses != uses-1 {
				t.Fatalf("got %+v, want a plain member and a use less", m)
			}
			b.commit(t, alice, Change{Kind: KindInfo, Info: Info{Name: "the log goes on"}})
			b.commit(t, alice, Change{Kind: KindRekey})
			b.commit(t, alice, Change{Kind: KindInfo, Info: Info{Name: "and on"}})
			b.enterDoor(t, u, in)
			if _, ok := u.AdminKey(); ok || u.grant.role != Plain || !u.grant.power.zero() ||
				!u.WriteKey().Equal(u.keys.sign.key()) {
				t.Error("got more than a plain member's keys")
			}
			b.agree(t, alice, u)
		})
	}
}

// TestPolicyOfJoins asks for each rule by itself.
func TestPolicyOfJoins(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	bob, in := b.add(t, alice, 2), b.door(t, alice, 1, 0)
	bound := b.invite(t, alice, accountOf(40))
	gone, was := b.add(t, alice, 5), accountOf(5)
	b.commit(t, alice, Change{Kind: KindRemove, Targets: target(alice, gone.id)})
	later := b.door(t, alice, 2, 0)
	banned := accountOf(6)
	b.commit(t, alice, Change{Kind: KindRevokeInvite, Accounts: []ident.AccountID{banned}, Ban: true})
	at := b.now.UnixMilli()
	join := func(n int, serial uint64) Change {
		a := direct(newUser(t, n))
		a.Serial = serial
		return Change{Kind: KindJoin, Adds: []Addition{a}}
	}
	with := func(ch Change, f func(a *Addition)) Change { f(&ch.Adds[0]); return ch }
	for _, c := range []struct {
		name   string
		ch     Change
		author ident.AccountID
		at     int64
		core   func(c *core)
		want   error
	}{
		{"a stranger", join(9, in.Serial), accountOf(9), at, nil, nil},
		{"in a group of own keys", join(9, in.Serial), accountOf(9), at, func(c *core) { c.form = FormOwn },
			fault.Denied},
		{"in a shared group", join(9, in.Serial), accountOf(9), at, func(c *core) { c.form = FormShared },
			fault.Denied},
		{"made by a member for somebody", join(9, in.Serial), bob.id, at, nil, fault.Denied},
		{"made by an admin for somebody", join(9, in.Serial), alice.id, at, nil, fault.Denied},
		{"of a member", join(2, in.Serial), bob.id, at, nil, fault.Exists},
		{"of two", Change{Kind: KindJoin, Adds: append(join(9, in.Serial).Adds, join(9, in.Serial).Adds...)},
			accountOf(9), at, nil, fault.Denied},
		{"by no invitation", join(9, 77), accountOf(9), at, nil, fault.Denied},
		{"without a serial", join(9, 0), accountOf(9), at, nil, fault.Denied},
		{"by a bound invitation", join(40, bound.Serial), accountOf(40), at, nil, fault.Denied},
		{"when the invitation is over", join(9, in.Serial), accountOf(9), in.NotAfter + 1, nil, fault.Denied},
		{"in its last moment", join(9, in.Serial), accountOf(9), in.NotAfter, nil, nil},
		{"of who was removed, by a door from before", join(5, in.Serial), was, at, nil, fault.Denied},
		{"of who was removed, by a door from since", join(5, later.Serial), was, at, nil, nil},
		{"with the key of an earlier stay", with(join(5, later.Serial),
			func(a *Addition) { a.Member.Sign = gone.keys.SignPublic() }), was, at, nil, fault.Denied},
		{"with the key of another member", with(join(9, later.Serial),
			func(a *Addition) { a.Member.Sign = bob.keys.SignPublic() }), accountOf(9), at,
			nil, fault.Denied},
		{"of who is banned", join(6, later.Serial), banned, at, nil, fault.Denied},
		{"with a bad key", with(join(9, in.Serial), func(a *Addition) { a.Member.Sign = [32]byte{1} }),
			accountOf(9), at, nil, fault.Denied},
		{"when keys are owed", join(9, in.Serial), accountOf(9), at, func(c *core) { c.gaps = 1 },
			fault.Unavailable},
		{"when the group is disbanded", join(9, in.Serial), accountOf(9), at, func(c *core) { c.over = true },
			fault.Denied},
		{"when the group is full", join(9, in.Serial), accountOf(9), at, func(c *core) {
			for i := len(c.members); i < MaxMembers; i++ {
				c.members = append(c.members, &Member{Account: accountOf(1000 + i)})
			}
		}, fault.Limited},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := alice.core.clone()
			if c.core != nil {
				c.core(now)
			}
			next, fresh, err := now.next(&c.ch, c.author, c.at)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err != nil {
				return
			}
			if m := next.member(c.author); fresh || m == nil || !m.Door || m.Role != Plain ||
				next.gen != now.gen {
				t.Errorf("got %+v, want a plain member in the same generation", m)
			}
		})
	}
}

// forgeJoin makes a join that any rule may forbid, as somebody does who has the keys of a member.
func (b *mailbox) forgeJoin(t fataler, by *user, ch Change, author *user, signer secret) *Proposal {
	t.Helper()
	index, prev := by.Head()
	h := envelope.CommitHeader{Index: index + 1, Generation: by.core.gen, PrevHash: prev, Kind: KindJoin,
		Form: FormPublic}
	by.pks.into(&h)
	p := &content{author: author.id, at: b.now.UnixMilli(), change: ch.encode()}
	if next, _, err := by.core.next(&ch, author.id, p.at); err == nil {
		p.state = next.digest()
	}
	write := by.grant.write()
	cm, err := by.sealCommit(rand.Reader, h, p, &by.grant.all, &signer,
		func(x []byte) [64]byte { return [64]byte(write.sign("", x)) })
	if err != nil {
		t.Fatalf("forge a join: %v", err)
	}
	return &Proposal{Commit: cm.Encode()}
}

func TestVoidJoinsChangeNothingForAnybody(t *testing.T) {
	for name, forge := range map[string]func(b *mailbox, alice, bob *user, in *Invitation) *Proposal{
		"of who is banned": func(b *mailbox, alice, bob *user, in *Invitation) *Proposal {
			b.commit(t, alice, Change{Kind: KindRevokeInvite, Accounts: []ident.AccountID{accountOf(9)},
				Ban: true})
			b.mustSync(t, bob)
			u := newUser(t, 9)
			return b.forgeJoin(t, bob, joinOf(u, in.Serial), u, u.keys.sign)
		},
		"when the invitation is over": func(b *mailbox, _, bob *user, in *Invitation) *Proposal {
			b.now = b.now.Add(100 * time.Hour)
			u := newUser(t, 9)
			return b.forgeJoin(t, bob, joinOf(u, in.Serial), u, u.keys.sign)
		},
		"when the invitation is used up": func(b *mailbox, alice, bob *user, in *Invitation) *Proposal {
			b.comeIn(t, newUser(t, 8), in)
			b.comeIn(t, newUser(t, 7), in)
			b.mustSync(t, alice, bob)
			u := newUser(t, 9)
			return b.forgeJoin(t, bob, joinOf(u, in.Serial), u, u.keys.sign)
		},
		"of somebody else": func(b *mailbox, _, bob *user, in *Invitation) *Proposal {
			return b.forgeJoin(t, bob, joinOf(newUser(t, 9), in.Serial), bob, bob.keys.sign)
		},
		"in the name of somebody, with another key": func(b *mailbox, _, bob *user,
			in *Invitation) *Proposal {
			u := newUser(t, 9)
			return b.forgeJoin(t, bob, joinOf(u, in.Serial), u, bob.keys.sign)
		},
		"of a member": func(b *mailbox, _, bob *user, in *Invitation) *Proposal {
			again := newUser(t, 2)
			return b.forgeJoin(t, bob, joinOf(again, in.Serial), again, again.keys.sign)
		},
		"for the second time": func(b *mailbox, alice, bob *user, in *Invitation) *Proposal {
			u := newUser(t, 8)
			b.comeIn(t, u, in)
			b.mustSync(t, alice, bob)
			return b.forgeJoin(t, bob, joinOf(u, in.Serial), u, u.keys.sign)
		},
		"of garbage": func(b *mailbox, _, bob *user, _ *Invitation) *Proposal {
			u := newUser(t, 9)
			p := b.forgeJoin(t, bob, joinOf(u, 1), u, u.keys.sign)
			c, err := decodeCommit(p.Commit)
			if err != nil {
				t.Fatal(err)
			}
			c.Body = []byte("garbage")
			write := bob.grant.write()
			c.Signature = [64]byte(write.sign("", c.SignedBytes(bob.mailbox)))
			return &Proposal{Commit: c.Encode()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, alice := foundForm(t, 1, FormPublic)
			bob, in := b.add(t, alice, 2), b.door(t, alice, 2, 0)
			carol := b.add(t, alice, 3)
			b.mustSync(t, bob)
			p := forge(b, alice, bob, in)
			b.mustSync(t, alice, bob, carol)
			members, gen := sums(alice.core), alice.Generation()
			uses := len(alice.Invites())
			b.store(p)
			b.mustSync(t, alice, bob, carol)
			for _, u := range []*user{alice, bob, carol} {
				d, err := u.Describe(p.Commit)
				if err != nil || !d.Void || d.Kind != KindJoin || sums(u.core) != members ||
					u.Generation() != gen || len(u.Invites()) != uses {
					t.Fatalf("%x: got %+v, %v, want a void join that changes nothing", u.id[1:3], d, err)
				}
			}
			b.agree(t, alice, bob, carol)
			again := b.door(t, alice, 1, 0)
			u := newUser(t, 50)
			b.comeIn(t, u, again)
			b.agree(t, alice, bob, carol, u)
		})
	}
}

func joinOf(u *user, serial uint64) Change {
	a := direct(u)
	a.Serial = serial
	return Change{Kind: KindJoin, Adds: []Addition{a}}
}

// TestJoinsThatNodesRefuseAreRefused holds a member to what nodes check of a join.
func TestJoinsThatNodesRefuseAreRefused(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	bob, in := b.add(t, alice, 2), b.door(t, alice, 2, 0)
	b.mustSync(t, bob)
	u := newUser(t, 9)
	p, err := b.try(u, in)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit func(c *envelope.Commit)
		by   secret
		want error
	}{
		"signed by the admin key": {func(*envelope.Commit) {}, alice.grant.admin(), fault.Unauthenticated},
		"signed by its author":    {func(*envelope.Commit) {}, u.keys.sign, fault.Unauthenticated},
		"that begins a generation": {func(c *envelope.Commit) { c.Generation++ },
			bob.grant.write(), fault.Corrupt},
		"that changes the keys": {func(c *envelope.Commit) { c.Admin = bob.keys.SignPublic() },
			bob.grant.write(), fault.Corrupt},
		"of another kind": {func(c *envelope.Commit) { c.Kind = KindInfo }, bob.grant.write(),
			fault.Unauthenticated},
		"of another form": {func(c *envelope.Commit) { c.Kind, c.Form = KindInfo, FormOwn },
			alice.grant.admin(), fault.Corrupt},
	} {
		cm, err := decodeCommit(p.Commit)
		if err != nil {
			t.Fatal(err)
		}
		c.edit(cm.Commit)
		cm.Signature = [64]byte(c.by.sign("", cm.SignedBytes(bob.mailbox)))
		if err := bob.Clone().Apply(b.now, cm.Encode(), nil); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		ticket := alice.keys.Ticket(b.group, alice.id)
		if _, err := Enter(b.now, testCluster, ticket, nil, append(b.log[:len(b.log):len(b.log)],
			cm.Encode()), nil); !errors.Is(err, c.want) {
			t.Errorf("%s, in a log: got %v, want %v", name, err, c.want)
		}
	}
}
