package groups

import (
	"io"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Spare is what the only admin of a group keeps aside for when its devices are lost: the keys that begin the
// next generation after the one that they are of. It has no day key and no leaf key, so it opens no message.
type Spare struct {
	private.Redacted
	group ident.GroupID
	self  ident.AccountID
	sign  secret
	g     uint32
	all   secret
	top   secret
}

// SpareSize is the length of spare keys.
const SpareSize = 1 + 33 + 33 + 32 + 4 + 32 + 32

// Spare returns the account's spare keys, SpareSize bytes that are the same on all of its devices for as long
// as the generation lasts; nil unless it is the only admin and has the keys of one.
func (s *State) Spare() []byte {
	me := s.core.member(s.self)
	if !s.Admin() || s.core.over || me == nil || me.Role != Admin || s.core.admins() != 1 {
		return nil
	}
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddBytes(s.group[:])
	b.AddBytes(s.self[:])
	b.AddBytes(s.sign.b[:])
	b.AddUint32(s.grant.g)
	b.AddBytes(s.grant.all.b[:])
	b.AddBytes(s.grant.power.b[:])
	return b.BytesOrPanic()
}

// DecodeSpare reads what State.Spare returned.
func DecodeSpare(b []byte) (*Spare, error) {
	s, p := cryptobyte.String(b), new(Spare)
	var version uint8
	if !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(p.group[:]) ||
		p.group[0] != ident.GroupType || !s.CopyBytes(p.self[:]) ||
		p.self[0] != ident.AccountType || !s.CopyBytes(p.sign.b[:]) || !s.ReadUint32(&p.g) || p.g == 0 ||
		!s.CopyBytes(p.all.b[:]) ||
		!s.CopyBytes(p.top.b[:]) || !s.Empty() {
		return nil, fault.New(fault.Corrupt, "decode spare keys", "malformed")
	}
	return p, nil
}

// Group returns the group's ID.
func (p *Spare) Group() ident.GroupID { return p.group }

// Self returns the account.
func (p *Spare) Self() ident.AccountID { return p.self }

// Generation returns the generation that the keys are of: which of two spares is newer.
func (p *Spare) Generation() uint32 { return p.g }

// ReadKey returns the seed of the key that fetches log and slots.
func (p *Spare) ReadKey() private.Key { return memberKey(&p.all, labelRead, p.group, p.g).key() }

// Comeback is a commit that begins a generation with a new leaf key of the account, so that the devices
// before have no part in it. Handover enters the group once the log has the commit, and must be kept before
// that is sent.
type Comeback struct {
	private.Redacted
	Proposal *Proposal
	Handover []byte
	Admin    private.Key // seed of the key that stores the commit
	Index    uint64      // of the commit
}

// Comeback makes the commit with which the account comes back, upon the last of a log.
//
// Errors: Denied (the generation is over, the account is not its only admin any more, or the group has
// ended), Corrupt and Unauthenticated (the log is not the group's).
func (p *Spare) Comeback(rng io.Reader, now time.Time, cluster ident.ClusterID,
	log [][]byte) (*Comeback, error) {
	s, err := p.state(now, cluster, log)
	if err != nil {
		return nil, err
	}
	if s.Spare() == nil {
		return nil, fault.New(fault.Denied, "come back to group",
			"this account is not its only admin, or it has ended")
	}
	unknown, err := newSecret(rng) // stands for the leaf key in the log, which is lost
	if err != nil {
		return nil, err
	}
	s.leaves = []leafKey{{number: s.core.member(s.self).LeafNumber, key: unknown}}
	u, err := s.NewLeaf(rng)
	if err != nil {
		return nil, err
	}
	s.leaves = s.leaves[1:]
	out := new(Comeback)
	if out.Proposal, err = s.Propose(rng, now, Change{Kind: KindRekey,
		Leaves: []LeafUpdate{*u}}); err != nil {
		return nil, err
	}
	out.Admin, _ = s.AdminKey()
	at, _, err := s.Needs(out.Proposal.Commit)
	if err != nil {
		return nil, err
	}
	if err := s.Apply(now, out.Proposal.Commit, out.Proposal.Find(at)); err != nil {
		return nil, err
	}
	s.chains = s.chains[len(s.chains)-1:] // spare keys have no chain of the generation that is over
	out.Handover = s.Handover()
	out.Index, _ = s.Head()
	return out, nil
}

// state is what the log leads to, with the keys that p has: good for a commit that begins a generation, and
// nothing else.
func (p *Spare) state(now time.Time, cluster ident.ClusterID, log [][]byte) (*State, error) {
	mailbox, err := account.GroupMailboxOf(p.group, cluster)
	if err != nil {
		return nil, err
	}
	s := newState(place{p.group, mailbox}, p.self, p.sign, nil)
	commits, err := s.readLog(log)
	if err != nil {
		return nil, err
	}
	g := &grant{group: p.group, g: p.g, role: Admin, day: Day(now), all: p.all, power: p.top}
	if len(commits) == 0 || commits[len(commits)-1].Generation != p.g ||
		g.publics() != publicsOf(&commits[len(commits)-1].CommitHeader) {
		return nil, fault.New(fault.Denied, "come back to group",
			"the generation of the spare keys, %d, is not the one in force", p.g)
	}
	g.next = g.slotSecret(p.self)
	last, err := s.replay(commits, &opened{grant: g})
	if err != nil {
		return nil, err
	}
	me := last.core.member(p.self)
	if me == nil || me.Sign != p.sign.public() {
		return nil, fault.New(fault.Denied, "come back to group",
			"the log does not have these keys as a member")
	}
	for _, c := range commits[max(0, len(commits)-keptHeads) : len(commits)-1] {
		s.heads = append(s.heads, c.hash)
	}
	s.adopt(now, commits[len(commits)-1], last, g, nil)
	return s, nil
}

// InLog reports whether a log, from its first commit on, has the newest commit of a ticket.
func (t *Ticket) InLog(log [][]byte) bool {
	return t.head > 0 && t.head <= uint64(len(log)) && envelope.CommitHash(log[t.head-1]) == t.sum
}
