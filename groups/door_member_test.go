package groups

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// TestDoorMemberGoesOn plays what happens to somebody in the generation that it joined in, and after.
func TestDoorMemberGoesOn(t *testing.T) {
	role := func(id ident.AccountID, r Role) func(t *testing.T, b *mailbox, alice *user) {
		return func(t *testing.T, b *mailbox, alice *user) {
			b.commit(t, alice, Change{Kind: KindRole, Targets: target(alice, id), Role: r})
		}
	}
	rekey := func(t *testing.T, b *mailbox, alice *user) { b.commit(t, alice, Change{Kind: KindRekey}) }
	void := func(fresh bool) func(t *testing.T, b *mailbox, alice *user) {
		return func(t *testing.T, b *mailbox, alice *user) {
			b.store(bad{kind: KindRekey, fresh: fresh, garbage: true}.make(t, b, alice))
			b.mustSync(t, alice)
		}
	}
	u := accountOf(3)
	for name, steps := range map[string][]func(t *testing.T, b *mailbox, alice *user){
		"two generations":                         {rekey, rekey},
		"a void commit, then a generation":        {void(false), rekey},
		"a void generation":                       {void(true), rekey},
		"two void generations":                    {void(true), void(true), rekey},
		"a moderator, then a generation":          {role(u, Moderator), rekey, rekey},
		"an admin, then a generation":             {role(u, Admin), rekey, rekey},
		"a moderator, an admin, then generations": {role(u, Moderator), role(u, Admin), rekey, rekey},
		"an admin, then plain again": {role(u, Admin), role(u, Plain),
			role(u, Moderator), rekey},
		"a generation, then a moderator":   {rekey, role(u, Moderator), rekey},
		"an admin, then a void generation": {role(u, Admin), void(true), rekey},
	} {
		t.Run(name, func(t *testing.T) {
			b, alice := foundForm(t, 1, FormPublic)
			bob, in := b.add(t, alice, 2), b.door(t, alice, 5, 0)
			carol := newUser(t, 3)
			b.comeIn(t, carol, in)
			b.mustSync(t, alice, bob)
			for i, step := range steps {
				step(t, b, alice)
				b.mustSync(t, bob, carol)
				phone, err := b.device(t, carol.id, carol.Handover())
				if alice.core.gaps > 0 { // the keys of before are owed
					if !errors.Is(err, fault.Unavailable) {
						t.Errorf("step %d: a device of who joined: got %v, want unavailable", i, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("step %d: a device of who joined: %v", i, err)
				}
				if carol.grant.role != alice.Member(carol.id).Role || phone.grant.role != carol.grant.role {
					t.Errorf("step %d: has the keys of a %v, is a %v", i, carol.grant.role,
						alice.Member(carol.id).Role)
				}
				b.agree(t, alice, bob, carol, phone)
			}
			if carol.Admin() {
				b.commit(t, carol, Change{Kind: KindRekey})
			}
			dave := newUser(t, 4)
			b.comeIn(t, dave, in)
			b.mustSync(t, alice)
			b.commit(t, alice, Change{Kind: KindRemove, Targets: target(alice, bob.id)})
			b.agree(t, alice, carol, dave)
		})
	}
}

func TestDoorMemberIsRemovedInItsGeneration(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	in := b.door(t, alice, 5, 0)
	carol, dave := newUser(t, 3), newUser(t, 4)
	b.comeIn(t, carol, in)
	b.comeIn(t, dave, in)
	b.mustSync(t, alice, carol)
	p, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindRemove, Targets: target(alice, carol.id)})
	if err != nil {
		t.Fatal(err)
	}
	if op, ok := p.Ops[0].(envelope.RevokeKeys); !ok || len(p.Ops) != 1 || len(op.Keys) != 1 ||
		op.Keys[0] != carol.keys.SignPublic() {
		t.Errorf("got %+v, want its key revoked", p.Ops)
	}
	b.store(p)
	b.mustSync(t, alice, dave)
	if err := b.sync(carol); !errors.Is(err, fault.Denied) {
		t.Errorf("who was removed: got %v, want denied", err)
	}
	if at, must, err := carol.Needs(p.Commit); err != nil || !must || p.Find(at) != nil {
		t.Error("who was removed has a slot")
	}
	if _, err := b.try(newUser(t, 3), in); !errors.Is(err, fault.Denied) {
		t.Errorf("back by the door from before: got %v, want denied", err)
	}
	again := newUser(t, 3)
	b.comeIn(t, again, b.door(t, alice, 1, 0))
	b.agree(t, alice, dave, again)
}

func TestJoinIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, b *mailbox, alice *user, in *Invitation)
		want error
	}{
		"when the door was revoked": {func(t *testing.T, b *mailbox, alice *user, in *Invitation) {
			b.commit(t, alice, Change{Kind: KindRevokeInvite, Serial: in.Serial})
		}, fault.Denied},
		"when it was revoked and a generation began": {func(t *testing.T, b *mailbox, alice *user,
			in *Invitation) {
			b.commit(t, alice, Change{Kind: KindRevokeInvite, Serial: in.Serial})
			b.commit(t, alice, Change{Kind: KindRekey})
		}, fault.Stale},
		"when it is over": {func(_ *testing.T, b *mailbox, _ *user,
			_ *Invitation) {
			b.now = b.now.Add(73 * time.Hour)
		}, fault.Denied},
		"when it is used up": {func(t *testing.T, b *mailbox, _ *user, in *Invitation) {
			b.comeIn(t, newUser(t, 7), in)
			b.comeIn(t, newUser(t, 8), in)
		}, fault.Denied},
		"to who is banned": {func(t *testing.T, b *mailbox, alice *user, _ *Invitation) {
			b.commit(t, alice, Change{Kind: KindRevokeInvite, Accounts: []ident.AccountID{accountOf(9)},
				Ban: true})
		}, fault.Denied},
		"to a member": {func(t *testing.T, b *mailbox, _ *user, in *Invitation) {
			b.comeIn(t, newUser(t, 9),
				in)
		}, fault.Exists},
		"while keys are owed": {func(t *testing.T, b *mailbox, alice *user, in *Invitation) {
			b.storeVoidWithDoors(t, alice)
		}, fault.Unavailable},
		"when the group has ended": {func(t *testing.T, b *mailbox, alice *user, _ *Invitation) {
			b.commit(t, alice, Change{Kind: KindDisband})
		}, fault.Denied},
		"when the log is too short": {func(_ *testing.T, b *mailbox, _ *user,
			in *Invitation) {
			in.HeadIndex++
		}, fault.Stale},
		"when the log is a fork": {func(_ *testing.T, b *mailbox, _ *user,
			in *Invitation) {
			in.HeadHash[0] ^= 1
		}, fault.Corrupt},
		"with another link's keys": {func(_ *testing.T, b *mailbox, _ *user,
			in *Invitation) {
			in.seed.b[0] ^= 1
		}, fault.Denied},
		"with a credential too long": {nil, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			b, alice := foundForm(t, 1, FormPublic)
			in := b.door(t, alice, 2, 0)
			u, credential := newUser(t, 9), make([]byte, MaxCredential)
			ticket := in.DoorTicket(u.id, u.keys)
			first := b.slotFor(ticket)
			if c.do == nil {
				credential = append(credential, 0)
			} else {
				c.do(t, b, alice, in)
			}
			ticket = in.DoorTicket(u.id, u.keys)
			slot := b.slotFor(ticket)
			if slot == nil {
				slot = first
			}
			if _, _, err := (*Shared)(nil).Join(rand.Reader, b.now, testCluster, ticket, in, credential,
				b.log, slot); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if _, err := Enter(b.now, testCluster, ticket, in, b.log, slot); err == nil {
				t.Error("entered without a join")
			}
		})
	}
}

// storeVoidWithDoors begins a generation with a commit that is void and has slots for doors all the same.
func (b *mailbox) storeVoidWithDoors(t *testing.T, alice *user) {
	t.Helper()
	p, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindRekey})
	if err != nil {
		t.Fatal(err)
	}
	c, err := decodeCommit(p.Commit)
	if err != nil {
		t.Fatal(err)
	}
	c.Body = []byte("garbage")
	p.Commit = signed(alice.State, c.Commit)
	b.store(p)
	b.mustSync(t, alice)
	if alice.core.gaps == 0 {
		t.Fatal("no key is owed")
	}
}

func TestJoinGoesOnInAVoidGenerationThatHasDoors(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	in := b.door(t, alice, 3, 0)
	bob := newUser(t, 2)
	b.comeIn(t, bob, in)
	b.mustSync(t, alice)
	b.storeVoidWithDoors(t, alice)
	b.commit(t, alice, Change{Kind: KindInfo, Info: Info{Name: "carries what was owed"}})
	carol := newUser(t, 3)
	b.comeIn(t, carol, in)
	b.agree(t, alice, bob, carol)
	b.commit(t, alice, Change{Kind: KindRekey})
	b.agree(t, alice, bob, carol)
}

