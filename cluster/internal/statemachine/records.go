package statemachine

import (
	"crypto/sha256"
	"encoding/binary"
	"sort"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// LabelDigest opens what a slot's digest is made of.
const LabelDigest = "starling/v1/slot-digest\x00"

// EntryOverhead is what an envelope counts for in a mailbox's quota beside its body.
const EntryOverhead = 64

// maxHeads bounds the namespaces that one mailbox has ever stored to.
const maxHeads = 64

// shortHash is the part of an envelope's hash that the index keeps.
type shortHash [16]byte

func short(h envelope.Hash) shortHash { return shortHash(h[:16]) }

// mailbox is the row of one mailbox in TableOwn.
type mailbox struct {
	id        ident.MailboxID
	owner     owner
	next      uint64 // the next sequence number; the first is 1
	bytes     uint64
	count     uint64
	authority [32]byte // zero only while genesis is under way
	replaced  [32]byte // what the last recover replaced and may still contest it; zero: none
	signedAt  int64    // clock when the authority or the mailbox key last signed a write
	idleAt    int64    // when Expire next asks whether the mailbox is idle: its row in TableDue
	heads     []head   // by namespace
	group     *group   // nil: an account's or a one-time mailbox
}

// head is what a mailbox knows of one of its namespaces.
type head struct {
	ns    envelope.Namespace
	seq   uint64 // last sequence number stored there, whatever became of it
	count uint32
	bytes uint64
}

func (m *mailbox) head(ns envelope.Namespace) head {
	i := sort.Search(len(m.heads), func(i int) bool { return m.heads[i].ns >= ns })
	if i < len(m.heads) && m.heads[i].ns == ns {
		return m.heads[i]
	}
	return head{ns: ns}
}

func (m *mailbox) setHead(h head) {
	i := sort.Search(len(m.heads), func(i int) bool { return m.heads[i].ns >= h.ns })
	if i == len(m.heads) || m.heads[i].ns != h.ns {
		m.heads = append(m.heads, head{})
		copy(m.heads[i+1:], m.heads[i:])
	}
	m.heads[i] = h
}

// certsHead is the head that a change of keys moves on: that of the certificates, of a group that of its log.
func (m *mailbox) certsHead() uint64 {
	if m.group != nil {
		return m.head(envelope.GroupLog).seq
	}
	return m.head(envelope.Certs).seq
}

// serves reports whether the mailbox is of the kind that has ns.
func (m *mailbox) serves(ns envelope.Namespace) bool { return ns.IsGroup() == (m.group != nil) }

func (m *mailbox) clone() mailbox {
	c := *m
	c.heads = append([]head(nil), m.heads...)
	if m.group != nil {
		g := *m.group
		c.group = &g
	}
	return c
}

func (m *mailbox) encode() []byte {
	var b cryptobyte.Builder
	b.AddBytes(m.owner.key())
	for _, v := range []uint64{m.next, m.bytes, m.count} {
		b.AddUint64(v)
	}
	b.AddBytes(m.authority[:])
	b.AddBytes(m.replaced[:])
	b.AddUint64(uint64(m.signedAt))
	b.AddUint64(uint64(m.idleAt))
	b.AddUint8(uint8(len(m.heads)))
	for _, h := range m.heads {
		b.AddUint16(uint16(h.ns))
		b.AddUint64(h.seq)
		b.AddUint32(h.count)
		b.AddUint64(h.bytes)
	}
	return b.BytesOrPanic()
}

func decodeMailbox(id ident.MailboxID, p []byte) (*mailbox, error) {
	s := cryptobyte.String(p)
	m := &mailbox{id: id}
	var o []byte
	var n uint8
	var signedAt, idleAt uint64
	if !s.ReadBytes(&o, ownerSize) || !s.ReadUint64(&m.next) || !s.ReadUint64(&m.bytes) ||
		!s.ReadUint64(&m.count) ||
		!s.CopyBytes(m.authority[:]) || !s.CopyBytes(m.replaced[:]) ||
		!s.ReadUint64(&signedAt) || !s.ReadUint64(&idleAt) || !s.ReadUint8(&n) || n > maxHeads {
		return nil, damaged("mailbox row", id[:])
	}
	m.owner, m.signedAt, m.idleAt, m.heads = ownerOf(o), int64(signedAt), int64(idleAt), make([]head, n)
	for i := range m.heads {
		h := &m.heads[i]
		var ns uint16
		if !s.ReadUint16(&ns) || !s.ReadUint64(&h.seq) || !s.ReadUint32(&h.count) || !s.ReadUint64(&h.bytes) {
			return nil, damaged("mailbox row", id[:])
		}
		if h.ns = envelope.Namespace(ns); i > 0 && h.ns <= m.heads[i-1].ns {
			return nil, damaged("mailbox row", id[:])
		}
	}
	if !s.Empty() {
		return nil, damaged("mailbox row", id[:])
	}
	return m, nil
}

// mail is the row of one envelope in TableMail; its namespace and sequence number are in the key.
type mail struct {
	hash     shortHash
	key      [envelope.KeySize]byte
	storedAt int64
	expiry   int64  // 0: permanent
	ttl      uint32 // as asked for, seconds
	body     []byte
}

// spare is room for a storage to append a checksum without a copy of the body.
const spare = 4

const mailHeader = 16 + envelope.KeySize + 8 + 8 + 4

func (e *mail) encode() []byte {
	b := make([]byte, 0, mailHeader+len(e.body)+spare)
	b = append(append(b, e.hash[:]...), e.key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.storedAt))
	b = binary.BigEndian.AppendUint64(b, uint64(e.expiry))
	b = binary.BigEndian.AppendUint32(b, e.ttl)
	return append(b, e.body...)
}

