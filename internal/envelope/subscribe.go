package envelope

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Subscribe asks for what came after Cursor in the namespaces, and then for pushes. It is unsigned (Authority
// zero) if anyone may read all of them.
type Subscribe struct {
	Mailbox    ident.MailboxID
	Authority  [32]byte
	Namespaces []Namespace
	Cursor     uint64
}

// Encode returns version u8 | mailbox 32 | authority 32 | namespaces | cursor u64.
func (s *Subscribe) Encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(Version)
	b.AddBytes(s.Mailbox[:])
	b.AddBytes(s.Authority[:])
	addNamespaces(&b, s.Namespaces)
	b.AddUint64(s.Cursor)
	return b.BytesOrPanic()
}

// DecodeSubscribe reads what Encode wrote.
func DecodeSubscribe(b []byte) (*Subscribe, error) {
	p := cryptobyte.String(b)
	var version uint8
	var ok bool
	s := new(Subscribe)
	if !p.ReadUint8(&version) || version != Version {
		return nil, fault.New(fault.Invalid, "decode subscription", "version %d, want %d", version, Version)
	}
	if !p.CopyBytes(s.Mailbox[:]) || !p.CopyBytes(s.Authority[:]) {
		return nil, fault.New(fault.Invalid, "decode subscription", "ends in its header")
	}
	if s.Namespaces, ok = readNamespaces(&p); !ok || !p.ReadUint64(&s.Cursor) || !p.Empty() {
		return nil, fault.New(fault.Invalid, "decode subscription", "is malformed")
	}
	return s, nil
}
