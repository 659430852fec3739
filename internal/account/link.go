package account

import (
	"crypto/sha256"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// LinkRequest is a new device's request to join, signed by root (docs/formats.md, section 6.1).
type LinkRequest struct {
	Mailbox ident.MailboxID
	Device  ident.DeviceID
	Label   string
	AskedAt int64  // Unix milliseconds
	G       uint32 // generation of the day key that it was sealed to
	Code    string // 8 Crockford characters, which both screens show

	sign      [32]byte
	box, next []byte
	raw       []byte
}

// Bytes returns the request as received.
func (l *LinkRequest) Bytes() []byte { return append([]byte(nil), l.raw...) }

// DecodeLinkRequest reads a request and verifies that the account's root signed it.
func DecodeLinkRequest(id ident.AccountID, b []byte) (*LinkRequest, error) {
	bad := func(why string) (*LinkRequest, error) {
		return nil, fault.New(fault.Corrupt, "read link request", "%s", why)
	}
	if len(b) > 4<<10 {
		return bad("too long")
	}
	l := &LinkRequest{raw: append([]byte(nil), b...)}
	s := cryptobyte.String(l.raw)
	var version uint8
	var label cryptobyte.String
	var asked uint64
	var nonce, sig []byte
	if !s.ReadUint8(&version) || version != formatVersion {
		return bad("unknown version")
	}
	if !s.CopyBytes(l.Mailbox[:]) || !s.ReadUint32(&l.G) || !s.CopyBytes(l.Device[:]) ||
		!s.CopyBytes(l.sign[:]) ||
		!s.ReadBytes(&l.box, kemPublicSize) || !s.ReadBytes(&l.next, kemPublicSize) ||
		!s.ReadUint8LengthPrefixed(&label) ||
		!s.ReadBytes(&nonce, 16) || !s.ReadUint64(&asked) || asked > maxTimeMS || !s.ReadBytes(&sig, 64) ||
		!s.Empty() {
		return bad("malformed")
	}
	l.Label, l.AskedAt = string(label), int64(asked)
	if checkLabel(l.Label) != nil || l.G == 0 {
		return bad("malformed")
	}
	if _, wrong := primePoint(l.sign[:]); wrong != "" || checkBoxPublic(l.box) != nil ||
		checkBoxPublic(l.next) != nil {
		return bad("a key is malformed")
	}
	if !verify([32]byte(id[1:]), sig, labelLink, l.raw[:len(l.raw)-64]) {
		return bad("not signed by the account")
	}
	l.Code = linkCode(l.raw)
	return l, nil
}

// LinkRequest seals the device's request to the account's own day key, as a blob for its inbox. The same
// state, phrase and generation give the same request and code, so that an interrupted restore goes on with
// it; only the seal is fresh. to is the own account.
func (s *State) LinkRequest(root *Root, to Recipient, now time.Time) (*LinkRequest, []byte, error) {
	if root.ID() != s.account {
		return nil, nil, fault.New(fault.Denied, "request link", "the phrase is of another account")
	}
	if s.gen != nil {
		return nil, nil, fault.New(fault.Exists, "request link", "this device is part of the account")
	}
	if err := to.check(s.account, now); err != nil {
		return nil, nil, err
	}
	var b cryptobyte.Builder
	sign := s.sign.public()
	b.AddUint8(formatVersion)
	b.AddBytes(s.mailbox[:])
	b.AddUint32(to.Record.G)
	b.AddBytes(s.device[:])
	b.AddBytes(sign[:])
	b.AddBytes(s.box.public())
	b.AddBytes(s.after.public())
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s.label)) })
	b.AddBytes(s.nonce[:])
	b.AddUint64(uint64(s.askedAt))
	sig := root.sign.sign(labelLink, b.BytesOrPanic())
	b.AddBytes(sig[:])
	l, err := DecodeLinkRequest(s.account, b.BytesOrPanic())
	if err != nil {
		return nil, nil, err
	}
	blob, err := sealPlain(to, plainHeader{sender: s.account, id: ident.MessageID(s.nonce), sentAt: s.askedAt,
		seenG: to.Record.G}, nil, l.raw, nil)
	if err != nil {
		return nil, nil, err
	}
	s.seen = to.Record.G
	return l, blob, nil
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// linkCode is 40 bits of the request's hash.
func linkCode(raw []byte) string {
	h := sha256.Sum256(append([]byte(labelLinkCode), raw...))
	v := uint64(h[0])<<32 | uint64(h[1])<<24 | uint64(h[2])<<16 | uint64(h[3])<<8 | uint64(h[4])
	var out [8]byte
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = crockford[v&31]
		v >>= 5
	}
	return string(out[:])
}

// ParseCode reads a code as people type it: case, hyphens and spaces do not matter, O is 0, I and L are 1.
func ParseCode(s string) (string, error) {
	var out []byte
	for _, r := range strings.ToUpper(s) {
		switch r {
		case '-', ' ':
			continue
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		if r > 'Z' || strings.IndexByte(crockford, byte(r)) < 0 {
			return "", fault.New(fault.Invalid, "read code", "%q is no character of a code", r)
		}
		out = append(out, byte(r))
	}
	if len(out) != 8 {
		return "", fault.New(fault.Invalid, "read code", "has %d characters, want 8", len(out))
	}
	return string(out), nil
}
