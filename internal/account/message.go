package account

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Layout of a message's blob (docs/formats.md, section 6).
const (
	blobVersion    = 0x01
	tagSize        = 32
	headerSize     = 33 + 4 + 16 + 8 + 4 // of the plaintext, before the certificates
	blobOverhead   = 1 + kemEncSize + headerSize + 2 + 3 + tagSize + 16
	MaxMessageBody = MaxBlob - blobOverhead // bytes of a body that comes without certificates
)

// Recipient is what a sender must know of the account it writes to.
type Recipient struct {
	Chain  *Chain       // verified, up to the recipient's head
	Record *EpochRecord // of the chain's head generation
	Floor  DayVersion   // the highest day key ever used towards it; zero at first
}

// check refuses everything but a record of the newest generation, signed by it, valid now, and not below what
// was used before. There is nothing to fall back to.
func (r *Recipient) check(id ident.AccountID, now time.Time) error {
	const op = "choose day key"
	if r.Chain == nil || r.Record == nil {
		return fault.New(fault.NotFound, op, "account %s has published none", id.String()[:10])
	}
	if r.Chain.Account() != id {
		return fault.New(fault.Corrupt, op, "the certificates are of another account")
	}
	if err := r.Chain.CheckRecord(r.Record); err != nil {
		return err
	}
	if !r.Record.ValidAt(now.UnixMilli()) {
		return fault.New(fault.Stale, op, "the record of day %d is not valid now", r.Record.Day)
	}
	if r.Record.Version().Less(r.Floor) {
		return fault.New(fault.Stale, op, "generation %d day %d is older than what was used before",
			r.Record.G, r.Record.Day)
	}
	return nil
}

// PickRecord returns the record with the highest version among those that the chain's head signed and that
// are valid at now; nil if there is none.
func PickRecord(c *Chain, records []*EpochRecord, now time.Time) *EpochRecord {
	var best *EpochRecord
	for _, r := range records {
		if r.ValidAt(now.UnixMilli()) && c.CheckRecord(r) == nil && (best == nil ||
			best.Version().Less(r.Version())) {
			best = r
		}
	}
	return best
}

// Outgoing is a message to be sealed.
type Outgoing struct {
	ID     ident.MessageID
	SentAt int64 // Unix milliseconds
	// PeerSeen is the highest generation of the own account that the recipient has shown to know
	// (Incoming.SeenG); 0 is first contact, where the own certificates and day record go along.
	PeerSeen uint32
	Body     []byte
}

// Seal encrypts a message for the recipient's day key. There is no other way to seal: it fails with
// fault.Stale for a record that is not valid now, below Floor or not of the chain's head (or if this device
// has to Adopt first), and with fault.NotFound for none; fault.Invalid if the body is too large; fault.Denied
// if this device is not part of its account.
func (s *State) Seal(to Recipient, m Outgoing, now time.Time) (blob []byte, err error) {
	const op = "seal message"
	if s.gen == nil || s.revoked {
		return nil, fault.New(fault.Denied, op, "this device is not part of the account")
	}
	if s.chain.G() != s.gen.g {
		return nil, fault.New(fault.Stale, op, "generation %d is not adopted yet", s.chain.G())
	}
	if to.Chain == nil {
		return nil, fault.New(fault.NotFound, op, "the recipient's certificates are unknown")
	}
	if err := to.check(to.Chain.Account(), now); err != nil {
		return nil, err
	}
	certs, err := s.introduce(m.PeerSeen, now)
	if err != nil {
		return nil, err
	}
	if most := MaxMessageBody - len(certs); len(m.Body) > most {
		return nil, fault.New(fault.Invalid, op, "body of %d bytes, want at most %d", len(m.Body), most)
	}
	h := plainHeader{sender: s.account, senderG: s.gen.g, id: m.ID, sentAt: m.SentAt, seenG: to.Chain.G()}
	return sealPlain(to, h, certs, m.Body, &s.gen.sx)
}

