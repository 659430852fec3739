package account

import (
	"bytes"
	"math"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// Flags of a marshalled state.
const (
	stateMember  = 1 << 0 // has a generation
	stateRevoked = 1 << 1
	statePending = 1 << 2
)

// Marshal returns the whole state: secrets in clear, to be encrypted by the caller under a key that is fresh
// with each write, so that what was erased is gone. Deterministic.
func (s *State) Marshal() []byte {
	b := cryptobyte.NewBuilder(nil)
	var flags uint8
	if s.gen != nil {
		flags |= stateMember
	}
	if s.revoked {
		flags |= stateRevoked
	}
	if s.pending != nil {
		flags |= statePending
	}
	b.AddUint8(formatVersion)
	b.AddUint8(flags)
	b.AddBytes(s.account[:])
	b.AddBytes(s.cluster[:])
	b.AddBytes(s.device[:])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s.label)) })
	b.AddUint64(uint64(s.askedAt))
	b.AddBytes(s.nonce[:])
	b.AddBytes(s.sign.key.Seed())
	b.AddBytes(s.box.raw.b[:])
	b.AddBytes(s.after.raw.b[:])
	b.AddUint64(s.head)
	b.AddUint32(s.seen)
	b.AddUint64(s.firstSeq)
	b.AddUint16(uint16(len(s.log)))
	for _, l := range s.log {
		b.AddUint64(l.Seq)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(l.Cert.raw) })
	}
	b.AddUint16(uint16(len(s.seeds)))
	for i := range s.seeds {
		b.AddUint32(s.seeds[i].version.G)
		b.AddUint32(s.seeds[i].version.Day)
		b.AddBytes(s.seeds[i].seed.b[:])
	}
	addVaultKeys(b, s.vault)
	if s.gen != nil {
		s.marshalMember(b)
	}
	if s.pending != nil {
		c := s.pending.Change
		b.AddUint32(c.G)
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Request.Encode()) })
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Group) })
		b.AddBytes(s.pending.Signer.bytes())
	}
	return b.BytesOrPanic()
}

func (s *State) marshalMember(b *cryptobyte.Builder) {
	b.AddUint32(s.gen.g)
	for i := range s.gen.raw {
		b.AddBytes(s.gen.raw[i].b[:])
	}
	b.AddUint32(s.gen.ck.day)
	b.AddBytes(s.gen.ck.key.b[:])
	b.AddBytes(s.vaultPK)
	addDevices(b, s.devices)
	addTombs(b, s.tombs)
	b.AddUint8(uint8(len(s.news)))
	for _, a := range s.news {
		b.AddBytes(a.device[:])
		b.AddBytes(a.box)
	}
}

// UnmarshalState reads what Marshal wrote and verifies the certificates in it again.
func UnmarshalState(p []byte) (*State, error) {
	bad := fault.New(fault.Corrupt, "read account state", "malformed")
	b := cryptobyte.String(bytes.Clone(p)) // fields alias it
	s := new(State)
	var version, flags uint8
	if !b.ReadUint8(&version) {
		return nil, bad
	}
	if version != formatVersion {
		return nil, fault.New(fault.Corrupt, "read account state", "version %d, want %d",
			version, formatVersion)
	}
	if !b.ReadUint8(&flags) || flags > stateMember|stateRevoked|statePending {
		return nil, bad
	}
	ok := s.readDevice(&b) && s.readLog(&b) && s.readSeeds(&b)
	if ok {
		s.vault, ok = readVaultKeys(&b)
	}
	if ok && flags&stateMember != 0 {
		ok = s.readMember(&b)
	}
	if ok && flags&statePending != 0 {
		ok = s.readPending(&b)
	}
	if !ok || !b.Empty() {
		return nil, bad
	}
	s.revoked = flags&stateRevoked != 0
	var err error
	if s.mailbox, err = MailboxOf(s.account, s.cluster); err != nil {
		return nil, bad
	}
	return s, nil
}

