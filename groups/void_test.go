package groups

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// bad is a commit that an admin makes by hand, with all keys that nodes see right.
type bad struct {
	kind    Kind
	change  []byte
	author  *user // nil: the admin
	signer  *user // nil: the author
	state   func(*[32]byte)
	earlier []secret
	fresh   bool
	garbage bool            // the whole body
	without ident.AccountID // gets a slot of garbage
}

// make commits c upon the head of by, with slots for all members that by knows.
func (c bad) make(t fataler, b *mailbox, by *user) *Proposal {
	t.Helper()
	index, prev := by.Head()
	h := envelope.CommitHeader{Index: index + 1, Generation: by.core.gen, PrevHash: prev, Kind: c.kind,
		Form: by.core.form}
	author, all, out := c.author, by.grant.all, new(Proposal)
	if author == nil {
		author = by
	}
	if c.signer == nil {
		c.signer = author
	}
	by.pks.into(&h)
	if c.fresh {
		h.Generation++
		g := expand(&secret{b: [32]byte{byte(h.Index)}}, by.group, h.Generation, Day(b.now))
		next := by.core.clone()
		next.index, next.gen = h.Index, h.Generation
		seal := by.sealer(h.Generation, h.Index, prev, &by.sign)
		for _, m := range next.members {
			at, leaf := by.grant.nextSecret(m), m.Leaf
			if m.Account == c.without {
				leaf = newUser(t, 0).keys.leaf.box().PublicKey().Bytes()
			}
			slot, err := seal.slot(leaf, locate(&at, h.Generation, 0), g.forMember(m, h.Index))
			if err != nil {
				t.Fatalf("make a bad commit: %v", err)
			}
			out.Slots = append(out.Slots, slot)
		}
		out.Root, all = envelope.SlotsRoot(sortSlots(out.Slots)), g.all
		pks := g.publics()
		pks.into(&h)
		h.SlotsRoot = out.Root
	}
	p := &content{author: author.id, at: b.now.UnixMilli(), change: c.change, earlier: c.earlier}
	if ch, err := decodeChange(c.kind, c.change); err == nil {
		if next, _, err := by.core.next(ch, author.id, p.at); err == nil {
			p.state = next.digest()
		}
	}
	if c.state != nil {
		c.state(&p.state)
	}
	admin := by.grant.admin()
	cm, err := by.sealCommit(rand.Reader, h, p, &all, &c.signer.sign,
		func(b []byte) [64]byte { return [64]byte(admin.sign("", b)) })
	if err != nil {
		t.Fatalf("make a bad commit: %v", err)
	}
	out.Commit = cm.Encode()
	if c.garbage {
		cm.Body = []byte("garbage")
		out.Commit = signed(by.State, cm)
	}
	return out
}

