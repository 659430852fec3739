package account

import (
	"encoding/binary"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// CopyKind is what a copy in the sync namespace holds.
type CopyKind uint8

const (
	CopySent     CopyKind = 1 // SentCopy
	CopyAnnounce CopyKind = 2 // a device's next key, for ApplyAnnouncement
	CopyDraft    CopyKind = 3 // reserved
	CopyFetched  CopyKind = 4 // how far a device has fetched, for ApplyFetched
	CopyHistory  CopyKind = 5 // where a device that joined finds its history (devicesync/history)
	CopyGroup    CopyKind = 6 // GroupCopy
)

// SentCopy tells own devices of a sent message. Its recipient counts as approved.
type SentCopy struct {
	To     ident.PeerKey // account or group ID
	ID     ident.MessageID
	SentAt int64
	// the recipient's chain; nil for groups, and without effect if it has more than MaxLinks links
	Certs *Chain
	Body  []byte
}

// Encode returns the bytes of c (docs/formats.md, section 7.1).
func (c *SentCopy) Encode() []byte {
	var certs []*Cert
	if c.Certs != nil && len(c.Certs.certs) <= MaxLinks {
		certs = c.Certs.certs
	}
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddBytes(c.To[:])
	b.AddBytes(c.ID[:])
	b.AddUint64(uint64(c.SentAt))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { addCerts(b, certs) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Body) })
	return b.BytesOrPanic()
}

// DecodeSentCopy reads what Encode wrote; the chain in it is verified.
func DecodeSentCopy(p []byte) (*SentCopy, error) {
	bad := fault.New(fault.Corrupt, "read sent copy", "malformed")
	s := cryptobyte.String(p)
	var version uint8
	var sent uint64
	var certs, body cryptobyte.String
	c := new(SentCopy)
	if !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(c.To[:]) || !s.CopyBytes(c.ID[:]) ||
		!s.ReadUint64(&sent) || sent > maxTimeMS ||
		!s.ReadUint16LengthPrefixed(&certs) || !s.ReadUint24LengthPrefixed(&body) || !s.Empty() {
		return nil, bad
	}
	c.SentAt, c.Body = int64(sent), body
	list, err := readCerts(&certs, MaxLinks)
	if err != nil || !certs.Empty() {
		return nil, bad
	}
	if len(list) == 0 {
		return c, nil
	}
	if c.Certs, err = VerifyChain(ident.AccountID(c.To), list); err != nil {
		return nil, err
	}
	return c, nil
}

// padded returns the head u8 (if any) and body[u24] with zeros, so that overhead and plaintext fill a bucket
// of copies.
func padded(head, body []byte, overhead int) ([]byte, error) {
	size, err := bucket(overhead+len(head)+3+len(body), minCopy)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, size-overhead)
	out = append(out, head...)
	out = append(out, byte(len(body)>>16), byte(len(body)>>8), byte(len(body)))
	out = append(out, body...)
	return out[:cap(out)], nil
}

func unpadded(s cryptobyte.String) (body []byte, ok bool) {
	var b cryptobyte.String
	if !s.ReadUint24LengthPrefixed(&b) {
		return nil, false
	}
	for _, c := range s {
		if c != 0 {
			return nil, false
		}
	}
	return b, true
}

// Lengths around the plaintexts of copies and documents: header, nonce and authentication.
const (
	copyHeader       = 1 + 4 + 4
	copyOverhead     = copyHeader + 24 + 16
	documentHeader   = 1 + 4
	documentOverhead = documentHeader + 24 + 16
)

// SealCopy seals for own devices under the day's sync key (store it in namespace sync with a TTL).
func (s *State) SealCopy(rng io.Reader, kind CopyKind, body []byte, now time.Time) ([]byte, error) {
	if s.gen == nil || s.revoked {
		return nil, fault.New(fault.Denied, "seal copy", "this device is not part of the account")
	}
	v := DayVersion{s.gen.g, max(Day(now), s.chain.Head().Day())}
	keys, ok := s.dayKeys(v)
	if !ok {
		return nil, fault.New(fault.Invalid, "seal copy", "day %d is out of reach: check the clock", v.Day)
	}
	plain, err := padded([]byte{byte(kind)}, body, copyOverhead)
	if err != nil {
		return nil, err
	}
	sealed, err := sealBytes(rng, keys.sync.b, s.copyContext(v), plain)
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint32([]byte{formatVersion}, v.G)
	return append(binary.BigEndian.AppendUint32(out, v.Day), sealed...), nil
}

func (s *State) copyContext(v DayVersion) []byte {
	return binary.BigEndian.AppendUint32(groupContext(labelCopy, s.account, v.G), v.Day)
}