func (s *State) readDevice(b *cryptobyte.String) bool {
	var label cryptobyte.String
	var asked uint64
	var keys [3][32]byte
	if !b.CopyBytes(s.account[:]) || !b.CopyBytes(s.cluster[:]) || !b.CopyBytes(s.device[:]) ||
		!b.ReadUint8LengthPrefixed(&label) ||
		!b.ReadUint64(&asked) || asked > maxTimeMS || !b.CopyBytes(s.nonce[:]) ||
		!b.CopyBytes(keys[0][:]) || !b.CopyBytes(keys[1][:]) || !b.CopyBytes(keys[2][:]) ||
		checkLabel(string(label)) != nil {
		return false
	}
	s.label, s.askedAt = string(label), int64(asked)
	s.sign = deviceKey{newSignKey(keys[0])}
	s.box, s.after = newBoxKey(keys[1]), newBoxKey(keys[2])
	return true
}

func (s *State) readLog(b *cryptobyte.String) bool {
	var n uint16
	if !b.ReadUint64(&s.head) || !b.ReadUint32(&s.seen) || !b.ReadUint64(&s.firstSeq) || !b.ReadUint16(&n) {
		return false
	}
	for range n {
		var l LoggedCert
		var raw cryptobyte.String
		if !b.ReadUint64(&l.Seq) || !b.ReadUint16LengthPrefixed(&raw) {
			return false
		}
		c, err := DecodeCert(raw)
		if err != nil || c.Account != s.account {
			return false
		}
		l.Cert = c
		var ok bool
		if s.chain, ok = s.chain.follow(c); !ok {
			return false
		}
		s.log = append(s.log, l)
	}
	return true
}

func (s *State) readSeeds(b *cryptobyte.String) bool {
	var n uint16
	if !b.ReadUint16(&n) || int(n)*40 > len(*b) {
		return false
	}
	s.seeds = make([]daySeed, n)
	for i := range s.seeds {
		d := &s.seeds[i]
		if !b.ReadUint32(&d.version.G) || !b.ReadUint32(&d.version.Day) || !b.CopyBytes(d.seed.b[:]) {
			return false
		}
	}
	return true
}

func (s *State) readMember(b *cryptobyte.String) bool {
	g := new(generation)
	if !b.ReadUint32(&g.g) {
		return false
	}
	for i := range g.raw {
		if !b.CopyBytes(g.raw[i].b[:]) {
			return false
		}
	}
	g.complete()
	var ok bool
	if !b.ReadUint32(&g.ck.day) || g.ck.day == math.MaxUint32 || !b.CopyBytes(g.ck.key.b[:]) ||
		!b.ReadBytes(&s.vaultPK, kemPublicSize) || s.chain == nil {
		return false
	}
	if s.devices, ok = readDevices(b); !ok {
		return false
	}
	if s.tombs, ok = readTombs(b); !ok {
		return false
	}
	var n uint8
	if !b.ReadUint8(&n) || n > MaxDevices {
		return false
	}
	for range n {
		var a announcement
		if !b.CopyBytes(a.device[:]) || !b.ReadBytes(&a.box, kemPublicSize) {
			return false
		}
		s.news = append(s.news, a)
	}
	s.gen = g
	return true
}

func (s *State) readPending(b *cryptobyte.String) bool {
	var req, group cryptobyte.String
	var signer []byte
	c := new(Change)
	if !b.ReadUint32(&c.G) || !b.ReadUint24LengthPrefixed(&req) || !b.ReadUint24LengthPrefixed(&group) ||
		!b.ReadBytes(&signer, 64) {
		return false
	}
	r, err := envelope.DecodeRequest(req)
	if err != nil {
		return false
	}
	key, err := mailboxKeyFrom(signer)
	if err != nil {
		return false
	}
	c.Request, c.Group = r, group
	s.pending = &Pending{Change: c, Signer: key}
	return true
}
