package groups

import (
	"io"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Slot is a slot as it is staged: under its locator lies envelope.SlotBody of the proposal's root and its
// sealed bytes.
type Slot = envelope.Slot

// Proposal is a commit that is ready to be stored. Its slots are staged before it; nothing of it counts until
// the log has it. Whoever made it takes it in with Apply, like all others.
type Proposal struct {
	Commit []byte
	Slots  []Slot // by locator
	Root   [32]byte
	Admin  [32]byte      // public half of the admin key from this commit on
	Ops    []envelope.Op // follow the commit in its request
}

// Body returns what is stored for a slot.
func (p *Proposal) Body(i int) []byte { return envelope.SlotBody(p.Root, p.Slots[i].Sealed) }

// Find returns what is stored at a locator, or nil.
func (p *Proposal) Find(at Locator) []byte {
	for i := range p.Slots {
		if p.Slots[i].Locator == at {
			return p.Body(i)
		}
	}
	return nil
}

// Genesis is the key that a group begins with. It signs the mailbox's genesis and is wiped then: a group has
// no owner.
type Genesis struct {
	private.Redacted
	seed secret
}

// NewGenesis draws the key of a new group.
func NewGenesis(rng io.Reader) (*Genesis, error) {
	seed, err := newSecret(rng)
	if err != nil {
		return nil, err
	}
	return &Genesis{seed: seed}, nil
}

// Group returns the ID of the group that begins with g.
func (g *Genesis) Group() (id ident.GroupID) {
	p := g.seed.public()
	id[0] = ident.GroupType
	copy(id[1:], p[:])
	return id
}

// MailboxKey returns the key that signs the genesis of the group's mailbox.
func (g *Genesis) MailboxKey(cluster ident.ClusterID) *account.MailboxKey {
	return account.GroupMailboxKey(g.seed.key(), cluster)
}

// Wipe forgets the key; g is of no use afterwards.
func (g *Genesis) Wipe() { g.seed.wipe() }

// Create makes the first commit of a group, which the mailbox key signs, and the state of its first admin
// before it, who takes it in with Apply once it is stored. The form is for good.
func Create(rng io.Reader, now time.Time, gen *Genesis, cluster ident.ClusterID, self ident.AccountID,
	k *Keys, credential []byte, info Info, form Form) (*State, *Proposal, error) {
	if form > FormPublic {
		return nil, nil, fault.New(fault.Invalid, "make group", "form %d is unknown", form)
	}
	key := gen.MailboxKey(cluster)
	s := newState(place{gen.Group(), ident.MailboxID(key.Public())}, self, k.sign,
		[]leafKey{{number: 1, key: k.leaf}})
	s.first, s.core.form = k.slot, form
	m := &Member{Account: self, Sign: k.sign.public(), Leaf: k.leaf.box().PublicKey().Bytes(),
		Credential: credential}
	ch := Change{Kind: KindCreate, Info: info, Adds: []Addition{{Member: m, slot: k.slot}}}
	p, err := s.propose(rng, now, ch, key.Sign)
	if err != nil {
		return nil, nil, err
	}
	return s, p, nil
}

// Propose makes the commit for a change upon the head. What no longer applies of the change is left out.
//
// Errors: Exists (nothing is left to do: drop the change), Denied (the own account may not), Limited (too
// many members or invitations), Invalid.
func (s *State) Propose(rng io.Reader, now time.Time, ch Change) (*Proposal, error) {
	if !s.Admin() {
		return nil, fault.New(fault.Denied, "change group",
			"the own account is no admin, or its keys did not come")
	}
	if ch.Kind == KindJoin {
		return nil, fault.New(fault.Denied, "change group", "who joins makes that commit, with Join")
	}
	admin := s.grant.admin()
	defer admin.wipe()
	return s.propose(rng, now, ch, func(b []byte) [64]byte { return [64]byte(admin.sign("", b)) })
}

func (s *State) propose(rng io.Reader, now time.Time, ch Change,
	outer func([]byte) [64]byte) (*Proposal, error) {
	if err := ch.check(); err != nil {
		return nil, err
	}
	c, err := s.core.prune(ch, now.UnixMilli())
	if err != nil {
		return nil, err
	}
	next, fresh, err := s.core.next(c, s.self, now.UnixMilli())
	if err != nil {
		return nil, err
	}
	_, prev := s.Head()
	h := envelope.CommitHeader{Index: next.index, Generation: next.gen, PrevHash: prev, Kind: c.Kind,
		Form: next.form}
	p := &content{author: s.self, at: now.UnixMilli(), change: c.encode(), state: next.digest()}
	seal := s.sealer(h.Generation, h.Index, h.PrevHash, &s.sign)
	g, past := s.grant, s.past
	out := new(Proposal)
	if fresh {
		gs, err := newSecret(rng)
		if err != nil {
			return nil, err
		}
		g = expand(&gs, s.group, next.gen, Day(now))
		gs.wipe()
		if s.grant != nil {
			past = after(past, &s.grant.all)
		}
		if out.Slots, err = s.sealAll(rng, now, seal, next, g); err != nil {
			return nil, err
		}
	} else if out.Slots, err = s.sealSome(now, seal, next, c); err != nil {
		return nil, err
	}
	p.earlier = s.core.owed(fresh, past)
	out.Root = envelope.SlotsRoot(out.Slots)
	pks := g.publics()
	pks.into(&h)
	h.SlotsRoot, out.Admin = out.Root, h.Admin
	cm, err := s.sealCommit(rng, h, p, &g.all, &s.sign, outer)
	if err != nil {
		return nil, err
	}
	out.Commit, out.Ops = cm.Encode(), s.ops(c, next)
	return out, nil
}

// ops returns what the nodes must know besides the commit.
func (s *State) ops(c *Change, next *core) (out []envelope.Op) {
	switch c.Kind {
	case KindCreate, KindAdd:
		for i := range c.Adds {
			if next.form != FormShared {
				out = append(out, ownKey(c.Adds[i].Member.Sign, next, i))
			}
		}
	case KindRemove:
		if next.form != FormShared {
			out = append(out, s.core.revoked(c.Targets))
		}
	case KindInvite:
		if in, err := next.findInvite(c.Invite.Serial); err == nil {
			out = append(out, in.delegate())
		}
	case KindRevokeInvite:
		for i := range s.core.invites {
			in := &s.core.invites[i]
			if _, err := next.findInvite(in.Serial); err != nil && len(out) < maxOps {
				out = append(out, envelope.Revoke{Serial: envelope.Serial(in.Commit, 0)})
			}
		}
	}
	return out
}

// maxOps leaves room in a commit's request. What is not revoked at the nodes is refused by admins.
const maxOps = 16

// sealAll makes the slots of a new generation: one for each member of next and each open door, and decoys.
func (s *State) sealAll(rng io.Reader, now time.Time, seal *sealer, next *core, g *grant) ([]Slot, error) {
	doors := next.openDoors(now.UnixMilli())
	out := make([]Slot, 0, bucketOf(len(next.members)+len(doors)))
	for _, m := range next.members {
		at := s.first
		if s.grant != nil {
			at = s.grant.nextSecret(m)
		}
		slot, err := seal.slot(m.Leaf, locate(&at, next.gen, 0), g.forMember(m, next.index))
		if err != nil {
			return nil, err
		}
		out = append(out, slot)
	}
	for i := range doors {
		slot, err := seal.doorSlot(&doors[i], g.forDoor(next.index), 0)
		if err != nil {
			return nil, err
		}
		out = append(out, slot)
	}
	return seal.fill(rng, out)
}

// sealSome makes the slots of additions, of a role that rises or of a door; other changes within a generation
// have none.
func (s *State) sealSome(now time.Time, seal *sealer, next *core, c *Change) (out []Slot, err error) {
	chain := &s.chains[len(s.chains)-1]
	today := max(Day(now), chain.day)
	one := func(id ident.AccountID, at Locator, day uint32) error {
		m := next.member(id)
		g := s.grant.forMember(m, next.index)
		if g.ck, err = chain.at(day); err != nil {
			return err
		}
		g.day = day
		slot, err := seal.slot(m.Leaf, at, g)
		out = append(out, slot)
		return err
	}
	switch c.Kind {
	case KindAdd:
		for i := range c.Adds {
			a := &c.Adds[i]
			days := min(uint32(a.ShareDays), maxAhead-1, today) // what a slot may name, and clocks differ
			if err := one(a.Member.Account, locate(&a.slot, next.gen, 0),
				today-min(days, today-chain.day)); err != nil {
				return nil, err
			}
			if days == 0 {
				continue
			}
			more, err := seal.history(a, next.gen, s.pastDays(today-days))
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	case KindRole:
		id := c.Targets[0].Account
		at := s.grant.nextSecret(next.member(id))
		if err := one(id, locate(&at, next.gen, next.index), today); err != nil {
			return nil, err
		}
	case KindInvite:
		in, err := next.findInvite(c.Invite.Serial)
		if err != nil || !next.door(in) {
			return nil, err
		}
		g := s.grant.forDoor(next.index)
		if g.ck, err = chain.at(today); err != nil {
			return nil, err
		}
		g.day = today
		slot, err := seal.doorSlot(in, g, next.index)
		if err != nil {
			return nil, err
		}
		out = append(out, slot)
	}
	return slices.Clip(sortSlots(out)), nil
}
