package groups

import (
	"encoding/binary"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// LeafUpdate is a member's new leaf key, signed. It travels to the admins in a message and counts from the
// commit that takes it in.
type LeafUpdate struct {
	Account   ident.AccountID
	Number    uint32
	Leaf      []byte
	Signature []byte
}

func (u *LeafUpdate) signed(group ident.GroupID) []byte {
	return append(binary.BigEndian.AppendUint32(append(group[:], u.Account[:]...), u.Number), u.Leaf...)
}

// Encode returns the bytes of u; DecodeLeafUpdate reads them.
func (u *LeafUpdate) Encode() []byte {
	var b cryptobyte.Builder
	b.AddBytes(u.Account[:])
	b.AddUint32(u.Number)
	b.AddBytes(u.Leaf)
	b.AddBytes(u.Signature)
	return b.BytesOrPanic()
}

func (u *LeafUpdate) read(s *cryptobyte.String) bool {
	ok := s.CopyBytes(u.Account[:]) && s.ReadUint32(&u.Number) && s.ReadBytes(&u.Leaf, leafSize) &&
		s.ReadBytes(&u.Signature, 64) && goodLeaf(u.Leaf)
	u.Leaf, u.Signature = slices.Clone(u.Leaf), slices.Clone(u.Signature)
	return ok
}

// DecodeLeafUpdate reads what Encode wrote; the signature is verified where it is applied.
func DecodeLeafUpdate(b []byte) (*LeafUpdate, error) {
	s, u := cryptobyte.String(b), new(LeafUpdate)
	if !u.read(&s) || !s.Empty() {
		return nil, fault.New(fault.Corrupt, "decode leaf update", "malformed")
	}
	return u, nil
}
