package groups

import (
	"encoding/binary"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Sizes that the namespaces of requests and of words to the admins take.
const (
	maxRequest = 4096
	maxSmall   = 2048
)

// Invite is an open invitation. Any admin can serve the requests made with it.
type Invite struct {
	Serial    uint64
	Public    [32]byte    // of the invite key
	Intake    private.Key // seed of the key that requests are sealed to; all members know it
	NotAfter  int64       // Unix milliseconds
	Uses      uint32      // left; if it is bound, len(For)
	ShareDays uint16      // days of history that a joiner gets
	For       []ident.AccountID
	// For is who may use a bound invitation, by account; empty: whoever has it.

	Commit uint64 // that opened it, filled in
	Gen    uint32 // that it was opened in, filled in
}

func (i *Invite) bound() bool { return len(i.For) > 0 }

// intake is the private form of the key that requests are sealed to.
func (i *Invite) intake() secret {
	k := secretOf(i.Intake)
	return derive(k.b[:], nil, labelIntake)
}

func (i *Invite) whole() bool {
	return i.Serial > 0 && i.Uses > 0 && i.NotAfter > 0 && i.NotAfter < maxTimeMS &&
		len(i.For) <= MaxMembers && (!i.bound() || rising(i.For) && int(i.Uses) == len(i.For))
}

func (i *Invite) add(b *cryptobyte.Builder) {
	b.AddUint64(i.Serial)
	b.AddBytes(i.Public[:])
	intake := i.Intake.Reveal()
	b.AddBytes(intake[:])
	b.AddUint64(uint64(i.NotAfter))
	b.AddUint32(i.Uses)
	b.AddUint16(i.ShareDays)
	b.AddUint64(i.Commit)
	b.AddUint32(i.Gen)
	addAccounts(b, i.For)
}

func (i *Invite) read(s *cryptobyte.String) bool {
	var until uint64
	var intake [private.Size]byte
	if !s.ReadUint64(&i.Serial) || !s.CopyBytes(i.Public[:]) || !s.CopyBytes(intake[:]) ||
		!s.ReadUint64(&until) || until >= maxTimeMS ||
		!s.ReadUint32(&i.Uses) || !s.ReadUint16(&i.ShareDays) || !s.ReadUint64(&i.Commit) ||
		!s.ReadUint32(&i.Gen) {
		return false
	}
	var ok bool
	i.NotAfter, i.Intake = int64(until), private.KeyOf(intake)
	i.For, ok = readAccounts(s, MaxMembers)
	return ok && i.whole()
}

func readInvites(s *cryptobyte.String) (out []Invite, ok bool) {
	var n uint16
	if !s.ReadUint16(&n) || n > MaxInvites {
		return nil, false
	}
	for range n {
		var i Invite
		if !i.read(s) || len(out) > 0 && out[len(out)-1].Serial >= i.Serial {
			return nil, false
		}
		out = append(out, i)
	}
	return out, true
}

// delegate lets the invite key store requests. It is the same whoever makes it, and its serials rise with the
// log.
func (i *Invite) delegate() envelope.Delegate {
	return envelope.Delegate{
		Serial: envelope.Serial(i.Commit, 0), Key: i.Public, Rights: envelope.MayWrite,
		Namespaces: []envelope.Namespace{envelope.GroupAsk},
		NotAfter:   i.NotAfter, Generation: i.Gen,
	}
}

// Delegates returns the delegations that the nodes must know, in the order in which they take them. They
// outlive generations. To delegate anew what was delegated is answered existed, or Stale if a later one was.
func (s *State) Delegates() []envelope.Delegate {
	var out []envelope.Delegate
	for i := range s.core.invites {
		out = append(out, s.core.invites[i].delegate())
	}
	slices.SortFunc(out, func(a, b envelope.Delegate) int {
		if a.Serial < b.Serial {
			return -1
		}
		return 1
	})
	return out
}

// Invitation is what somebody gets who may ask to join: in a message, or from a link.
type Invitation struct {
	private.Redacted
	Group      ident.GroupID
	Generation uint32
	HeadIndex  uint64
	HeadHash   [32]byte
	Serial     uint64
	NotAfter   int64 // Unix milliseconds
	Bound      bool  // to accounts
	Door       bool  // lets its holder in at once (DoorTicket)
	Name       string
	Inviter    ident.AccountID

	read, seed secret
	intake     []byte
}

func serialContext(group ident.GroupID, serial uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(nil), group[:]...), serial)
}

// NewInvite draws an invitation to a group of a form, for a number of joiners until notAfter: the change that
// opens it and its seed, from which Invitation makes what is sent. In a public group it is a door.
func NewInvite(rng io.Reader, form Form, notAfter time.Time, uses uint32,
	shareDays uint16) (ch Change, seed private.Key, err error) {
	ch, key, err := newInvite(rng, notAfter, uses, shareDays)
	if form == FormPublic {
		ch.Invite.Intake = derive(key.b[:], nil, labelDoor).key()
	}
	return ch, key.key(), err
}