func TestStaleJoinIsMadeAgain(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	in := b.door(t, alice, 3, 0)
	u := newUser(t, 9)
	p, err := b.try(u, in)
	if err != nil {
		t.Fatal(err)
	}
	ticket := in.DoorTicket(u.id, u.keys)
	old := b.slotFor(ticket)
	b.commit(t, alice, Change{Kind: KindRekey})
	if b.store(p) {
		t.Fatal("a join upon an old head was stored")
	}
	if _, _, err := new(Shared).Join(rand.Reader, b.now, testCluster, ticket, in, nil, b.log,
		old); !errors.Is(err, fault.Stale) {
		t.Errorf("with the slot of the generation before: got %v, want stale", err)
	}
	b.comeIn(t, u, in)
	b.agree(t, alice, u)
}

func TestDoorsHaveSlotsWhileTheyAreOpen(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	b.add(t, alice, 2)
	bound := b.invite(t, alice, accountOf(40))
	in := b.door(t, alice, 2, 0)
	opening := b.slots[len(b.slots)-1]
	if len(opening.Slots) != 1 || !in.Door || in.Bound || bound.Door || !bound.Bound {
		t.Fatalf("got %d slots, want one for the door", len(opening.Slots))
	}
	has := func(in *Invitation) bool {
		p := b.slots[len(b.slots)-1]
		at, ok := in.DoorTicket(accountOf(9), newUser(t, 9).keys).Locator(p.Commit)
		return ok && p.Find(at) != nil
	}
	rekey := func() { b.commit(t, alice, Change{Kind: KindRekey}) }
	if !has(in) {
		t.Error("no slot at its opening")
	}
	other := b.door(t, alice, 2, 0)
	if has(in) {
		t.Error("the slot of another door is taken for it")
	}
	if rekey(); !has(in) || !has(other) || has(bound) || len(b.slots[len(b.slots)-1].Slots) != minSlots {
		t.Error("want slots of a generation for both doors, and for no bound invitation")
	}
	b.commit(t, alice, Change{Kind: KindRevokeInvite, Serial: other.Serial})
	if rekey(); !has(in) || has(other) {
		t.Error("want a slot for the door that is not revoked")
	}
	b.now = b.now.Add(73 * time.Hour)
	if rekey(); has(in) {
		t.Error("a door that is over has a slot")
	}
}

