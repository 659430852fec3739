package devicesync

import (
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
)

// MaxParts is the number of parts that a snapshot may have.
const MaxParts = 80

// Manifest names the parts of a snapshot and what it contains. Parts are stored first, unreferenced; then one
// batch stores the manifest and deletes the deltas that it contains.
type Manifest struct {
	ID    [8]byte    // of the snapshot, random; its parts are keyed by it
	UpTo  uint64     // sequence number in the mailbox up to which every delta is contained
	Parts [][32]byte // envelope hash of each part as stored, which a delete names too; 1 to MaxParts
}

// Encode returns the bytes of m.
func (m *Manifest) Encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(versionManifest)
	b.AddBytes(m.ID[:])
	b.AddUint64(m.UpTo)
	b.AddUint8(uint8(len(m.Parts)))
	for _, p := range m.Parts {
		b.AddBytes(p[:])
	}
	return b.BytesOrPanic()
}

// DecodeManifest reads what Encode wrote.
func DecodeManifest(p []byte) (*Manifest, error) {
	s := cryptobyte.String(p)
	var version, n uint8
	m := new(Manifest)
	if !s.ReadUint8(&version) || version != versionManifest || !s.CopyBytes(m.ID[:]) ||
		!s.ReadUint64(&m.UpTo) ||
		!s.ReadUint8(&n) || n == 0 || n > MaxParts || len(s) != 32*int(n) {
		return nil, fault.New(fault.Corrupt, "read manifest", "malformed")
	}
	m.Parts = make([][32]byte, n)
	for i := range m.Parts {
		s.CopyBytes(m.Parts[i][:])
	}
	return m, nil
}

// ManifestKey and PartKey are the keys of envelopes in the vault namespace (account.WrapKey is the third kind
// there).

func ManifestKey() (k [16]byte) {
	k[0] = 2
	return k
}

func PartKey(snapshot [8]byte, i int) (k [16]byte) {
	k[0] = 3
	copy(k[1:], snapshot[:])
	binary.BigEndian.PutUint32(k[12:], uint32(i))
	return k
}
