package account

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// LoggedCert is a certificate with its sequence number in the mailbox.
type LoggedCert struct {
	Seq  uint64
	Cert *Cert
}

// OpenCerts unwraps what the certs namespace of an account's mailbox holds. Entries that are no certificates
// of the account are left out: whoever held the authority once may have stored them.
func OpenCerts(id ident.AccountID, envs []envelope.Envelope) []LoggedCert {
	var out []LoggedCert
	for _, e := range envs {
		b, err := unwrapRecord(id, envelope.Certs, e.Key, e.Body)
		if err != nil {
			continue
		}
		if c, err := DecodeCert(b); err == nil && c.Account == id {
			out = append(out, LoggedCert{Seq: e.Seq, Cert: c})
		}
	}
	return out
}

// Chain is a verified run of certificates from a genesis or recover to the head. A Chain never changes.
type Chain struct{ certs []*Cert }

// VerifyChain verifies certificates in order: the first is signed by root, each next by the one before.
func VerifyChain(id ident.AccountID, certs []*Cert) (*Chain, error) {
	if len(certs) == 0 {
		return nil, fault.New(fault.Corrupt, "verify certificates", "there are none")
	}
	if certs[0].Account != id || !certs[0].begins() {
		return nil, fault.New(fault.Corrupt, "verify certificates",
			"generation %d is not signed by the account", certs[0].G)
	}
	for i, c := range certs[1:] {
		if err := extends(certs[i], c); err != nil {
			return nil, err
		}
	}
	return &Chain{certs: append([]*Cert(nil), certs...)}, nil
}

// extends verifies that next follows prev directly.
func extends(prev, next *Cert) error {
	bad := func(why string) error {
		return fault.New(fault.Corrupt, "verify certificates", "generation %d does not follow %d: %s",
			next.G, prev.G, why)
	}
	switch {
	case next.Account != prev.Account:
		return bad("another account")
	case prev.G == 1<<32-1 || next.G != prev.G+1:
		return bad("not the next generation")
	case next.Prev != prev.Hash():
		return bad("it names another predecessor")
	case next.sigPrev != nil && !next.signedBy(prev.Ask, next.sigPrev):
		return bad("wrong signature of the generation before")
	case next.sigRoot != nil && !next.rootOK():
		return bad("wrong signature of the root")
	}
	return nil
}

// ChainOfLog finds the chain in a certificate log, oldest entry first: it begins at the first genesis or
// recover, grows with what extends it, and begins anew at a recover of a higher generation; anything else is
// passed over. fault.NotFound: there is no chain.
func ChainOfLog(id ident.AccountID, log []LoggedCert) (*Chain, error) {
	var c *Chain
	for _, l := range log {
		if l.Cert.Account == id {
			c, _ = c.follow(l.Cert)
		}
	}
	if c == nil {
		return nil, fault.New(fault.NotFound, "verify certificates",
			"no such account: no certificate is signed by it")
	}
	return c, nil
}

// follow returns the chain with the next certificate of a log, and false if the certificate is passed over. c
// may be nil.
func (c *Chain) follow(next *Cert) (*Chain, bool) {
	switch {
	case c == nil && next.begins(), c != nil && next.Kind == CertRecover && next.G > c.G() && next.begins():
		return &Chain{certs: []*Cert{next}}, true
	case c != nil && next.Kind == CertRotate && extends(c.Head(), next) == nil:
		return &Chain{certs: append(c.Certs(), next)}, true
	}
	return c, false
}

// Account returns whose chain it is.
func (c *Chain) Account() ident.AccountID { return c.certs[0].Account }

// Head returns the newest certificate.
func (c *Chain) Head() *Cert { return c.certs[len(c.certs)-1] }

// G returns the newest generation.
func (c *Chain) G() uint32 { return c.Head().G }

// Certs returns the certificates, oldest first.
func (c *Chain) Certs() []*Cert { return append([]*Cert(nil), c.certs...) }

// Cert returns the certificate of generation g, if the chain holds it.
func (c *Chain) Cert(g uint32) (*Cert, bool) {
	first := c.certs[0].G
	if g < first || g > c.G() {
		return nil, false
	}
	return c.certs[g-first], true
}

func (c *Chain) holds(d *Cert) bool {
	e, ok := c.Cert(d.G)
	return ok && e.Hash() == d.Hash()
}

