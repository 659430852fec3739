package account

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// GroupCopyKind is what own devices say to each other of a closed group.
type GroupCopyKind uint8

const (
	GroupHandover GroupCopyKind = 1 // Body: the account's keys in the group
	GroupAsk      GroupCopyKind = 2 // a device has no keys and asks for a handover; Body is empty
)

// MaxGroupCopy is the largest body of a GroupCopy.
const MaxGroupCopy = 4096

// GroupCopy travels among own devices only (a CopyGroup), and never lies in the vault: a phrase alone opens
// no message of a group.
type GroupCopy struct {
	private.Redacted
	Kind  GroupCopyKind
	From  ident.DeviceID
	Group ident.GroupID
	Body  []byte
}

// Encode returns the bytes of c (docs/formats.md, section 7.1).
func (c *GroupCopy) Encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddUint8(uint8(c.Kind))
	b.AddBytes(c.From[:])
	b.AddBytes(c.Group[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Body) })
	return b.BytesOrPanic()
}

// DecodeGroupCopy reads what Encode wrote. fault.Corrupt: malformed, or of a kind that this version does not
// know.
func DecodeGroupCopy(p []byte) (*GroupCopy, error) {
	s, c := cryptobyte.String(p), new(GroupCopy)
	var version uint8
	var body cryptobyte.String
	if !s.ReadUint8(&version) || version != formatVersion || !s.ReadUint8((*uint8)(&c.Kind)) ||
		!s.CopyBytes(c.From[:]) || !s.CopyBytes(c.Group[:]) ||
		!s.ReadUint16LengthPrefixed(&body) || !s.Empty() || len(body) > MaxGroupCopy ||
		c.Group[0] != ident.GroupType ||
		c.Kind != GroupHandover && c.Kind != GroupAsk || (c.Kind == GroupAsk) != (len(body) == 0) {
		return nil, fault.New(fault.Corrupt, "read group copy", "malformed")
	}
	c.Body = slices.Clone(body)
	return c, nil
}
