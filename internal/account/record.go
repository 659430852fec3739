package account

import (
	"crypto/cipher"
	"encoding/binary"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// epochRecordSize is the length of an encoded EpochRecord.
const epochRecordSize = 1402

// EpochRecord publishes the public keys of one day (docs/formats.md, section 5.5). Only Chain.CheckRecord
// vouches for its signature.
type EpochRecord struct {
	Account   ident.AccountID
	G, Day    uint32
	ValidFrom int64 // Unix milliseconds
	ValidTo   int64
	Kem       []byte // X-Wing public key, 1,216 bytes
	Ax        [32]byte
	Cert      [32]byte // hash of the generation's certificate

	raw []byte
}

// Bytes returns the record as received.
func (r *EpochRecord) Bytes() []byte { return append([]byte(nil), r.raw...) }

// Version returns which day key it publishes.
func (r *EpochRecord) Version() DayVersion { return DayVersion{r.G, r.Day} }

// ValidAt reports whether t (Unix milliseconds) lies in the record's validity.
func (r *EpochRecord) ValidAt(t int64) bool { return r.ValidFrom <= t && t < r.ValidTo }

func newRecord(x *generation, cert *Cert, day uint32, keys *dayKeys) (*EpochRecord, error) {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddBytes(cert.Account[:])
	b.AddUint32(x.g)
	b.AddUint32(day)
	b.AddUint64(uint64(validFrom(day)))
	b.AddUint64(uint64(validTo(day)))
	b.AddBytes(keys.kem.public())
	ax, hash := keys.ax.public(), cert.Hash()
	b.AddBytes(ax[:])
	b.AddBytes(hash[:])
	sig := x.ask.sign(labelEpochRecord, b.BytesOrPanic())
	b.AddBytes(sig[:])
	return DecodeEpochRecord(b.BytesOrPanic())
}

// DecodeEpochRecord reads a record and checks its form and its keys.
func DecodeEpochRecord(b []byte) (*EpochRecord, error) {
	bad := func(format string, args ...any) (*EpochRecord, error) {
		return nil, fault.New(fault.Invalid, "decode day record", format, args...)
	}
	if len(b) != epochRecordSize {
		return bad("has %d bytes, want %d", len(b), epochRecordSize)
	}
	r := &EpochRecord{raw: append([]byte(nil), b...)}
	s := cryptobyte.String(r.raw)
	var version uint8
	var from, to uint64
	var kem []byte
	if !s.ReadUint8(&version) || version != formatVersion {
		return bad("version %d, want %d", version, formatVersion)
	}
	if !s.CopyBytes(r.Account[:]) || !s.ReadUint32(&r.G) || !s.ReadUint32(&r.Day) || !s.ReadUint64(&from) ||
		!s.ReadUint64(&to) ||
		!s.ReadBytes(&kem, kemPublicSize) || !s.CopyBytes(r.Ax[:]) || !s.CopyBytes(r.Cert[:]) {
		return bad("is malformed")
	}
	r.ValidFrom, r.ValidTo, r.Kem = int64(from), int64(to), kem
	if r.Account[0] != ident.AccountType || r.G == 0 || from > maxTimeMS || r.ValidFrom != validFrom(r.Day) ||
		r.ValidTo != validTo(r.Day) {
		return bad("is malformed")
	}
	if err := checkBoxPublic(r.Kem); err != nil {
		return nil, err
	}
	if wrong := checkDHPublic(r.Ax); wrong != "" {
		return bad("a key %s", wrong)
	}
	return r, nil
}

// CheckRecord verifies that r belongs to the chain's head and is signed by it. fault.Stale: it is of an older
// generation; fault.Corrupt otherwise.
func (c *Chain) CheckRecord(r *EpochRecord) error {
	head := c.Head()
	const op = "verify day record"
	switch {
	case r.Account != head.Account:
		return fault.New(fault.Corrupt, op, "of another account")
	case r.G != head.G:
		return fault.New(fault.Stale, op, "generation %d, the account is at %d", r.G, head.G)
	case r.Cert != head.Hash() || !verify(head.Ask, r.raw[epochRecordSize-64:], labelEpochRecord,
		r.raw[:epochRecordSize-64]):
		return fault.New(fault.Corrupt, op, "day %d is not signed by generation %d", r.Day, r.G)
	}
	return nil
}

// DayKey, GroupKey and WrapKey are the keys of envelopes in the days, devices and vault namespaces.

func DayKey(day uint32) [envelope.KeySize]byte { return numberKey(0, day) }
func GroupKey(g uint32) [envelope.KeySize]byte { return numberKey(0, g) }
func WrapKey(g uint32) [envelope.KeySize]byte  { return numberKey(1, g) }

func numberKey(kind byte, n uint32) (k [envelope.KeySize]byte) {
	k[0] = kind
	binary.BigEndian.PutUint32(k[12:], n)
	return k
}

// OpenRecord unwraps an envelope of the days namespace.
func OpenRecord(id ident.AccountID, e envelope.Envelope) (*EpochRecord, error) {
	b, err := unwrapRecord(id, envelope.Days, e.Key, e.Body)
	if err != nil {
		return nil, err
	}
	r, err := DecodeEpochRecord(b)
	if err != nil {
		return nil, err
	}
	if r.Account != id || DayKey(r.Day) != e.Key {
		return nil, fault.New(fault.Corrupt, "open day record", "it is of another account or day")
	}
	return r, nil
}

// wrapRecord hides what contacts read from nodes and from strangers who know the MailboxID only.
func wrapRecord(rng io.Reader, id ident.AccountID, ns envelope.Namespace, key [envelope.KeySize]byte,
	b []byte) ([]byte, error) {
	return sealBytes(rng, derive(id[:], labelRecordWrap), wrapContext(ns, key), b)
}

func unwrapRecord(id ident.AccountID, ns envelope.Namespace, key [envelope.KeySize]byte,
	b []byte) ([]byte, error) {
	return openBytes("open record", derive(id[:], labelRecordWrap), wrapContext(ns, key), b)
}

func wrapContext(ns envelope.Namespace, key [envelope.KeySize]byte) []byte {
	aad := binary.BigEndian.AppendUint16([]byte(labelRecordWrap), uint16(ns))
	return append(aad, key[:]...)
}

// sealBytes returns nonce 24 || XChaCha20-Poly1305.
func sealBytes(rng io.Reader, key [32]byte, aad, b []byte) ([]byte, error) {
	a := newAEAD(key)
	out := make([]byte, chacha20poly1305.NonceSizeX,
		chacha20poly1305.NonceSizeX+len(b)+chacha20poly1305.Overhead)
	if err := readRandom(rng, out); err != nil {
		return nil, fault.Wrap(fault.Internal, "draw a nonce", err)
	}
	return a.Seal(out, out, b, aad), nil
}

func openBytes(op string, key [32]byte, aad, b []byte) ([]byte, error) {
	if len(b) < chacha20poly1305.NonceSizeX+chacha20poly1305.Overhead {
		return nil, fault.New(fault.Corrupt, op, "has %d bytes, too few", len(b))
	}
	a := newAEAD(key)
	out, err := a.Open(nil, b[:chacha20poly1305.NonceSizeX], b[chacha20poly1305.NonceSizeX:], aad)
	if err != nil {
		return nil, fault.New(fault.Corrupt, op, "does not authenticate")
	}
	return out, nil
}

func newAEAD(key [32]byte) cipher.AEAD {
	a, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("account: xchacha20: " + err.Error()) // only for a wrong length
	}
	return a
}