// introduce returns the certificates field for a recipient that knows the own account up to generation seen.
func (s *State) introduce(seen uint32, now time.Time) ([]byte, error) {
	var links []*Cert
	for _, c := range s.chain.certs {
		if c.G > seen {
			links = append(links, c)
		}
	}
	if len(links) > MaxLinks {
		links = nil
	}
	var record []byte
	if seen == 0 {
		day := max(Day(now), s.chain.Head().Day())
		if keys, ok := s.dayKeys(DayVersion{s.gen.g, day}); ok {
			r, err := newRecord(s.gen, s.chain.Head(), day, keys)
			if err != nil {
				return nil, err
			}
			record = r.raw
		}
	}
	if len(links) == 0 && record == nil {
		return nil, nil
	}
	var b cryptobyte.Builder
	addCerts(&b, links)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(record) })
	return b.BytesOrPanic(), nil
}

// plainHeader opens the plaintext.
type plainHeader struct {
	sender  ident.AccountID
	senderG uint32 // 0: a link request
	id      ident.MessageID
	sentAt  int64
	seenG   uint32
}

func messageInfo(to ident.AccountID, v DayVersion) []byte {
	return binary.BigEndian.AppendUint32(groupContext(labelMessage, to, v.G), v.Day)
}

// sealPlain pads, authenticates and encrypts. sx is nil for a link request.
func sealPlain(to Recipient, h plainHeader, certs, body []byte, sx *dhKey) ([]byte, error) {
	pk, err := hpke.MLKEM768X25519().NewPublicKey(to.Record.Kem)
	if err != nil {
		return nil, fault.Wrap(fault.Corrupt, "seal message", err)
	}
	info := messageInfo(to.Record.Account, to.Record.Version())
	enc, sender, err := hpke.NewSender(pk, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "seal message", err)
	}
	size, err := bucket(blobOverhead+len(certs)+len(body), minBlob)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, 0, size-1-kemEncSize-16)
	plain = append(plain, h.sender[:]...)
	plain = binary.BigEndian.AppendUint32(plain, h.senderG)
	plain = append(plain, h.id[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(h.sentAt))
	plain = binary.BigEndian.AppendUint32(plain, h.seenG)
	plain = binary.BigEndian.AppendUint16(plain, uint16(len(certs)))
	plain = append(plain, certs...)
	plain = append(plain, byte(len(body)>>16), byte(len(body)>>8), byte(len(body)))
	plain = append(plain, body...)
	plain = plain[:cap(plain)-tagSize] // zeros
	export, err := sender.Export(labelMessageExport, 32)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "seal message", err)
	}
	var shared []byte
	if sx != nil {
		if shared, err = sx.exchange(to.Record.Ax); err != nil {
			return nil, fault.Wrap(fault.Corrupt, "seal message", err)
		}
	}
	plain = append(plain, messageTag(shared, export, info, enc, plain)...)
	ct, err := sender.Seal([]byte{blobVersion}, plain)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "seal message", err)
	}
	blob := make([]byte, 0, size)
	blob = append(blob, blobVersion)
	blob = append(blob, enc...)
	return append(blob, ct...), nil
}

// messageTag authenticates the sender: whoever knows the X25519 secret of sx and ax could have made it, which
// convinces the recipient and nobody else. A link request has no sx; its body is signed instead.
func messageTag(shared, export, info, enc, plain []byte) []byte {
	label := labelMessageAuth
	if shared == nil {
		label = labelMessageLink
	}
	ikm := append(append([]byte(nil), shared...), export...)
	key, err := hkdf.Key(sha256.New, ikm, nil, label+string(info), 32)
	if err != nil {
		panic("account: hkdf: " + err.Error())
	}
	m := hmac.New(sha256.New, key)
	m.Write(info)
	m.Write(enc)
	m.Write(plain)
	return m.Sum(nil)
}