// decodeMail reads what encode wrote; body aliases p.
func decodeMail(p []byte) (e mail, ok bool) {
	if len(p) < mailHeader || len(p) > mailHeader+envelope.MaxBody {
		return e, false
	}
	copy(e.hash[:], p)
	copy(e.key[:], p[16:])
	e.storedAt = int64(binary.BigEndian.Uint64(p[32:]))
	e.expiry = int64(binary.BigEndian.Uint64(p[40:]))
	e.ttl = binary.BigEndian.Uint32(p[48:])
	e.body = p[mailHeader:]
	return e, true
}

// size is what the envelope counts for in quotas.
func (e *mail) size() uint64 { return uint64(len(e.body)) + EntryOverhead }

// digest is the envelope's part of its slot's digest.
func (e *mail) digest(m ident.MailboxID, ns envelope.Namespace, seq uint64) [32]byte {
	var b [len(LabelDigest) + 32 + 2 + 8 + 16 + 8 + 8]byte
	p := append(b[:0], LabelDigest...)
	p = append(p, m[:]...)
	p = binary.BigEndian.AppendUint16(p, uint16(ns))
	p = binary.BigEndian.AppendUint64(p, seq)
	p = append(p, e.hash[:]...)
	p = binary.BigEndian.AppendUint64(p, uint64(e.storedAt))
	p = binary.BigEndian.AppendUint64(p, uint64(e.expiry))
	return sha256.Sum256(p)
}

func (e *mail) envelope(ns envelope.Namespace, seq uint64) envelope.Envelope {
	return envelope.Envelope{Seq: seq, Namespace: ns, Key: e.key, StoredAt: e.storedAt,
		Expiry: e.expiry, Body: e.body}
}

// dup remembers that an envelope was stored, for as long as a late retry must not store it again.
type dup struct {
	seq   uint64
	ns    envelope.Namespace
	until int64 // 0: the envelope lives and has no expiry
}

func (d dup) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 18), d.seq)
	b = binary.BigEndian.AppendUint16(b, uint16(d.ns))
	return binary.BigEndian.AppendUint64(b, uint64(d.until))
}

func decodeDup(p []byte) (d dup, ok bool) {
	if len(p) != 18 {
		return d, false
	}
	d.seq = binary.BigEndian.Uint64(p)
	d.ns = envelope.Namespace(binary.BigEndian.Uint16(p[8:]))
	d.until = int64(binary.BigEndian.Uint64(p[10:]))
	return d, true
}

// SlotState is what a replica's envelopes of one slot add up to: equal on every replica at the same index.
type SlotState struct {
	Digest    [32]byte // exclusive or over the envelopes
	Count     uint64   // envelopes
	Bytes     uint64   // as quotas count them
	Mailboxes uint64
}

func (s *SlotState) add(digest [32]byte, count int, bytes int64) {
	for i := range s.Digest {
		s.Digest[i] ^= digest[i]
	}
	s.Count += uint64(int64(count))
	s.Bytes += uint64(bytes)
}

func (s *SlotState) encode() []byte {
	b := append(make([]byte, 0, 56), s.Digest[:]...)
	b = binary.BigEndian.AppendUint64(b, s.Count)
	b = binary.BigEndian.AppendUint64(b, s.Bytes)
	return binary.BigEndian.AppendUint64(b, s.Mailboxes)
}

func decodeSlot(p []byte) (s SlotState, ok bool) {
	if len(p) != 56 {
		return s, false
	}
	copy(s.Digest[:], p)
	s.Count, s.Bytes = binary.BigEndian.Uint64(p[32:]), binary.BigEndian.Uint64(p[40:])
	s.Mailboxes = binary.BigEndian.Uint64(p[48:])
	return s, true
}

func damaged(what string, key []byte) *fault.Error {
	return fault.New(fault.Corrupt, "read "+what, "row %x is malformed", key)
}
