package groups

import (
	"crypto/hpke"
	"slices"

	"filippo.io/edwards25519"
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/ident"
)

// Role is what a member may do. Each includes those below it.
type Role uint8

// The roles. Moderators may delete what others wrote; admins make commits.
const (
	Plain     Role = 1
	Moderator Role = 2
	Admin     Role = 3
)

func (r Role) String() string {
	return [...]string{"none", "member", "moderator", "admin"}[min(r, 3)]
}

// Member is one account in the group. It is never changed in place.
type Member struct {
	Account    ident.AccountID
	Sign       [32]byte // verifies what the member writes
	Leaf       []byte   // X-Wing key that slots are sealed to
	LeafNumber uint32
	Role       Role
	Joined     uint64 // commit that added the member; tells one stay from the next
	JoinedGen  uint32
	Door       bool   // it let itself in
	Credential []byte // the account's word for Sign (CredentialBytes); for the caller to check

	sum [32]byte
}

func (m *Member) add(b *cryptobyte.Builder) {
	m.addKeys(b)
	b.AddUint32(m.LeafNumber)
	b.AddUint8(uint8(m.Role))
	b.AddUint64(m.Joined)
	b.AddUint32(m.JoinedGen)
	b.AddUint8(bit(m.Door))
}

// addKeys writes what a newcomer brings.
func (m *Member) addKeys(b *cryptobyte.Builder) {
	b.AddBytes(m.Account[:])
	b.AddBytes(m.Sign[:])
	b.AddBytes(m.Leaf)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Credential) })
}

// seal computes what the state hash covers of m.
func (m *Member) seal() *Member {
	var b cryptobyte.Builder
	m.add(&b)
	m.sum = hash(labelMember, b.BytesOrPanic())
	return m
}

func (m *Member) read(s *cryptobyte.String) bool {
	return m.readKeys(s) && s.ReadUint32(&m.LeafNumber) && s.ReadUint8((*uint8)(&m.Role)) &&
		s.ReadUint64(&m.Joined) && s.ReadUint32(&m.JoinedGen) &&
		readFlag(s, &m.Door) && m.Role >= Plain && m.Role <= Admin && m.LeafNumber > 0
}

// readKeys reads what addKeys wrote. Whether the keys are good ones is for goodKeys.
func (m *Member) readKeys(s *cryptobyte.String) bool {
	var credential cryptobyte.String
	if !s.CopyBytes(m.Account[:]) || !s.CopyBytes(m.Sign[:]) || !s.ReadBytes(&m.Leaf, leafSize) ||
		!s.ReadUint16LengthPrefixed(&credential) || len(credential) > MaxCredential {
		return false
	}
	// callers wipe what they decode from
	m.Leaf, m.Credential = slices.Clone(m.Leaf), slices.Clone([]byte(credential))
	return m.Account[0] == ident.AccountType
}

func (m *Member) goodKeys() bool { return goodSign(m.Sign) && goodLeaf(m.Leaf) }

// goodSign refuses keys that are not canonical, of small order or with torsion.
func goodSign(key [32]byte) bool {
	p, err := new(edwards25519.Point).SetBytes(key[:])
	if err != nil || string(p.Bytes()) != string(key[:]) {
		return false
	}
	identity := edwards25519.NewIdentityPoint()
	one, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil || p.Equal(identity) == 1 {
		return false
	}
	// (l-1) p = -p for prime order only
	q := new(edwards25519.Point).ScalarMult(edwards25519.NewScalar().Negate(one), p)
	return q.Add(q, p).Equal(identity) == 1
}

func goodLeaf(b []byte) bool {
	_, err := hpke.MLKEM768X25519().NewPublicKey(b)
	return err == nil
}
