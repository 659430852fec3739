package account

import (
	"bytes"
	"io"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// ContestTTL is the life of a contest in its namespace, in seconds.
const ContestTTL = 90 * 24 * 3600

// Contest is what a device that a recovery left out has to say about it (docs/formats.md, section 5.12). It
// verifies by itself against the recovery's certificate, whoever brings it.
type Contest struct {
	Account ident.AccountID
	G       uint32   // generation of the contested recovery
	Cert    [32]byte // hash of its certificate
	At      int64    // Unix milliseconds, as the contesting device says
	By      *Cert    // certificate of the contesting device's generation

	raw []byte
}

// Bytes returns the contest as received.
func (k *Contest) Bytes() []byte { return bytes.Clone(k.raw) }

// DecodeContest reads a contest and checks its signature. Whether it counts is up to Against.
func DecodeContest(b []byte) (*Contest, error) {
	bad := fault.New(fault.Corrupt, "read contest", "malformed")
	if len(b) > 1<<10 {
		return nil, bad
	}
	k := &Contest{raw: bytes.Clone(b)}
	s := cryptobyte.String(k.raw)
	var version uint8
	var at uint64
	var cert cryptobyte.String
	var sig []byte
	if !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(k.Account[:]) ||
		!s.ReadUint32(&k.G) || !s.CopyBytes(k.Cert[:]) ||
		!s.ReadUint64(&at) || at > maxTimeMS || !s.ReadUint16LengthPrefixed(&cert) ||
		!s.ReadBytes(&sig, 64) || !s.Empty() {
		return nil, bad
	}
	var err error
	if k.By, err = DecodeCert(cert); err != nil {
		return nil, bad
	}
	k.At = int64(at)
	if k.By.Account != k.Account || k.By.G >= k.G ||
		!verify(k.By.Ask, sig, labelContest, k.raw[:len(k.raw)-64]) {
		return nil, fault.New(fault.Corrupt, "read contest",
			"not signed by an earlier generation of the account")
	}
	return k, nil
}

// Against reports whether the contest counts against chain: it speaks of a recovery that the chain holds, and
// its author is the generation which that recovery names as its predecessor, or one that before (may be nil)
// holds, what was pinned until then.
func (k *Contest) Against(chain, before *Chain) bool {
	if chain == nil || chain.Account() != k.Account {
		return false
	}
	c, ok := chain.Cert(k.G)
	if !ok || c.Kind != CertRecover || c.Hash() != k.Cert {
		return false
	}
	return c.Prev == k.By.Hash() || before != nil && before.holds(k.By)
}

// Contestable returns the recovery that left this device out; false if none did.
func (s *State) Contestable() (*Cert, bool) {
	if s.gen == nil || !s.revoked {
		return nil, false
	}
	for _, l := range s.log {
		if l.Cert.G > s.gen.g && l.Cert.Kind == CertRecover {
			return l.Cert, true
		}
	}
	return nil, false
}

// Contest objects to the recovery that left this device out. The request stores it under the replaced
// authority, once and for all; the contest itself also goes to contacts. fault.NotFound: there is no such
// recovery.
func (s *State) Contest(rng io.Reader, now time.Time) (*Contest, *envelope.Request, error) {
	c, ok := s.Contestable()
	if !ok {
		return nil, nil, fault.New(fault.NotFound, "contest recovery", "no recovery has left this device out")
	}
	by, ok := s.Cert()
	if !ok {
		return nil, nil, fault.New(fault.Internal, "contest recovery",
			"the certificate of generation %d is not kept", s.gen.g)
	}
	var b cryptobyte.Builder
	hash := c.Hash()
	b.AddUint8(formatVersion)
	b.AddBytes(s.account[:])
	b.AddUint32(c.G)
	b.AddBytes(hash[:])
	b.AddUint64(uint64(now.UnixMilli()))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(by.raw) })
	sig := s.gen.ask.sign(labelContest, b.BytesOrPanic())
	b.AddBytes(sig[:])
	k, err := DecodeContest(b.BytesOrPanic())
	if err != nil {
		return nil, nil, err
	}
	key := GroupKey(c.G)
	body, err := wrapRecord(rng, s.account, envelope.Contest, key, k.raw)
	if err != nil {
		return nil, nil, err
	}
	put := envelope.Store{Namespace: envelope.Contest, Key: key, TTL: ContestTTL, Body: body}
	return k, &envelope.Request{Mailbox: s.mailbox, Authority: s.gen.auth.Public(),
		Ops: []envelope.Op{put}}, nil
}

// OpenContest unwraps an envelope of the contest namespace.
func OpenContest(id ident.AccountID, e envelope.Envelope) (*Contest, error) {
	b, err := unwrapRecord(id, envelope.Contest, e.Key, e.Body)
	if err != nil {
		return nil, err
	}
	k, err := DecodeContest(b)
	if err != nil {
		return nil, err
	}
	if k.Account != id || GroupKey(k.G) != e.Key {
		return nil, fault.New(fault.Corrupt, "read contest", "it is of another account or generation")
	}
	return k, nil
}

// SealContest seals a message about a contest from the generation that was replaced. It brings no
// certificates along: who has not heard of the recovery yet verifies it with what is pinned.
func (s *State) SealContest(to Recipient, m Outgoing, now time.Time) ([]byte, error) {
	if _, ok := s.Contestable(); !ok {
		return nil, fault.New(fault.Denied, "seal contest", "no recovery has left this device out")
	}
	if to.Chain == nil {
		return nil, fault.New(fault.NotFound, "seal contest", "the recipient's certificates are unknown")
	}
	if err := to.check(to.Chain.Account(), now); err != nil {
		return nil, err
	}
	if len(m.Body) > MaxMessageBody {
		return nil, fault.New(fault.Invalid, "seal contest", "body of %d bytes, want at most %d",
			len(m.Body), MaxMessageBody)
	}
	h := plainHeader{sender: s.account, senderG: s.gen.g, id: m.ID, sentAt: m.SentAt, seenG: to.Chain.G()}
	return sealPlain(to, h, nil, m.Body, &s.gen.sx)
}
