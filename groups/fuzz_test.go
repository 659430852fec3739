package groups

import (
	"bytes"
	"crypto/rand"
	"testing"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

func FuzzCommit(f *testing.F) {
	b, alice := foundForm(f, 1, FormPublic)
	ticket := alice.keys.Ticket(b.group, alice.id)
	in := b.door(f, alice, 2, 0)
	door := in.DoorTicket(alice.id, alice.keys)
	b.comeIn(f, newUser(f, 2), in)
	for _, c := range b.log {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if c, err := decodeCommit(in); err == nil && !bytes.Equal(c.Encode(), in) {
			t.Error("a commit does not encode to what it was read from")
		}
		_, _, _ = alice.Needs(in)
		_, _ = ticket.Locator(in)
		_, _ = door.Locator(in)
		_, _ = alice.Describe(in)
		_ = alice.Clone().Apply(start, in, nil)
		_, _ = Enter(start, testCluster, ticket, nil, [][]byte{in}, make([]byte, 40))
	})
}

// FuzzContent gives members a commit with any body, signed by the key for its kind: all take it in, most as
// void.
func FuzzContent(f *testing.F) {
	b, alice := foundForm(f, 1, FormPublic)
	bob := b.add(f, alice, 2)
	door := b.door(f, alice, 2, 0)
	b.mustSync(f, bob)
	join, err := b.try(newUser(f, 3), door)
	if err != nil {
		f.Fatal(err)
	}
	p, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindInfo, Info: Info{Name: "x"}})
	if err != nil {
		f.Fatal(err)
	}
	key := memberKey(&alice.grant.all, labelBody, b.group, 1)
	for _, raw := range [][]byte{p.Commit, join.Commit} {
		c, err := decodeCommit(raw)
		if err != nil {
			f.Fatal(err)
		}
		plain, err := key.open("open", concat(labelCommitBody, alice.bound(&c.CommitHeader)), c.Body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(c.Kind)-2, plain)
	}
	f.Fuzz(func(t *testing.T, kind uint8, in []byte) {
		if p, err := decodeContent(in); err == nil && !bytes.Equal(p.bytes(), p.unsigned) {
			t.Error("a body does not encode to what it was read from")
		}
		raw := forge(t, alice.State, Kind(2+kind%9), in)
		one, two := alice.Clone(), bob.Clone()
		if err := one.Apply(start, raw, nil); err != nil {
			t.Errorf("the first member: %v", err)
		}
		if err := two.Apply(start, raw, nil); err != nil || one.Digest() != two.Digest() {
			t.Errorf("the second member: %v, or another state", err)
		}
	})
}

// forge makes a commit upon the head with any plaintext as its body, in the generation in force.
func forge(t fataler, by *State, kind Kind, plain []byte) []byte {
	t.Helper()
	index, prev := by.Head()
	h := envelope.CommitHeader{Index: index + 1, Generation: by.core.gen, PrevHash: prev, Kind: kind,
		Form: by.core.form}
	by.pks.into(&h)
	key, most := memberKey(&by.grant.all, labelBody, by.group, h.Generation), maxPlain
	if kind == KindJoin {
		most = envelope.MaxJoin - envelope.CommitHeaderSize - 3 - 64 - 40
	}
	body, err := key.seal(rand.Reader, concat(labelCommitBody, by.bound(&h)), plain[:min(len(plain), most)])
	if err != nil {
		t.Fatalf("forge: %v", err)
	}
	return signed(by, &envelope.Commit{CommitHeader: h, Body: body})
}

func signed(by *State, c *envelope.Commit) []byte {
	key := by.grant.admin()
	if c.Kind == KindJoin {
		key = by.grant.write()
	}
	c.Signature = [64]byte(key.sign("", c.SignedBytes(by.mailbox)))
	return c.Encode()
}

func FuzzChange(f *testing.F) {
	_, alice := found(f, 1)
	u, err := alice.NewLeaf(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	adds, leaves, targets := []Addition{direct(newUser(f, 3))}, []LeafUpdate{*u},
		[]Target{{Account: alice.self, Joined: 1}}
	for _, c := range []Change{
		{Kind: KindCreate, Adds: adds}, {Kind: KindAdd, Adds: adds}, {Kind: KindRemove, Targets: targets,
			Leaves: leaves, Ban: true}, {Kind: KindRemove, Targets: targets, Left: true},
		{Kind: KindRole, Targets: targets, Role: Plain}, {Kind: KindInfo,
			Info: Info{Picture: []byte{1}}}, {Kind: KindRekey, Leaves: leaves},
		{Kind: KindInvite, Invite: Invite{Serial: 1, Uses: 1, NotAfter: 1,
			For: []ident.AccountID{accountOf(3)}}},
		{Kind: KindRevokeInvite, Serial: 3, Accounts: []ident.AccountID{accountOf(3)}}, {Kind: KindDisband},
		joinOf(newUser(f, 3), 1),
	} {
		f.Add(c.Encode())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := DecodeChange(in)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Encode(), in) {
			t.Error("a change does not encode to what it was read from")
		}
		_, _ = alice.Propose(rand.Reader, start, c)
		_ = alice.CheckAdd(c, start)
		if d, err := decodeChange(c.Kind, c.encode()); err != nil || !bytes.Equal(d.encode(), c.encode()) {
			t.Error("a change is another one in its commit")
		}
	})
}