func TestVoidCommitsChangeNothingForAnybody(t *testing.T) {
	encode := func(c Change) []byte { return c.encode() }
	info := encode(Change{Kind: KindInfo, Info: Info{Name: "by hand"}})
	for name, c := range map[string]func(b *mailbox, alice, bob, carol *user) bad{
		"garbage": func(_ *mailbox, _, _, _ *user) bad { return bad{kind: KindInfo, garbage: true} },
		"a change of garbage": func(_ *mailbox, _, _, _ *user) bad {
			return bad{kind: KindInfo, change: []byte("garbage")}
		},
		"a change of another kind": func(_ *mailbox, _, _, _ *user) bad {
			return bad{kind: KindRole,
				change: info}
		},
		"an author who is no admin": func(_ *mailbox, _, _, carol *user) bad {
			return bad{kind: KindInfo, change: info, author: carol}
		},
		"an author who is no member": func(_ *mailbox, alice, _, _ *user) bad {
			return bad{kind: KindInfo, change: info, author: newUser(t, 99), signer: alice}
		},
		"an author who is another admin": func(_ *mailbox, alice, bob, _ *user) bad {
			return bad{kind: KindInfo, change: info, author: bob, signer: alice}
		},
		"a state that does not follow": func(_ *mailbox, _, _, _ *user) bad {
			return bad{kind: KindInfo, change: info, state: func(s *[32]byte) { s[0] ^= 1 }}
		},
		"keys of the past that do not belong": func(_ *mailbox, alice, _, _ *user) bad {
			return bad{kind: KindInfo, change: info, earlier: []secret{alice.past[0]}}
		},
		"a change that changes nothing": func(_ *mailbox, alice, _, _ *user) bad {
			return bad{kind: KindInfo, change: encode(Change{Kind: KindInfo, Info: alice.Info()})}
		},
		"the own removal": func(_ *mailbox, alice, _, _ *user) bad {
			return bad{kind: KindRemove,
				change: encode(Change{Kind: KindRemove, Targets: target(alice, alice.id)}), fresh: true,
				earlier: []secret{{b: alice.grant.all.b}}}
		},
		"the own role lowered": func(_ *mailbox, alice, _, _ *user) bad {
			return bad{kind: KindRole, change: encode(Change{Kind: KindRole, Targets: target(alice, alice.id),
				Role: Plain}), fresh: true, earlier: []secret{{b: alice.grant.all.b}}}
		},
		"a removal without a generation": func(_ *mailbox, alice, bob, _ *user) bad {
			return bad{kind: KindRemove,
				change: encode(Change{Kind: KindRemove, Targets: target(alice, bob.id)})}
		},
		"a removal of an earlier stay": func(_ *mailbox, alice, bob, _ *user) bad {
			return bad{kind: KindRemove,
				change: encode(Change{Kind: KindRemove, Targets: []Target{{bob.id, 1}}}), fresh: true,
				earlier: []secret{{b: alice.grant.all.b}}}
		},
		"a rekey that breaks the chain of keys": func(_ *mailbox, _, _, _ *user) bad {
			return bad{kind: KindRekey, change: encode(Change{Kind: KindRekey}), fresh: true,
				earlier: []secret{{b: [32]byte{1}}}}
		},
		"a rekey of garbage": func(_ *mailbox, _, _, _ *user) bad {
			return bad{kind: KindRekey, fresh: true,
				garbage: true}
		},
		"an info with a generation": func(_ *mailbox, alice, _, _ *user) bad {
			return bad{kind: KindInfo, change: info, fresh: true, earlier: []secret{{b: alice.grant.all.b}}}
		},
		"a leaf key that its member did not sign": func(_ *mailbox, alice, bob, _ *user) bad {
			u := LeafUpdate{Account: bob.id, Number: 9, Leaf: alice.Member(alice.id).Leaf,
				Signature: make([]byte, 64)}
			return bad{kind: KindRekey, change: encode(Change{Kind: KindRekey, Leaves: []LeafUpdate{u}}),
				fresh: true, earlier: []secret{{b: alice.grant.all.b}}}
		},
		"an addition by an invitation that is not there": func(_ *mailbox, _, _, _ *user) bad {
			a := direct(newUser(t, 8))
			a.Serial = 77
			return bad{kind: KindAdd, change: encode(Change{Kind: KindAdd, Adds: []Addition{a}})}
		},
		"an addition of a member": func(_ *mailbox, _, bob, _ *user) bad {
			return bad{kind: KindAdd, change: encode(Change{Kind: KindAdd, Adds: []Addition{direct(bob)}})}
		},
		"an addition with a bad key": func(_ *mailbox, _, _, _ *user) bad {
			a := direct(newUser(t, 8))
			a.Member.Leaf = bytes.Repeat([]byte{0xff}, leafSize)
			return bad{kind: KindAdd, change: encode(Change{Kind: KindAdd, Adds: []Addition{a}})}
		},
		"one good and one bad addition": func(_ *mailbox, _, bob, _ *user) bad {
			return bad{kind: KindAdd,
				change: encode(Change{Kind: KindAdd, Adds: []Addition{direct(newUser(t, 8)), direct(bob)}})}
		},
		"an invitation for a member": func(_ *mailbox, _, bob, _ *user) bad {
			return bad{kind: KindInvite,
				change: encode(Change{Kind: KindInvite, Invite: Invite{Serial: 5, Uses: 1, NotAfter: 1 << 47,
					For: []ident.AccountID{bob.id}}})}
		},
		"a revocation of nothing": func(_ *mailbox, _, _, _ *user) bad {
			return bad{kind: KindRevokeInvite, change: encode(Change{Kind: KindRevokeInvite, Serial: 5})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, alice := found(t, 1)
			bob, carol := b.add(t, alice, 2), b.add(t, alice, 3)
			b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
			b.commit(t, alice, Change{Kind: KindRekey})
			b.mustSync(t, bob, carol)
			made := c(b, alice, bob, carol)
			members, told, gen := sums(alice.core), alice.Info(), alice.Generation()
			if !b.store(made.make(t, b, alice)) {
				t.Fatal("not stored")
			}
			b.mustSync(t, alice, bob, carol)
			for _, u := range []*user{alice, bob, carol} {
				d, err := u.Describe(b.log[len(b.log)-1])
				after := u.Info()
				if err != nil || !d.Void || !after.Equal(&told) || sums(u.core) != members ||
					u.Digest() != alice.Digest() {
					t.Fatalf("%x: got %+v, %v, want a void commit that changes nothing", u.id[1:3], d, err)
				}
				if want := gen + uint32(bit(made.fresh)); u.Generation() != want {
					t.Errorf("%x: generation %d, want %d", u.id[1:3], u.Generation(), want)
				}
			}
			b.goesOn(t, alice, bob, carol)
		})
	}
}