// EventKind is what a change of an account's chain means to people.
type EventKind uint8

const (
	EventRotated   EventKind = 1 // a device was linked or revoked, or time had come: nothing to show
	EventRecovered EventKind = 2 // the account was restored from its phrase: trust drops until verified again
)

// Event is one change of a chain.
type Event struct {
	Kind EventKind
	G    uint32
	At   int64 // Unix milliseconds, as the certificate says
}

// Extend returns the chain that more certificates of the same account lead to, and what happened on the way.
// They may begin anywhere up to the certificate after c's head, or with a recover above it. A chain that
// forks from c or ends below its head is refused as fault.Corrupt; c stays as it is.
func (c *Chain) Extend(certs []*Cert) (*Chain, []Event, error) {
	head := c.Head()
	for i, cert := range certs {
		if cert.Hash() == head.Hash() {
			certs = certs[i+1:]
			break
		}
	}
	for len(certs) > 0 && c.holds(certs[0]) {
		certs = certs[1:]
	}
	if len(certs) == 0 {
		return c, nil, nil
	}
	if certs[0].G == head.G+1 && extends(head, certs[0]) == nil {
		all := append(c.Certs(), certs...)
		next, err := VerifyChain(c.Account(), all)
		if err != nil {
			return nil, nil, err
		}
		return next.trim(), eventsOf(certs), nil
	}
	// Not a continuation: only a recovery above everything that is known may begin anew. Where it is the
	// direct successor it still need not name the pinned head: the phrase outranks whoever held ask_g.
	if certs[0].G <= head.G || certs[0].Kind != CertRecover {
		return nil, nil, fault.New(fault.Corrupt, "extend certificates",
			"generation %d does not lead on from the pinned %d", certs[0].G, head.G)
	}
	next, err := VerifyChain(c.Account(), certs)
	if err != nil {
		return nil, nil, err
	}
	return next.trim(), eventsOf(certs), nil
}

// trim drops what lies before the newest certificate that can begin a chain.
func (c *Chain) trim() *Chain {
	for i := len(c.certs) - 1; i > 0; i-- {
		if c.certs[i].Kind == CertRecover {
			return &Chain{certs: c.certs[i:]}
		}
	}
	return c
}

func eventsOf(certs []*Cert) []Event {
	var out []Event
	for _, c := range certs {
		kind := EventRotated
		if c.Kind == CertRecover {
			kind = EventRecovered
		}
		out = append(out, Event{Kind: kind, G: c.G, At: c.Created})
	}
	return out
}

// MaxLinks is the number of certificates that a message or copy carries at most.
const MaxLinks = 16

func addCerts(b *cryptobyte.Builder, certs []*Cert) {
	b.AddUint8(uint8(len(certs)))
	for _, c := range certs {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.raw) })
	}
}

func readCerts(s *cryptobyte.String, most int) ([]*Cert, error) {
	var n uint8
	if !s.ReadUint8(&n) || int(n) > most {
		return nil, fault.New(fault.Invalid, "decode certificates", "%d of them, want at most %d", n, most)
	}
	var out []*Cert
	for range n {
		var b cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&b) {
			return nil, fault.New(fault.Invalid, "decode certificates", "end early")
		}
		c, err := DecodeCert(b)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// Marshal keeps a chain in a store: version u8 | account 33 | u16 count | certificates.
func (c *Chain) Marshal() []byte {
	var b cryptobyte.Builder
	id := c.Account()
	b.AddUint8(formatVersion)
	b.AddBytes(id[:])
	b.AddUint16(uint16(len(c.certs)))
	for _, cert := range c.certs {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(cert.raw) })
	}
	return b.BytesOrPanic()
}

// UnmarshalChain reads what Marshal wrote and verifies it again.
func UnmarshalChain(p []byte) (*Chain, error) {
	bad := fault.New(fault.Corrupt, "read certificates", "malformed")
	s := cryptobyte.String(p)
	var version uint8
	var id ident.AccountID
	var n uint16
	if !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(id[:]) || !s.ReadUint16(&n) ||
		n == 0 || n > 4096 {
		return nil, bad
	}
	var certs []*Cert
	for range n {
		var b cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&b) {
			return nil, bad
		}
		c, err := DecodeCert(b)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if !s.Empty() {
		return nil, bad
	}
	return VerifyChain(id, certs)
}
