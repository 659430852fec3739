package account

import (
	"crypto/hmac"
	"crypto/hpke"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Incoming is an opened message.
type Incoming struct {
	Sender   ident.AccountID
	SenderG  uint32
	ID       ident.MessageID
	SentAt   int64  // Unix milliseconds, as the sender says
	SeenG    uint32 // the highest generation of the own account that the sender knows
	Body     []byte
	Key      DayVersion   // the own day key that opened it
	Verified bool         // the sender's authentication was checked against Chain
	Chain    *Chain       // the sender's chain, with what the message brought; nil if none is known
	Events   []Event      // what the message told about the sender's chain
	Record   *EpochRecord // the sender's day record, if it came along and is signed by Chain's head
	Link     *LinkRequest // set if a new device of the own account asks to join; Body is nil then
}

// opened is a decrypted plaintext whose sender is not checked yet.
type opened struct {
	plainHeader
	certs  []*Cert
	record *EpochRecord
	body   []byte

	keys                     *dayKeys
	version                  DayVersion
	export, info, enc, plain []byte
	tag                      []byte
}

// Open opens an inbox envelope. chainOf returns what is pinned of a sender, or nil. A message whose sender
// cannot be checked for want of certificates is returned with Verified false: fetch them and Open again, or
// keep it as a request.
//
// Errors: fault.NotFound no key of this device opens it; fault.Unauthenticated the sender's authentication is
// wrong: drop it; fault.Corrupt malformed, inside or outside.
func (s *State) Open(e envelope.Envelope, chainOf func(ident.AccountID) *Chain) (*Incoming, error) {
	if len(e.Body) < minBlob || len(e.Body) > MaxBlob || e.Body[0] != blobVersion {
		return nil, fault.New(fault.Corrupt, "open message", "no blob of this version")
	}
	for _, v := range s.candidates(e) {
		keys, ok := s.dayKeys(v)
		if !ok {
			continue
		}
		o, err := s.trialOpen(e.Body, v, keys)
		if err != nil {
			return nil, err
		}
		if o != nil {
			return s.authenticate(o, chainOf)
		}
	}
	return nil, fault.New(fault.NotFound, "open message", "no key opens envelope %d", e.Seq)
}

// candidates lists the day keys that the envelope can be sealed to, the likeliest first: the generation
// follows from its sequence number, the days from the time of storing, give or take an hour.
func (s *State) candidates(e envelope.Envelope) []DayVersion {
	g := uint32(0)
	for _, l := range s.log {
		if l.Seq < e.Seq {
			g = l.Cert.G
		}
	}
	if g == 0 || e.StoredAt < 2*dayMS || e.StoredAt > maxTimeMS {
		return nil
	}
	var out []DayVersion
	day := uint32(e.StoredAt / dayMS)
	for _, d := range [...]uint32{day, day - 1, day + 1, day - 2} {
		if validFrom(d)-graceMS <= e.StoredAt && e.StoredAt < validTo(d)+graceMS {
			out = append(out, DayVersion{g, d})
		}
	}
	return out
}

// trialOpen returns nil without an error if the keys do not open the blob.
func (s *State) trialOpen(blob []byte, v DayVersion, keys *dayKeys) (*opened, error) {
	o := &opened{keys: keys, version: v, info: messageInfo(s.account, v), enc: blob[1 : 1+kemEncSize]}
	r, err := hpke.NewRecipient(o.enc, keys.kem.key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), o.info)
	if err != nil {
		return nil, nil //nolint:nilerr // an encapsulation that does not parse opens with no key
	}
	plain, err := r.Open([]byte{blobVersion}, blob[1+kemEncSize:])
	if err != nil {
		return nil, nil //nolint:nilerr // the usual outcome of a trial with another day's key
	}
	if o.export, err = r.Export(labelMessageExport, 32); err != nil {
		return nil, fault.Wrap(fault.Internal, "open message", err)
	}
	return o, o.decode(plain)
}