// sums is all that is known of the members.
func sums(c *core) (out string) {
	for _, m := range c.members {
		out += string(m.sum[:])
	}
	return out
}

// goesOn sees that a group lives: its admins commit, all read, and newcomers can read the whole log.
func (b *mailbox) goesOn(t testing.TB, alice, bob, carol *user) {
	t.Helper()
	late := b.add(t, alice, 50)
	b.mustSync(t, bob, carol)
	b.commit(t, bob, Change{Kind: KindRekey})
	b.mustSync(t, alice, carol, late)
	later := b.add(t, bob, 51)
	b.mustSync(t, alice, carol, late)
	blob := say(t, b, carol, "still here")
	for _, u := range []*user{alice, bob, late, later} {
		if _, err := u.Open(blob); err != nil || u.Digest() != carol.Digest() {
			t.Errorf("%x: got %v, or another state", u.id[1:3], err)
		}
	}
	if alice.core.gaps != 0 {
		t.Error("a commit that counts leaves keys of the past out")
	}
}

func TestManyVoidGenerationsLeaveTheLogReadable(t *testing.T) {
	b, alice := found(t, 1)
	bob, carol := b.add(t, alice, 2), b.add(t, alice, 3)
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
	b.mustSync(t, bob, carol)
	for range maxGaps {
		b.store(bad{kind: KindRekey, fresh: true, garbage: true}.make(t, b, alice))
		b.mustSync(t, alice, bob, carol)
	}
	b.goesOn(t, alice, bob, carol)
}

func TestBadSlotsHarmOnlyWhoseTheyAre(t *testing.T) {
	b, alice := found(t, 1)
	bob, carol := b.add(t, alice, 2), b.add(t, alice, 3)
	b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, bob.id), Role: Admin})
	b.mustSync(t, bob, carol)
	b.store(bad{kind: KindRekey, change: nil, fresh: true, garbage: true, without: carol.id}.make(t, b,
		alice))
	b.mustSync(t, alice, bob)
	if err := b.sync(carol); !errors.Is(err, fault.Denied) {
		t.Fatalf("a slot of garbage: got %v, want denied", err)
	}
	// Carol's device is out, but her account is a member: it returns.
	keys := newUser(t, 3)
	remove, add, err := bob.OpenReturn(carol.id, NewReturn(b.group, carol.id, keys.keys, []byte("word")))
	if err != nil {
		t.Fatal(err)
	}
	b.commit(t, bob, remove)
	b.commit(t, bob, add)
	carol = keys
	b.enter(t, carol)
	b.mustSync(t, alice)
	b.goesOn(t, alice, bob, carol)
}

func TestRoleWithoutItsSlotIsInNameOnly(t *testing.T) {
	b, alice := found(t, 1)
	bob, carol := b.add(t, alice, 2), b.add(t, alice, 3)
	p, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindRole, Targets: target(alice, bob.id),
		Role: Admin})
	if err != nil {
		t.Fatal(err)
	}
	if _, must, err := bob.Needs(p.Commit); err != nil || !must {
		t.Errorf("got %v, %v, want the slot needed", must, err)
	}
	good := p.Slots
	p.Slots = nil
	b.store(p)
	b.mustSync(t, alice, bob, carol)
	if bob.Admin() || bob.Member(bob.id).Role != Admin || bob.Digest() != alice.Digest() {
		t.Error("want a role in name only, in a state that all have")
	}
	again, err := Unmarshal(bob.Marshal())
	if err != nil || again.Admin() {
		t.Errorf("read back: %v", err)
	}
	p.Slots = good
	b.commit(t, alice, Change{Kind: KindRekey})
	b.mustSync(t, bob, carol)
	b.goesOn(t, alice, bob, carol)
}

func TestDisbandCountsByItsHeader(t *testing.T) {
	for name, garbage := range map[string]bool{"a good one": false, "one of garbage": true} {
		b, alice := found(t, 1)
		bob := b.add(t, alice, 2)
		b.store(bad{kind: KindDisband, garbage: garbage}.make(t, b, alice))
		b.mustSync(t, alice, bob)
		if !alice.Disbanded() || !bob.Disbanded() || alice.Digest() != bob.Digest() {
			t.Errorf("%s: the group goes on", name)
		}
		if _, err := bob.Seal(rand.Reader, b.now, ident.MessageID{}, nil); !errors.Is(err, fault.Denied) {
			t.Errorf("%s: a message after it: got %v, want denied", name, err)
		}
	}
}

