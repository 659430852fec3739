package account

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// formatVersion opens every format of this package; a reader rejects any other.
const formatVersion = 1

// CertKind says how a generation came about.
type CertKind uint8

const (
	CertGenesis CertKind = 1
	CertRotate  CertKind = 2
	CertRecover CertKind = 3
	CertMove    CertKind = 4 // reserved: refused by this version
)

// Cert is a decoded generation certificate (docs/formats.md, section 5.4). DecodeCert checks its form and its
// keys; only a Chain vouches for its signatures.
type Cert struct {
	Kind    CertKind
	Account ident.AccountID
	G       uint32
	Prev    [32]byte // hash of the certificate before; zero for genesis
	Ask     [32]byte // Ed25519, signs day records and the next certificate
	Sx      [32]byte // X25519, authenticates the sender of messages
	Auth    [32]byte // Ed25519, the mailbox's authority
	Created int64    // Unix milliseconds
	Delay   uint32   // recover delay in seconds; zero in this version
	PQ      []byte   // room for a post-quantum signature key; empty in this version

	raw              []byte // as received
	body             int    // length of what the signatures cover
	sigPrev, sigRoot []byte // nil or 64 bytes
}

// Bytes returns the certificate as received.
func (c *Cert) Bytes() []byte { return append([]byte(nil), c.raw...) }

// Hash returns SHA-256 of the certificate, by which the next one and day records name it.
func (c *Cert) Hash() [32]byte { return sha256.Sum256(c.raw) }

// RootSigned reports whether the certificate carries a signature of the account's root. It is not verified
// here.
func (c *Cert) RootSigned() bool { return c.sigRoot != nil }

// Day returns the first day of the certificate's generation.
func (c *Cert) Day() uint32 { return uint32(c.Created / dayMS) }

func (c *Cert) signedBy(key [32]byte, sig []byte) bool {
	return verify(key, sig, labelGenCert, c.raw[:c.body])
}

func (c *Cert) rootOK() bool {
	var root [32]byte
	copy(root[:], c.Account[1:])
	return c.sigRoot != nil && c.signedBy(root, c.sigRoot)
}

// begins reports whether a chain can begin with c. A rotate cannot, even with root's signature: a pinned
// chain would be replaced by it without anybody seeing a recovery.
func (c *Cert) begins() bool { return c.Kind != CertRotate && c.rootOK() }

// newCert signs a certificate. Either key may be nil, not both.
func newCert(c Cert, prev *certKey, root *Root) (*Cert, error) {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddUint8(uint8(c.Kind))
	b.AddUint16(0)
	b.AddBytes(c.Account[:])
	b.AddUint32(c.G)
	for _, k := range [][32]byte{c.Prev, c.Ask, c.Sx, c.Auth} {
		b.AddBytes(k[:])
	}
	b.AddUint64(uint64(c.Created))
	b.AddUint32(0)
	b.AddUint16(0)
	body := append([]byte(nil), b.BytesOrPanic()...)
	addSig := func(present bool, k *signKey) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
			if present {
				sig := k.sign(labelGenCert, body)
				b.AddBytes(sig[:])
			}
		})
	}
	if prev != nil {
		addSig(true, &prev.signKey)
	} else {
		addSig(false, nil)
	}
	if root != nil {
		addSig(true, &root.sign)
	} else {
		addSig(false, nil)
	}
	return DecodeCert(b.BytesOrPanic())
}

// DecodeCert reads a certificate and checks its form, its keys, and that its kind carries the signatures it
// needs.
func DecodeCert(b []byte) (*Cert, error) {
	bad := func(format string, args ...any) (*Cert, error) {
		return nil, fault.New(fault.Invalid, "decode certificate", format, args...)
	}
	if len(b) > 1<<10 {
		return bad("has %d bytes, want at most 1024", len(b))
	}
	c := &Cert{raw: append([]byte(nil), b...)}
	s := cryptobyte.String(c.raw)
	var version, kind uint8
	var flags uint16
	var created uint64
	if !s.ReadUint8(&version) || version != formatVersion {
		return bad("version %d, want %d", version, formatVersion)
	}
	if !s.ReadUint8(&kind) || kind < uint8(CertGenesis) || kind > uint8(CertRecover) {
		return bad("kind %d is unknown", kind)
	}
	var pq, sigPrev, sigRoot cryptobyte.String
	if !s.ReadUint16(&flags) || flags != 0 || !s.CopyBytes(c.Account[:]) || !s.ReadUint32(&c.G) ||
		!s.CopyBytes(c.Prev[:]) ||
		!s.CopyBytes(c.Ask[:]) || !s.CopyBytes(c.Sx[:]) || !s.CopyBytes(c.Auth[:]) ||
		!s.ReadUint64(&created) || created > maxTimeMS || !s.ReadUint32(&c.Delay) || c.Delay != 0 ||
		!s.ReadUint16LengthPrefixed(&pq) || len(pq) != 0 {
		return bad("its fields are malformed")
	}
	c.Kind, c.Created, c.body = CertKind(kind), int64(created), len(c.raw)-len(s)
	if !s.ReadUint8LengthPrefixed(&sigPrev) || !s.ReadUint8LengthPrefixed(&sigRoot) || !s.Empty() ||
		(len(sigPrev) != 0 && len(sigPrev) != 64) || (len(sigRoot) != 0 && len(sigRoot) != 64) {
		return bad("its signatures are malformed")
	}
	if len(sigPrev) > 0 {
		c.sigPrev = sigPrev
	}
	if len(sigRoot) > 0 {
		c.sigRoot = sigRoot
	}
	return c, c.check()
}

// check verifies what holds for a certificate by itself.
func (c *Cert) check() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "decode certificate", format, args...)
	}
	if c.Account[0] != ident.AccountType || c.G == 0 {
		return bad("names no account or generation")
	}
	switch genesis := c.G == 1; {
	case (c.Kind == CertGenesis) != genesis || (c.Prev == [32]byte{}) != genesis:
		return bad("kind %d at generation %d", c.Kind, c.G)
	case c.Kind == CertGenesis && (c.sigPrev != nil || c.sigRoot == nil),
		c.Kind == CertRotate && c.sigPrev == nil,
		c.Kind == CertRecover && c.sigRoot == nil:
		return bad("kind %d without its signature", c.Kind)
	}
	for _, k := range [][32]byte{c.Ask, c.Auth} {
		if _, wrong := primePoint(k[:]); wrong != "" {
			return bad("a key %s", wrong)
		}
	}
	if wrong := checkDHPublic(c.Sx); wrong != "" {
		return bad("a key %s", wrong)
	}
	return nil
}

// dayMS is a day in milliseconds; maxTimeMS bounds times so that no sum of them overflows (year 9999).
const (
	dayMS     = 86_400_000
	maxTimeMS = 253_402_300_799_999
)