func FuzzSlot(f *testing.F) {
	b, alice := foundForm(f, 1, FormPublic)
	door := b.door(f, alice, 2, 0)
	ticket := door.DoorTicket(alice.id, alice.keys)
	f.Add(b.slotFor(ticket))
	c, err := decodeCommit(b.log[0])
	if err != nil {
		f.Fatal(err)
	}
	content := cryptobyte.NewBuilder(nil)
	alice.grant.add(content)
	f.Add(b.slots[0].Body(3))
	f.Add(content.BytesOrPanic())
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = alice.openSlot(c, Locator{}, in, alice.leaves)
		_, _ = alice.openSlot(c, Locator{}, append(bytes.Clone(c.SlotsRoot[:]), in...), alice.leaves)
		_, _, _ = (*Shared)(nil).Join(rand.Reader, start, testCluster, ticket, door, nil, b.log, in)
		if slot, err := boxSeal(door.intake,
			concat(labelSlot, alice.slotContext(1, 2, envelope.CommitHash(b.log[0]))), in); err == nil {
			opening, err := decodeCommit(b.log[1])
			if err != nil {
				t.Fatal(err)
			}
			if o, err := alice.openSlot(opening, Locator{}, append(bytes.Clone(opening.SlotsRoot[:]),
				slot...), ticket.leaves); err == nil && (o.role != Plain || !o.power.zero() ||
				!o.next.zero()) {
				t.Error("a door gives more than a plain member's keys")
			}
		}
		k, s := new(grant), cryptobyte.String(in)
		if out := cryptobyte.NewBuilder(nil); k.readFrom(&s) && s.Empty() {
			if k.add(out); !bytes.Equal(out.BytesOrPanic(), in) {
				t.Error("a slot does not encode to what it was read from")
			}
		}
	})
}

func FuzzState(f *testing.F) {
	b, alice := foundForm(f, 1, FormPublic)
	bob, carol := b.add(f, alice, 2), newUser(f, 3)
	b.comeIn(f, carol, b.door(f, alice, 2, 0))
	b.mustSync(f, alice)
	b.commit(f, alice, Change{Kind: KindRekey}) // so that there are days of a generation that is over
	b.mustSync(f, bob, carol)
	for _, u := range []*user{alice, bob, carol} {
		f.Add(u.Marshal())
		f.Add(u.Handover())
	}
	blob := say(f, b, alice, "x")
	f.Fuzz(func(t *testing.T, in []byte) {
		if h, err := DecodeHandover(in); err == nil {
			if !bytes.Equal(h.encode(), in) {
				t.Error("a handover does not encode to what it was read from")
			}
			if s, err := Enter(start, testCluster, h, nil, b.log, b.slotFor(h)); err == nil {
				if again, err := Unmarshal(s.Marshal()); err != nil || again.Since() != s.Since() {
					t.Errorf("a state entered with this handover cannot be read back: %v", err)
				}
				if len(s.Handover()) > maxHandover {
					t.Error("a handover is too large")
				}
			}
		}
		_ = bob.Clone().TakeHandover(in)
		s, err := Unmarshal(in)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Marshal(), in) {
			t.Error("a state does not encode to what it was read from")
		}
		_, _ = s.Open(blob)
		_ = s.Apply(start, b.log[0], b.slots[0].Body(0))
		if s.grant != nil {
			_, _ = s.Propose(rand.Reader, start, Change{Kind: KindRekey})
			_, _ = s.Leave(rand.Reader)
			s.Handover()
		}
		s.Erase(Day(start), start)
	})
}

func FuzzMessage(f *testing.F) {
	b, alice := found(f, 1)
	f.Add(say(f, b, alice, "x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = alice.Open(in)
		_, _ = decodeMessage(in)
	})
}

func FuzzWord(f *testing.F) {
	b, alice := found(f, 1)
	bob := b.add(f, alice, 2)
	u, err := bob.NewLeaf(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, word := range [][]byte{append([]byte{wordLeaf}, u.Encode()...), append([]byte{wordUrgent},
		u.Encode()...), {wordLeave}} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if l, err := DecodeLeafUpdate(in); err == nil && !bytes.Equal(l.Encode(), in) {
			t.Error("a leaf key does not encode to what it was read from")
		}
		_, _ = alice.ReadToAdmins(in)
		if len(in) <= wordSize {
			sealed, err := bob.sealWord(rand.Reader, in)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = alice.ReadToAdmins(sealed)
		}
	})
}

func FuzzInvitation(f *testing.F) {
	b, alice := foundForm(f, 1, FormPublic)
	in := b.invite(f, alice)
	u := newUser(f, 2)
	slot := b.slotFor(in.DoorTicket(u.id, u.keys))
	f.Add(b.invite(f, alice, accountOf(9)).Encode())
	req, err := in.Request(u.id, u.keys, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(in.Encode())
	f.Add(req)
	f.Add(u.keys.Marshal())
	f.Add(alice.Welcome())
	f.Add(NewReturn(b.group, u.id, u.keys, nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if i, err := DecodeInvitation(raw); err == nil {
			if !bytes.Equal(i.Encode(), raw) || i.Bound && i.Door {
				t.Error("an invitation does not encode to what it was read from")
			}
			_, _, _ = (*Shared)(nil).Join(rand.Reader, start, testCluster, i.DoorTicket(u.id, u.keys), i,
				nil, b.log, slot)
		}
		if k, err := UnmarshalKeys(raw); err == nil && !bytes.Equal(k.Marshal(), raw) {
			t.Error("keys do not encode to what they were read from")
		}
		if w, err := DecodeWelcome(raw); err == nil && !bytes.Equal(w.encode(), raw) {
			t.Error("a welcome does not encode to what it was read from")
		}
		_, _ = alice.OpenRequest(raw)
		_, _, _ = alice.OpenReturn(u.id, raw)
		if box, err := boxSeal(in.intake, concat(labelRequest, serialContext(b.group, in.Serial)),
			raw); err == nil {
			_, _ = alice.OpenRequest(append(bytes.Clone(req[:9]), box...))
		}
	})
}