// TestHeadersThatNodesRefuseAreRefused has what no honest node stores: it changes nothing, and is no void
// commit.
func TestHeadersThatNodesRefuseAreRefused(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	for name, c := range map[string]struct {
		change func(c *envelope.Commit)
		want   error
	}{
		"another write key":          {func(c *envelope.Commit) { c.Write[0] ^= 1 }, fault.Corrupt},
		"another history":            {func(c *envelope.Commit) { c.PrevHash[0] ^= 1 }, fault.Corrupt},
		"a gap":                      {func(c *envelope.Commit) { c.Index++ }, fault.Stale},
		"a generation without slots": {func(c *envelope.Commit) { c.Generation++ }, fault.Denied},
		"a generation left out":      {func(c *envelope.Commit) { c.Generation += 2 }, fault.Corrupt},
	} {
		p := bad{kind: KindInfo, change: (&Change{Kind: KindInfo, Info: Info{Name: "x"}}).encode()}.make(t, b,
			alice)
		cm, err := decodeCommit(p.Commit)
		if err != nil {
			t.Fatal(err)
		}
		c.change(cm.Commit)
		before := bob.Marshal()
		if err := bob.Apply(b.now, signed(alice.State, cm.Commit), nil); !errors.Is(err, c.want) ||
			!bytes.Equal(before, bob.Marshal()) {
			t.Errorf("%s: got %v, want %v and nothing changed", name, err, c.want)
		}
		cm.Signature[0] ^= 1
		if err := bob.Apply(b.now, cm.Encode(), nil); name == "another write key" &&
			!errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%s, not signed: got %v, want unauthenticated", name, err)
		}
	}
}

func TestSlotOfAnotherTimeIsRefused(t *testing.T) {
	b, alice := found(t, 1)
	bob := b.add(t, alice, 2)
	p, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindRekey})
	if err != nil {
		t.Fatal(err)
	}
	c, err := decodeCommit(p.Commit)
	if err != nil {
		t.Fatal(err)
	}
	at, _, _ := bob.Needs(p.Commit)
	o, err := bob.openSlot(c, at, p.Find(at), bob.leaves)
	if err != nil {
		t.Fatal(err)
	}
	seal := alice.sealer(c.Generation, c.Index, c.PrevHash, &alice.sign)
	today := Day(b.now)
	for _, day := range []uint32{0, today - maxAhead - 1, today + maxAhead + 1, maxDay + 1, 1<<32 - 1,
		today - maxAhead} {
		o.day = day
		slot, err := seal.slot(bob.Member(bob.id).Leaf, at, o.grant)
		if err != nil {
			t.Fatal(err)
		}
		err = bob.Clone().Apply(b.now, p.Commit, envelope.SlotBody(p.Root, slot.Sealed))
		if good := near(day, b.now.UnixMilli()); good != (err == nil) ||
			!good && !errors.Is(err, fault.Corrupt) && !errors.Is(err, fault.Denied) {
			t.Errorf("a slot of day %d, the commit's is %d: got %v", day, today, err)
		}
	}
}

// TestSlotThatAnotherMemberMadeIsRefused has a member that colludes with a node and swaps a slot: all its
// keys are right, but it would lead its victim astray at the next generation.
func TestSlotThatAnotherMemberMadeIsRefused(t *testing.T) {
	b, alice := found(t, 1)
	bob, carol := b.add(t, alice, 2), b.add(t, alice, 3)
	b.mustSync(t, bob)
	p, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindRekey})
	if err != nil {
		t.Fatal(err)
	}
	c, err := decodeCommit(p.Commit)
	if err != nil {
		t.Fatal(err)
	}
	at, _, _ := bob.Needs(p.Commit)
	theirs, _, _ := carol.Needs(p.Commit)
	o, err := carol.openSlot(c, theirs, p.Find(theirs), carol.leaves)
	if err != nil {
		t.Fatal(err)
	}
	seal := carol.sealer(c.Generation, c.Index, c.PrevHash, &carol.sign)
	slot, err := seal.slot(bob.Member(bob.id).Leaf, at, o.grant)
	if err != nil {
		t.Fatal(err)
	}
	before := bob.Marshal()
	if err := bob.Apply(b.now, p.Commit, envelope.SlotBody(p.Root, slot.Sealed)); !errors.Is(err,
		fault.Corrupt) || !bytes.Equal(before, bob.Marshal()) {
		t.Errorf("got %v, want corrupt and nothing changed", err)
	}
	if err := bob.Apply(b.now, p.Commit, p.Find(at)); err != nil {
		t.Errorf("the true slot: got %v", err)
	}
}