// OpenCopy opens what SealCopy made on any own device. fault.NotFound: its day key is not (or no longer)
// held.
func (s *State) OpenCopy(blob []byte) (CopyKind, []byte, error) {
	p := cryptobyte.String(blob)
	var version uint8
	var v DayVersion
	if len(blob) > MaxBlob || !p.ReadUint8(&version) || version != formatVersion || !p.ReadUint32(&v.G) ||
		!p.ReadUint32(&v.Day) {
		return 0, nil, fault.New(fault.Corrupt, "open copy", "no copy of this version")
	}
	keys, ok := s.dayKeys(v)
	if !ok {
		return 0, nil, fault.New(fault.NotFound, "open copy", "the key of generation %d, day %d is not held",
			v.G, v.Day)
	}
	b, err := openBytes("open copy", keys.sync.b, s.copyContext(v), p)
	if err != nil {
		return 0, nil, err
	}
	plain := cryptobyte.String(b)
	var kind uint8
	if !plain.ReadUint8(&kind) {
		return 0, nil, fault.New(fault.Corrupt, "open copy", "malformed inside")
	}
	body, ok := unpadded(plain)
	if !ok {
		return 0, nil, fault.New(fault.Corrupt, "open copy", "malformed inside")
	}
	return CopyKind(kind), body, nil
}

// Announcement seals the device's key for the group after the next, for the others (a CopyAnnounce).
func (s *State) Announcement(rng io.Reader, now time.Time) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddBytes(s.device[:])
	b.AddUint32(s.G())
	b.AddBytes(s.after.public())
	sig := s.sign.sign(labelAnnounce, s.account[:], b.BytesOrPanic())
	b.AddBytes(sig[:])
	return s.SealCopy(rng, CopyAnnounce, b.BytesOrPanic(), now)
}

// ApplyAnnouncement takes in the body of a CopyAnnounce. One of another generation changes nothing.
func (s *State) ApplyAnnouncement(body []byte) error {
	const op = "read announcement"
	p := cryptobyte.String(body)
	var version uint8
	var a announcement
	var g uint32
	var sig []byte
	if !p.ReadUint8(&version) || version != formatVersion || !p.CopyBytes(a.device[:]) || !p.ReadUint32(&g) ||
		!p.ReadBytes(&a.box, kemPublicSize) || !p.ReadBytes(&sig, 64) || !p.Empty() {
		return fault.New(fault.Corrupt, op, "malformed")
	}
	if g != s.G() {
		return nil
	}
	i := slices.IndexFunc(s.devices, func(d Device) bool { return d.ID == a.device })
	if i < 0 {
		return fault.New(fault.Denied, op, "device %s is not in the group", a.device)
	}
	if !verify(s.devices[i].sign, sig, labelAnnounce, s.account[:], body[:len(body)-64]) ||
		checkBoxPublic(a.box) != nil {
		return fault.New(fault.Unauthenticated, op, "not signed by device %s", a.device)
	}
	if a.device == s.device {
		return nil
	}
	a.box = slices.Clone(a.box)
	if j := slices.IndexFunc(s.news, func(o announcement) bool { return o.device == a.device }); j >= 0 {
		s.news[j] = a
		return nil
	}
	s.news = append(s.news, a)
	return nil
}

// VaultGen is the generation of the newest data key; documents under older ones are due to be rewritten. 0:
// none.
func (s *State) VaultGen() uint32 {
	if len(s.vault) == 0 {
		return 0
	}
	return s.vault[0].gen
}

// SealDocument seals a delta, snapshot part or manifest under the newest data key.
func (s *State) SealDocument(rng io.Reader, body []byte) ([]byte, error) {
	if len(s.vault) == 0 {
		return nil, fault.New(fault.Denied, "seal document", "this device is not part of the account")
	}
	plain, err := padded(nil, body, documentOverhead)
	if err != nil {
		return nil, err
	}
	k := &s.vault[0]
	sealed, err := sealBytes(rng, k.key.b, groupContext(labelDocument, s.account, k.gen), plain)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32([]byte{formatVersion}, k.gen), sealed...), nil
}

// DocumentGen returns the generation of the data key that a document blob is under.
func DocumentGen(blob []byte) (uint32, error) {
	if len(blob) < documentHeader || len(blob) > MaxBlob || blob[0] != formatVersion {
		return 0, fault.New(fault.Corrupt, "read document", "no document of this version")
	}
	return binary.BigEndian.Uint32(blob[1:]), nil
}

// OpenDocument opens what SealDocument made under any data key that the device knows. fault.NotFound: it
// knows not this one (see LearnVault).
func (s *State) OpenDocument(blob []byte) ([]byte, error) {
	gen, err := DocumentGen(blob)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.vault, func(k vaultKey) bool { return k.gen == gen })
	if i < 0 {
		return nil, fault.New(fault.NotFound, "open document", "its data key of generation %d is not held",
			gen)
	}
	plain, err := openBytes("open document", s.vault[i].key.b, groupContext(labelDocument, s.account, gen),
		blob[documentHeader:])
	if err != nil {
		return nil, err
	}
	body, ok := unpadded(plain)
	if !ok {
		return nil, fault.New(fault.Corrupt, "open document", "malformed inside")
	}
	return body, nil
}
