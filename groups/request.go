package groups

import (
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// newcomer is what somebody brings who asks to be added: account | keys | credential | slot secret.
func (k *Keys) newcomer(self ident.AccountID, credential []byte) []byte {
	var b cryptobyte.Builder
	m := Member{Account: self, Sign: k.sign.public(), Leaf: k.leaf.box().PublicKey().Bytes(),
		Credential: credential}
	m.addKeys(&b)
	b.AddBytes(k.slot.b[:])
	return b.BytesOrPanic()
}

func (a *Addition) readNewcomer(s *cryptobyte.String) bool {
	a.Member = &Member{LeafNumber: 1}
	return a.Member.readKeys(s) && s.CopyBytes(a.slot.b[:]) && !a.slot.zero() && a.Member.goodKeys()
}

// Request makes a request to join by an invitation, for the group's namespace of requests. All have one size.
func (i *Invitation) Request(self ident.AccountID, k *Keys, credential []byte) ([]byte, error) {
	if len(credential) > MaxCredential {
		return nil, fault.New(fault.Invalid, "make join request", "credential has %d bytes, want at most %d",
			len(credential), MaxCredential)
	}
	plain := k.newcomer(self, credential)
	c := serialContext(i.Group, i.Serial)
	plain = append(plain, k.sign.sign(labelJoin, c, plain)...)
	plain = append(plain, make([]byte, MaxCredential-len(credential))...)
	box, err := boxSeal(i.intake, concat(labelRequest, c), plain)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint64([]byte{formatVersion}, i.Serial), box...), nil
}

// OpenRequest opens a request to join and returns the change that grants it. Any admin can. Whether the
// credential is the account's is for the caller to check before it proposes.
//
// Errors: NotFound (no such invitation, or no longer), Denied (for others, or not sealed to it),
// Unauthenticated, Corrupt.
func (s *State) OpenRequest(b []byte) (Change, error) {
	bad := fault.New(fault.Corrupt, "open join request", "malformed")
	if len(b) < 9+encSize || len(b) > maxRequest || b[0] != formatVersion {
		return Change{}, bad
	}
	serial := binary.BigEndian.Uint64(b[1:])
	in, err := s.core.findInvite(serial)
	if err != nil {
		return Change{}, err
	}
	intake := in.intake()
	c := serialContext(s.core.group, serial)
	plain, err := boxOpen(intake.box(), concat(labelRequest, c), b[9:])
	if err != nil {
		return Change{}, fault.New(fault.Denied, "open join request",
			"does not open with the key of invitation %d", serial)
	}
	a := Addition{Serial: serial, ShareDays: in.ShareDays}
	rest := cryptobyte.String(plain)
	var sig []byte
	if !a.readNewcomer(&rest) {
		return Change{}, bad
	}
	signed := plain[:len(plain)-len(rest)]
	if !rest.ReadBytes(&sig, 64) || !zeros(rest) {
		return Change{}, bad
	}
	if !verify(a.Member.Sign, sig, labelJoin, c, signed) {
		return Change{}, fault.New(fault.Unauthenticated, "open join request",
			"not signed by the key that it names")
	}
	if in.bound() && !slices.Contains(in.For, a.Member.Account) {
		return Change{}, fault.New(fault.Denied, "open join request", "the invitation is for others")
	}
	return Change{Kind: KindAdd, Adds: []Addition{a}}, nil
}

// CheckAdd answers nil if an addition would count now: fault.Exists if it will not any more (a member
// already, banned, the invitation is over), fault.Limited if the group is full.
func (s *State) CheckAdd(ch Change, now time.Time) error {
	if ch.Kind != KindAdd || ch.check() != nil {
		return fault.New(fault.Invalid, "check addition", "it is none")
	}
	_, err := s.core.prune(ch, now.UnixMilli())
	return err
}

// NewReturn makes what a device says to an admin, in a direct message, whose account is a member but which
// has none of its keys: new ones. Nobody reads it if the credential is longer than MaxCredential.
func NewReturn(group ident.GroupID, self ident.AccountID, k *Keys, credential []byte) []byte {
	plain := append([]byte{formatVersion}, k.newcomer(self, credential)...)
	return append(plain, k.sign.sign(labelReturn, group[:], plain)...)
}

