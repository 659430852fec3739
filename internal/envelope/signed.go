package envelope

import (
	"crypto/ed25519"
	"encoding/binary"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Signed is a request or a subscription as it travels: the exact bytes, and a signature over them that is
// bound to the node and to the circuit they came through. TimeMS is Unix milliseconds.
type Signed struct {
	TimeMS    int64
	Signature [64]byte // zero: unsigned
	Bytes     []byte   // an encoded Request or Subscribe
}

// SignedBytes returns what the signature of a request (LabelRequest) or subscription (LabelSubscribe) covers.
func SignedBytes(label string, node ident.NodeID, tag [32]byte, timeMS int64, b []byte) []byte {
	out := make([]byte, 0, len(label)+32+32+8+len(b))
	out = append(out, label...)
	out = append(out, node[:]...)
	out = append(out, tag[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(timeMS))
	return append(out, b...)
}

// Verify checks the signature of s under key.
func (s *Signed) Verify(label string, key [32]byte, node ident.NodeID, tag [32]byte) bool {
	return ed25519.Verify(key[:], SignedBytes(label, node, tag, s.TimeMS, s.Bytes), s.Signature[:])
}

// Encode returns time u64 | signature 64 | bytes.
func (s *Signed) Encode() []byte {
	out := binary.BigEndian.AppendUint64(make([]byte, 0, 72+len(s.Bytes)), uint64(s.TimeMS))
	out = append(out, s.Signature[:]...)
	return append(out, s.Bytes...)
}

// DecodeSigned reads what Encode wrote. Bytes aliases b.
func DecodeSigned(b []byte) (s Signed, err error) {
	if len(b) < 72 || len(b) > 72+MaxRequest {
		return s, fault.New(fault.Invalid, "decode signed request", "has %d bytes, want 72 to %d",
			len(b), 72+MaxRequest)
	}
	s.TimeMS = int64(binary.BigEndian.Uint64(b))
	copy(s.Signature[:], b[8:72])
	s.Bytes = b[72:]
	return s, nil
}
