package groups

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// doorLeaf is the number of a door's key among leaf keys.
const doorLeaf = 0

// door reports whether an invitation lets its holder in at once.
func (c *core) door(in *Invite) bool { return c.form == FormPublic && !in.bound() }

// comeIn adds the author of a join by a door.
func (c *core) comeIn(ch *Change, author ident.AccountID, at int64) error {
	if c.form != FormPublic || len(ch.Adds) != 1 || ch.Adds[0].Member.Account != author {
		return denied("who lets itself in is its author, and the group is public")
	}
	a := ch.Adds[0]
	if c.member(author) != nil {
		return nothing("the account is a member already")
	}
	in, err := c.findInvite(a.Serial)
	if err != nil || !c.door(in) {
		return denied("the invitation is revoked, used up or for others")
	}
	a.ShareDays, a.Replaces, a.door = in.ShareDays, 0, true
	err = c.join(&a, at)
	if f := new(fault.Error); errors.As(err, &f) && f.Kind == fault.Exists {
		return denied("%s", f.Detail)
	}
	return err
}

// doorSlots returns the secret that locates a door's slots, of the intake seed of its invitation.
func doorSlots(intake secret) secret { return derive(intake.b[:], nil, labelDoorSlot) }

// doorSlot seals the slot of a door: what everybody with the link may know.
func (s *sealer) doorSlot(in *Invite, g *grant, index uint64) (envelope.Slot, error) {
	key, at := in.intake(), doorSlots(secretOf(in.Intake))
	return s.slot(key.box().PublicKey().Bytes(), locate(&at, g.g, index), g)
}

// openDoors returns the doors that a new generation has slots for.
func (c *core) openDoors(at int64) (out []Invite) {
	for i := range c.invites {
		if in := &c.invites[i]; c.door(in) && at <= in.NotAfter {
			out = append(out, *in)
		}
	}
	return out
}

// DoorTicket returns what somebody joins and enters a group with by an invitation that is a door, with keys
// that were drawn for it. Its slots are those of the door: of the newest generation that there is, or of the
// commit that opened it.
func (i *Invitation) DoorTicket(self ident.AccountID, k *Keys) *Ticket {
	intake := derive(i.seed.b[:], nil, labelDoor)
	return &Ticket{
		group: i.Group, self: self, sign: k.sign, slot: doorSlots(intake), from: i.Generation,
		opened: i.HeadIndex,
		leaves: []leafKey{{number: doorLeaf, key: derive(intake.b[:], nil, labelIntake)},
			{number: 1, key: k.leaf}},
	}
}

// byDoor reports whether a ticket opens a door's slot.
func (t *Ticket) byDoor() bool { return byDoor(t.leaves) }

// byDoor reports whether a door's key is among leaf keys: the grant is the door's.
func byDoor(leaves []leafKey) bool { return len(leaves) > 0 && leaves[0].number == doorLeaf }

// ownLeaves returns leaf keys without a door's.
func ownLeaves(leaves []leafKey) []leafKey {
	if byDoor(leaves) {
		return leaves[1:]
	}
	return leaves
}

// Join makes the commit by which an account lets itself in, and returns the seed of the write key that stores
// and signs it. t is the DoorTicket of in, log all of the log, slot what is stored as the door's slot of its
// newest generation. Its Ops follow the commit in its request. Once the nodes have taken it, Enter with the
// same ticket and slot makes the state.
//
// Errors: Denied (banned; the invitation is over, used up, revoked, no door or of before the account's
// removal; the slot is not the door's), Exists (a member already, perhaps by an earlier try: Enter), Limited
// (the group is full), Stale (the log is shorter than the inviter knew it, or the slot is of an earlier
// generation), Unavailable (an admin has to make a commit first), Corrupt, Unauthenticated and Invalid as
// Enter has them.
func (sh *Shared) Join(rng io.Reader, now time.Time, cluster ident.ClusterID, t *Ticket, in *Invitation,
	credential []byte,
	log [][]byte, slot []byte) (*Proposal, private.Key, error) {
	p, write, err := sh.join(rng, now, cluster, t, in, credential, log, slot)
	return p, write.key(), err
}

func (sh *Shared) join(rng io.Reader, now time.Time, cluster ident.ClusterID, t *Ticket, in *Invitation,
	credential []byte, log [][]byte, slot []byte) (*Proposal, secret, error) {
	none := secret{}
	if in == nil || !t.byDoor() || t.index != 0 || len(credential) > MaxCredential {
		return nil, none, fault.New(fault.Invalid, "join group",
			"it takes an invitation that is a door, its ticket, and a credential of at most %d bytes",
			MaxCredential)
	}
	mailbox, err := account.GroupMailboxOf(t.group, cluster)
	if err != nil {
		return nil, none, err
	}
	s := newState(place{t.group, mailbox}, t.self, t.sign, nil)
	s.shared = sh
	commits, err := s.readLog(log)
	if err != nil {
		return nil, none, err
	}
	if err := t.checkHeads(in, commits); err != nil {
		return nil, none, err
	}
	o, at, err := t.find(&s.place, commits, slot)
	if err != nil {
		return nil, none, err
	}
	end := commits[len(commits)-1]
	if end.Generation != o.g {
		return nil, none, &fault.Error{Kind: fault.Stale, Op: "join group",
			Detail: "the slot is of an earlier generation", Head: end.Index}
	}
	r, err := s.replayTo(commits, at, o, func(_ *core, i int) bool { return i == len(commits)-1 })
	if err != nil {
		return nil, none, err
	}
	if err := r.checkSlot(o); err != nil {
		return nil, none, err
	}
	p, err := s.letIn(rng, now, end, r.last.core, o.grant, in, t.leaves[1], credential)
	return p, o.write(), err
}

// letIn makes the join of the own account upon a head.
func (s *State) letIn(rng io.Reader, now time.Time, head *commit, c *core, g *grant, in *Invitation,
	leaf leafKey, credential []byte) (*Proposal, error) {
	m := &Member{Account: s.self, Sign: s.sign.public(), Leaf: leaf.key.box().PublicKey().Bytes(),
		LeafNumber: 1, Credential: slices.Clone(credential)}
	ch := &Change{Kind: KindJoin, Adds: []Addition{{Member: m, Serial: in.Serial}}}
	next, _, err := c.next(ch, s.self, now.UnixMilli())
	if err != nil {
		return nil, err
	}
	h := head.CommitHeader
	h.Index, h.PrevHash, h.Kind, h.SlotsRoot = next.index, head.hash, KindJoin, [32]byte{}
	write := g.write()
	defer write.wipe()
	p := &content{author: s.self, at: now.UnixMilli(), change: ch.encode(), state: next.digest()}
	cm, err := s.sealCommit(rng, h, p, &g.all, &s.sign,
		func(b []byte) [64]byte { return [64]byte(write.sign("", b)) })
	if err != nil {
		return nil, err
	}
	return &Proposal{Commit: cm.Encode(), Admin: h.Admin, Ops: []envelope.Op{ownKey(m.Sign, next, 0)}}, nil
}

// ownKey lets a member store with its signing key, after the commit that led to c.
func ownKey(sign [32]byte, c *core, place int) envelope.Delegate {
	return envelope.Delegate{
		Serial: envelope.Serial(c.index, uint8(place)), Key: sign, Rights: envelope.MayWrite,
		Namespaces: []envelope.Namespace{envelope.GroupMail, envelope.GroupLeaves}, Generation: c.gen,
	}
}