func TestPublicGroupHasBounds(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	for range MaxDoors {
		b.door(t, alice, 1, 0)
	}
	ch, _, err := NewInvite(rand.Reader, FormPublic, b.now.Add(time.Hour), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Propose(rand.Reader, b.now, ch); !errors.Is(err, fault.Limited) {
		t.Errorf("a ninth door: got %v, want limited", err)
	}
	b.invite(t, alice, accountOf(40))
	c := alice.core.clone()
	for i := len(c.members); i < MaxMembers; i++ {
		m := *alice.Member(alice.id)
		m.Account, m.Role = accountOf(1000+i), Plain
		c.members = append(c.members, m.seal())
	}
	full := *alice.State
	full.core = c
	p, err := full.Propose(rand.Reader, b.now, Change{Kind: KindRekey})
	if err != nil || len(p.Slots) != MaxSlots {
		t.Errorf("with all members and doors: got %v, want %d slots", err, MaxSlots)
	}
	b.now = b.now.Add(80 * time.Hour)
	b.door(t, alice, 1, 0) // those that are over made room
	if n := len(alice.Invites()); n != 1 {
		t.Errorf("got %d invitations, want one", n)
	}
}

func TestDoorSharesTheDaysThatItSays(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	before := say(t, b, alice, "before the door")
	b.now = b.now.Add(24 * time.Hour)
	none, two := b.door(t, alice, 1, 0), b.door(t, alice, 1, 2)
	blobs := [][]byte{before}
	for range 3 { // days 1 to 3
		blobs = append(blobs, say(t, b, alice, "day"))
		b.now = b.now.Add(24 * time.Hour)
	}
	b.now = b.now.Add(-24 * time.Hour)
	for i, c := range []struct {
		in   *Invitation
		from int // the first blob that opens
	}{{none, 3}, {two, 1}} {
		u := newUser(t, 10+i)
		b.comeIn(t, u, c.in)
		phone, err := b.device(t, u.id, u.Handover())
		if err != nil {
			t.Fatal(err)
		}
		for n, blob := range blobs {
			for _, s := range []*user{u, phone} {
				if _, err := s.Open(blob); (err == nil) != (n >= c.from) {
					t.Errorf("door %d, day %d: got %v, opens from day %d on", i, n, err, c.from)
				}
			}
		}
		b.mustSync(t, alice)
	}
}

// TestDoorSlotGivesNoMore has admins gone bad seal more to a door, or less to a member, than belongs there.
func TestDoorSlotGivesNoMore(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	in := b.door(t, alice, 2, 0)
	bob := newUser(t, 2)
	b.comeIn(t, bob, in)
	b.mustSync(t, alice)
	p, err := alice.Propose(rand.Reader, b.now, Change{Kind: KindRekey})
	if err != nil {
		t.Fatal(err)
	}
	c, err := decodeCommit(p.Commit)
	if err != nil {
		t.Fatal(err)
	}
	after := alice.Clone()
	mine, _, _ := after.Needs(p.Commit)
	if err := after.Apply(b.now, p.Commit, p.Find(mine)); err != nil {
		t.Fatal(err)
	}
	whole := *after.grant
	whole.day, whole.ck = after.chains[len(after.chains)-1].day, after.chains[len(after.chains)-1].ck
	ticket := in.DoorTicket(accountOf(9), newUser(t, 9).keys)
	door, _ := ticket.Locator(p.Commit)
	at, _, _ := bob.Needs(p.Commit)
	seal := alice.sealer(c.Generation, c.Index, c.PrevHash, &alice.sign)
	invite := invite(t, alice, in)
	key := invite.intake()
	moderator := func(g *grant) { g.role, g.power = Moderator, whole.mod() }
	for name, x := range map[string]struct {
		door bool
		edit func(g *grant)
		good bool
	}{
		"a door's":                {true, func(*grant) {}, true},
		"a door's of a moderator": {true, moderator, false},
		"a door's of an admin": {true, func(g *grant) {
			g.role, g.power = Admin,
				whole.power
		}, false},
		"a door's with a next slot":            {true, func(g *grant) { g.next.b[0] = 1 }, false},
		"a door's with power":                  {true, func(g *grant) { g.power.b[0] = 1 }, false},
		"a door's with other keys":             {true, func(g *grant) { g.all.b[0] ^= 1 }, false},
		"a member's":                           {false, func(g *grant) { g.next.b[0] = 1 }, true},
		"a member's without a next slot":       {false, func(*grant) {}, false},
		"a member's of a moderator without it": {false, moderator, false},
	} {
		g := whole.forDoor(c.Index)
		x.edit(g)
		leaf, where, leaves := bob.Member(bob.id).Leaf, at, ownLeaves(bob.leaves)
		if x.door {
			leaf, where, leaves = key.box().PublicKey().Bytes(), door, ticket.leaves
		}
		slot, err := seal.slot(leaf, where, g)
		if err != nil {
			t.Fatal(err)
		}
		o, err := alice.openSlot(c, where, envelope.SlotBody(c.SlotsRoot, slot.Sealed), leaves)
		if (err == nil) != x.good || err == nil && o.door != x.door ||
			err != nil && !errors.Is(err, fault.Denied) {
			t.Errorf("%s: got %v, good: %v", name, err, x.good)
		}
	}
	// What is sealed to the door is no slot of a member, wherever it lies.
	g := whole.forDoor(c.Index)
	slot, err := seal.slot(key.box().PublicKey().Bytes(), at, g)
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.Clone().Apply(b.now, p.Commit, envelope.SlotBody(c.SlotsRoot, slot.Sealed)); !errors.Is(err,
		fault.Denied) {
		t.Errorf("the door's content as a member's slot: got %v, want denied", err)
	}
}

func TestDoorKeyIsHandedOverWhileItIsOfUse(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	in := b.door(t, alice, 2, 0)
	bob := newUser(t, 2)
	b.comeIn(t, bob, in)
	for range maxOwnLeaves + 3 {
		if _, err := bob.NewLeaf(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if n := leafNumbers(bob.State); len(n) != maxOwnLeaves || n[0] != doorLeaf || n[1] != 1 {
		t.Fatalf("got %d leaf keys from %v on, want the door's and the one in force among 64", len(n), n[:2])
	}
	bob.Erase(0, b.now.Add(100*24*time.Hour))
	h := bob.Handover()
	phone, err := b.device(t, bob.id, h)
	if err != nil || len(h) > 4096 {
		t.Fatalf("got %v, and %d bytes", err, len(h))
	}
	b.mustSync(t, alice)
	b.commit(t, alice, Change{Kind: KindRekey})
	b.agree(t, alice, bob, phone)
	if leafNumbers(bob.State)[0] == doorLeaf || leafNumbers(phone.State)[0] == doorLeaf {
		t.Error("the door's key stays when a generation has begun")
	}
	if err := phone.TakeHandover(h); err != nil || leafNumbers(phone.State)[0] == doorLeaf {
		t.Errorf("got %v, or the door's key comes back", err)
	}
	late, err := b.device(t, bob.id, h) // a copy from before the generation
	if err != nil {
		t.Fatal(err)
	}
	b.agree(t, alice, bob, late)
}

func TestAdminLetsInWhoAskedThroughADoor(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	in := b.door(t, alice, 2, 0)
	u := newUser(t, 9)
	b.commit(t, alice, request(t, alice, in, u))
	ticket := in.DoorTicket(u.id, u.keys)
	if _, err := Enter(b.now, testCluster, ticket, in, b.log, b.slotFor(ticket)); !errors.Is(err,
		fault.Denied) {
		t.Errorf("with the door's slot: got %v, want denied", err)
	}
	b.enter(t, u)
	b.agree(t, alice, u)
	if alice.Member(u.id).Door || invite(t, alice, in).Uses != 1 {
		t.Error("want a member that an admin let in, and a use less")
	}
	var adds []Change
	big := b.door(t, alice, 40, 0)
	for i := range maxOwnAdds + 1 {
		adds = append(adds, request(t, alice, big, newUser(t, 20+i)))
	}
	one, left := JoinAdds(alice.MaxAdds(), adds...)
	if len(one.Adds) != maxOwnAdds || len(left) != 1 {
		t.Fatalf("got %d and %d left over, want 16 and 1", len(one.Adds), len(left))
	}
	p, err := alice.Propose(rand.Reader, b.now, one)
	if err != nil || len(p.Ops) != maxOwnAdds {
		t.Fatalf("got %v, want 16 keys for the nodes", err)
	}
	for i, op := range p.Ops {
		d := op.(envelope.Delegate)
		if m := one.Adds[i].Member; d.Key != m.Sign || d.Serial != envelope.Serial(uint64(len(b.log))+1,
			uint8(i)) || d.Rights != envelope.MayWrite || len(d.Namespaces) != 2 {
			t.Errorf("place %d: got %+v", i, d)
		}
	}
	one.Adds = append(one.Adds, left[0].Adds...)
	if _, err := alice.Propose(rand.Reader, b.now, one); !errors.Is(err, fault.Denied) {
		t.Errorf("17 additions: got %v, want denied", err)
	}
}

func TestFormsOfGroups(t *testing.T) {
	for _, form := range []Form{FormShared, FormOwn, FormPublic} {
		b, alice := foundForm(t, 1, form)
		own := form != FormShared
		bob := b.add(t, alice, 2)
		if alice.Form() != form || bob.Form() != form {
			t.Fatalf("got %d and %d, want form %d", alice.Form(), bob.Form(), form)
		}
		if ops := b.slots[0].Ops; own != (len(ops) == 1) ||
			own && ops[0].(envelope.Delegate).Key != alice.keys.SignPublic() {
			t.Errorf("form %d: creation with %+v", form, ops)
		}
		if ops := b.slots[2].Ops; own != (len(ops) == 1) ||
			own && ops[0].(envelope.Delegate).Key != bob.keys.SignPublic() {
			t.Errorf("form %d: addition with %+v", form, ops)
		}
		if got := bob.WriteKey(); own != got.Equal(bob.keys.sign.key()) ||
			own == got.Equal(alice.WriteKey()) {
			t.Errorf("form %d: another key to write with", form)
		}
		if door := b.invite(t, alice).Door; door != (form == FormPublic) {
			t.Errorf("form %d: an invitation that is a door: %v", form, door)
		}
		if _, err := alice.Propose(rand.Reader, b.now, joinOf(newUser(t, 3), 1)); !errors.Is(err,
			fault.Denied) {
			t.Errorf("form %d: to propose a join: got %v, want denied", form, err)
		}
		b.agree(t, alice, bob)
	}
	g, err := NewGenesis(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u := newUser(t, 1)
	if _, _, err := Create(rand.Reader, start, g, testCluster, u.id, u.keys, nil, Info{},
		FormPublic+1); !errors.Is(err, fault.Invalid) {
		t.Errorf("an unknown form: got %v, want invalid", err)
	}
}

func TestDoorsOfOneProcessShareWhatAllHave(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	sh := new(Shared)
	alice.Share(sh)
	in := b.door(t, alice, 5, 0)
	all := []*user{alice}
	for n := range 3 {
		u := newUser(t, 2+n)
		ticket := in.DoorTicket(u.id, u.keys)
		slot := b.slotFor(ticket)
		p, _, err := sh.Join(rand.Reader, b.now, testCluster, ticket, in, nil, b.log, slot)
		if err != nil {
			t.Fatal(err)
		}
		b.store(p)
		if n == 1 {
			b.mustSync(t, alice)
			b.commit(t, alice, Change{Kind: KindInfo, Info: Info{Name: "the log goes on"}})
		}
		if u.State, err = sh.Enter(b.now, testCluster, ticket, in, b.log, slot); err != nil {
			t.Fatal(err)
		}
		b.mustSync(t, append(all, u)...)
		if u.core != alice.core {
			t.Errorf("%x does not share what all have", u.id[1:3])
		}
		all = append(all, u)
	}
	alone, err := b.device(t, all[2].id, all[2].Handover())
	if err != nil {
		t.Fatal(err)
	}
	b.commit(t, alice, Change{Kind: KindRekey})
	b.agree(t, append(all, alone)...)
}

// TestDoorSlotIsTheAuthors has a member, who knows all that a door's slot holds, make another one.
func TestDoorSlotIsTheAuthors(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	in := b.door(t, alice, 2, 0)
	bob, u := newUser(t, 2), newUser(t, 9)
	b.comeIn(t, bob, in)
	ticket := in.DoorTicket(u.id, u.keys)
	c, err := decodeCommit(b.log[1])
	if err != nil {
		t.Fatal(err)
	}
	at, _ := ticket.Locator(b.log[1])
	o, err := alice.openSlot(c, at, b.slotFor(ticket), ticket.leaves[:1])
	if err != nil {
		t.Fatal(err)
	}
	o.day--
	key := ticket.leaves[0].key
	made, err := alice.sealer(c.Generation, c.Index, c.PrevHash,
		&bob.keys.sign).slot(key.box().PublicKey().Bytes(), at, o.grant)
	if err != nil {
		t.Fatal(err)
	}
	slot := envelope.SlotBody(c.SlotsRoot, made.Sealed)
	if _, _, err := (*Shared)(nil).Join(rand.Reader, b.now, testCluster, ticket, in, nil, b.log,
		slot); !errors.Is(err, fault.Corrupt) {
		t.Errorf("join: got %v, want corrupt", err)
	}
	b.comeIn(t, u, in)
	if _, err := Enter(b.now, testCluster, ticket, in, b.log, slot); !errors.Is(err, fault.Corrupt) {
		t.Errorf("enter: got %v, want corrupt", err)
	}
	b.mustSync(t, alice)
	b.door(t, alice, 1, 0)
	if _, ok := ticket.Locator(b.log[len(b.log)-1]); ok {
		t.Error("a door that was opened after the invitation was made may be its own")
	}
}

func TestInvitationIsOfAKnownKind(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	raw := b.door(t, alice, 2, 0).Encode()
	how := 1 + 33 + 4 + 32 + 8 + 32 + 8 + 8
	for kind, want := range map[byte]error{0: nil, 1: nil, 2: nil, 3: fault.Corrupt, 255: fault.Corrupt} {
		raw[how] = kind
		if in, err := DecodeInvitation(raw); !errors.Is(err, want) ||
			err == nil && (in.Bound != (kind == 1) || in.Door != (kind == 2)) {
			t.Errorf("kind %d: got %v, want %v", kind, err, want)
		}
	}
}

// TestOnlyJoinsForgetDays: a handover or a slot of another commit leads no device astray.
func TestOnlyJoinsForgetDays(t *testing.T) {
	b, alice := foundForm(t, 1, FormPublic)
	b.door(t, alice, 1, 0)
	c, err := decodeCommit(b.log[len(b.log)-1])
	if err != nil {
		t.Fatal(err)
	}
	alice.forgetBefore(b.now.Add(48*time.Hour), c, &replayed{before: alice.core})
	if alice.Since() != Day(b.now) {
		t.Errorf("got days from %d, want %d", alice.Since(), Day(b.now))
	}
}