func newInvite(rng io.Reader, notAfter time.Time, uses uint32,
	shareDays uint16) (ch Change, seed secret, err error) {
	var intake, number secret
	for _, s := range []*secret{&seed, &intake, &number} {
		if *s, err = newSecret(rng); err != nil {
			return ch, seed, err
		}
	}
	sign := derive(seed.b[:], nil, labelInvite)
	return Change{Kind: KindInvite, Invite: Invite{
		Serial: max(1, binary.BigEndian.Uint64(number.b[:8])), Public: sign.public(), Intake: intake.key(),
		NotAfter: notAfter.UnixMilli(), Uses: uses, ShareDays: shareDays,
	}}, seed, nil
}

// NewBoundInvite draws an invitation that only these accounts can use, each once. It lifts their ban.
func NewBoundInvite(rng io.Reader, notAfter time.Time, shareDays uint16,
	accounts []ident.AccountID) (ch Change, seed private.Key, err error) {
	if len(accounts) == 0 {
		return ch, seed, fault.New(fault.Invalid, "make invitation", "it is for nobody")
	}
	accounts = sorted(accounts)
	ch, key, err := newInvite(rng, notAfter, uint32(len(accounts)), shareDays)
	ch.Invite.For = accounts
	return ch, key.key(), err
}

func (c *core) findInvite(serial uint64) (*Invite, error) {
	for i := range c.invites {
		if c.invites[i].Serial == serial {
			return &c.invites[i], nil
		}
	}
	return nil, fault.New(fault.NotFound, "find invitation", "no invitation %d", serial)
}

// Invitation makes the content of an open invitation from its seed.
func (s *State) Invitation(serial uint64, seed private.Key) (*Invitation, error) {
	if s.grant == nil {
		return nil, fault.New(fault.Denied, "make invitation", "the group has not begun")
	}
	in, err := s.core.findInvite(serial)
	if err != nil {
		return nil, err
	}
	key := secretOf(seed)
	sign := derive(key.b[:], nil, labelInvite)
	if sign.public() != in.Public {
		return nil, fault.New(fault.Invalid, "make invitation", "the seed is not that of invitation %d",
			serial)
	}
	if s.core.door(in) && !derive(key.b[:], nil, labelDoor).key().Equal(in.Intake) {
		return nil, fault.New(fault.Invalid, "make invitation", "invitation %d is no door of that seed",
			serial)
	}
	intake := in.intake()
	out := &Invitation{
		Group: s.core.group, Generation: s.core.gen, Serial: serial, NotAfter: in.NotAfter, Bound: in.bound(),
		Door: s.core.door(in), Name: s.core.info.Name, Inviter: s.self,
		read: s.grant.read(), seed: key, intake: intake.box().PublicKey().Bytes(),
	}
	out.HeadIndex, out.HeadHash = s.Head()
	return out, nil
}

// ReadKey returns the seed of the key that fetches log and slots.
func (i *Invitation) ReadKey() private.Key { return i.read.key() }

// RequestSigner returns the seed of the key that stores a request.
func (i *Invitation) RequestSigner() private.Key { return derive(i.seed.b[:], nil, labelInvite).key() }

// Encode returns the secret bytes of an invitation; DecodeInvitation reads them.
func (i *Invitation) Encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddBytes(i.Group[:])
	b.AddUint32(i.Generation)
	b.AddBytes(i.read.b[:])
	b.AddUint64(i.HeadIndex)
	b.AddBytes(i.HeadHash[:])
	b.AddUint64(i.Serial)
	b.AddUint64(uint64(i.NotAfter))
	b.AddUint8(bit(i.Bound) | bit(i.Door)<<1)
	b.AddBytes(i.seed.b[:])
	b.AddBytes(i.intake)
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(i.Name)) })
	b.AddBytes(i.Inviter[:])
	return b.BytesOrPanic()
}

// DecodeInvitation reads what Encode wrote.
func DecodeInvitation(b []byte) (*Invitation, error) {
	s, i := cryptobyte.String(b), new(Invitation)
	var version, how uint8
	var until uint64
	var name cryptobyte.String
	if len(b) > maxSmall || !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(i.Group[:]) ||
		!s.ReadUint32(&i.Generation) ||
		!s.CopyBytes(i.read.b[:]) || !s.ReadUint64(&i.HeadIndex) || !s.CopyBytes(i.HeadHash[:]) ||
		!s.ReadUint64(&i.Serial) || !s.ReadUint64(&until) ||
		until >= maxTimeMS || !s.ReadUint8(&how) || how > 2 || !s.CopyBytes(i.seed.b[:]) ||
		!s.ReadBytes(&i.intake, leafSize) || !goodLeaf(i.intake) ||
		!s.ReadUint8LengthPrefixed(&name) || !s.CopyBytes(i.Inviter[:]) || !s.Empty() ||
		i.Group[0] != ident.GroupType || i.Inviter[0] != ident.AccountType ||
		i.HeadIndex == 0 || i.Serial == 0 {
		return nil, fault.New(fault.Corrupt, "decode invitation", "malformed")
	}
	info := Info{Name: string(name)}
	i.NotAfter, i.Name, i.Bound, i.Door = int64(until), info.Name, how == 1, how == 2
	i.intake = slices.Clone(i.intake)
	return i, info.check()
}