// decode reads a plaintext. What is inside a valid AEAD may still come from anybody: it is as foreign as any
// input.
func (o *opened) decode(plain []byte) error {
	bad := fault.New(fault.Corrupt, "open message", "malformed inside")
	if len(plain) < headerSize+5+tagSize {
		return bad
	}
	cut := len(plain) - tagSize
	o.plain, o.tag = plain[:cut], plain[cut:]
	s := cryptobyte.String(o.plain)
	var sent uint64
	var certs, body cryptobyte.String
	if !s.CopyBytes(o.sender[:]) || !s.ReadUint32(&o.senderG) || !s.CopyBytes(o.id[:]) ||
		!s.ReadUint64(&sent) || sent > maxTimeMS ||
		!s.ReadUint32(&o.seenG) || !s.ReadUint16LengthPrefixed(&certs) || !s.ReadUint24LengthPrefixed(&body) {
		return bad
	}
	for _, c := range s {
		if c != 0 {
			return bad
		}
	}
	o.sentAt, o.body = int64(sent), body
	if err := CheckID(o.sender); err != nil {
		return bad
	}
	if certs.Empty() {
		return nil
	}
	var err error
	var record cryptobyte.String
	if o.certs, err = readCerts(&certs, MaxLinks); err != nil || !certs.ReadUint16LengthPrefixed(&record) ||
		!certs.Empty() {
		return bad
	}
	if !record.Empty() {
		if o.record, err = DecodeEpochRecord(record); err != nil {
			return bad
		}
	}
	return nil
}

func (s *State) authenticate(o *opened, chainOf func(ident.AccountID) *Chain) (*Incoming, error) {
	in := &Incoming{
		Sender: o.sender, SenderG: o.senderG, ID: o.id, SentAt: o.sentAt, SeenG: o.seenG,
		Body: o.body, Key: o.version,
	}
	if o.senderG == 0 {
		return s.authenticateLink(o, in)
	}
	if o.sender == s.account {
		in.Chain = s.chain
	} else {
		in.Chain = chainOf(o.sender)
	}
	s.mergeSenderChain(o, in)
	if in.Chain == nil {
		return in, nil
	}
	if o.record != nil && in.Chain.CheckRecord(o.record) == nil {
		in.Record = o.record
	}
	cert, ok := in.Chain.Cert(o.senderG)
	if !ok {
		return in, nil
	}
	shared, err := o.keys.ax.exchange(cert.Sx)
	if err != nil || !hmac.Equal(o.tag, messageTag(shared, o.export, o.info, o.enc, o.plain)) {
		return nil, fault.New(fault.Unauthenticated, "open message", "account %s did not write it",
			o.sender.String()[:10])
	}
	in.Verified = true
	return in, nil
}

// mergeSenderChain adds the certificates that came along. Those that contradict what is pinned change
// nothing: the message then shows as unverified if it needs them.
func (s *State) mergeSenderChain(o *opened, in *Incoming) {
	if len(o.certs) == 0 || o.sender == s.account {
		return
	}
	if in.Chain == nil {
		if c, err := VerifyChain(o.sender, o.certs); err == nil {
			in.Chain = c
		}
		return
	}
	if c, events, err := in.Chain.Extend(o.certs); err == nil {
		in.Chain, in.Events = c, events
	}
}

func (s *State) authenticateLink(o *opened, in *Incoming) (*Incoming, error) {
	bad := func(why string) (*Incoming, error) {
		return nil, fault.New(fault.Unauthenticated, "open link request", "%s", why)
	}
	if o.sender != s.account || len(o.certs) > 0 {
		return bad("not from the own account")
	}
	if !hmac.Equal(o.tag, messageTag(nil, o.export, o.info, o.enc, o.plain)) {
		return bad("wrong authentication")
	}
	l, err := DecodeLinkRequest(s.account, o.body)
	if err != nil {
		return nil, err
	}
	if l.Mailbox != s.mailbox || l.G != o.version.G {
		return bad("it is for another mailbox or generation")
	}
	in.Link, in.Body, in.Verified = l, nil, true
	return in, nil
}