// OpenReturn reads what a member said with NewReturn and returns the two changes that renew its membership: a
// removal, and an addition that counts after it. account is who sent the message. A member loses its role so.
//
// Errors: Denied (no member), Exists (done already), Unauthenticated, Corrupt.
func (s *State) OpenReturn(account ident.AccountID, b []byte) (remove, add Change, err error) {
	a, err := s.readReturn(account, b)
	if err != nil {
		return remove, add, err
	}
	m := s.core.member(account)
	if m == nil {
		return remove, add, fault.New(fault.Denied, "open return", "the account is no member")
	}
	if m.Sign == a.Member.Sign {
		return remove, add, fault.New(fault.Exists, "open return", "the account has these keys already")
	}
	a.Replaces = m.Joined
	remove = Change{Kind: KindRemove, Return: true, Targets: []Target{{Account: account, Joined: m.Joined}}}
	return remove, Change{Kind: KindAdd, Adds: []Addition{a}}, nil
}

// FinishReturn is OpenReturn for an account whose removal is in the log and was made for its return
// (Change.Return), which whoever calls this has to know: it gives the addition alone, for when the admin who
// removed it does no more.
func (s *State) FinishReturn(account ident.AccountID, b []byte) (add Change, err error) {
	a, err := s.readReturn(account, b)
	if err != nil {
		return add, err
	}
	stay := s.core.lastStay(account)
	if stay == nil || s.core.member(account) != nil {
		return add, fault.New(fault.Denied, "finish return", "the account is in, or never was")
	}
	a.Replaces = stay.joined
	return Change{Kind: KindAdd, Adds: []Addition{a}}, nil
}

func (s *State) readReturn(account ident.AccountID, b []byte) (a Addition, err error) {
	in := cryptobyte.String(b)
	var version uint8
	var sig []byte
	if !in.ReadUint8(&version) || version != formatVersion || !a.readNewcomer(&in) ||
		!in.ReadBytes(&sig, 64) || !in.Empty() {
		return a, fault.New(fault.Corrupt, "open return", "malformed")
	}
	if a.Member.Account != account || !verify(a.Member.Sign, sig, labelReturn, s.core.group[:],
		b[:len(b)-64]) {
		return a, fault.New(fault.Unauthenticated, "open return",
			"not of the account that sent it, or not signed by its new key")
	}
	return a, nil
}

// Welcome tells somebody who was let in again where the group's log is.
type Welcome struct {
	private.Redacted
	Group      ident.GroupID
	Generation uint32
	HeadIndex  uint64
	HeadHash   [32]byte

	read secret
}

// Welcome makes the answer to a return, secret bytes that DecodeWelcome reads.
func (s *State) Welcome() []byte {
	w := &Welcome{Group: s.core.group, Generation: s.core.gen, read: s.grant.read()}
	w.HeadIndex, w.HeadHash = s.Head()
	return w.encode()
}

// ReadKey returns the seed of the key that fetches log and slots.
func (w *Welcome) ReadKey() private.Key { return w.read.key() }

func (w *Welcome) encode() []byte {
	b := append([]byte{formatVersion}, w.Group[:]...)
	b = binary.BigEndian.AppendUint32(b, w.Generation)
	b = binary.BigEndian.AppendUint64(b, w.HeadIndex)
	return append(append(b, w.HeadHash[:]...), w.read.b[:]...)
}

// DecodeWelcome reads what State.Welcome returned.
func DecodeWelcome(b []byte) (*Welcome, error) {
	s, w := cryptobyte.String(b), new(Welcome)
	var version uint8
	if !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(w.Group[:]) ||
		w.Group[0] != ident.GroupType || !s.ReadUint32(&w.Generation) ||
		!s.ReadUint64(&w.HeadIndex) || !s.CopyBytes(w.HeadHash[:]) || !s.CopyBytes(w.read.b[:]) ||
		!s.Empty() || w.HeadIndex == 0 {
		return nil, fault.New(fault.Corrupt, "decode welcome", "malformed")
	}
	return w, nil
}
