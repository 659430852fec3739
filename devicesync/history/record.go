package history

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Kinds of records.
const (
	kindMessage  = 1
	kindPerson   = 2
	kindChange   = 3
	kindReaction = 4
)

// Limits of what a record may say.
const (
	maxTime         = 1 << 53
	maxOrder        = 1 << 53
	maxConversation = 128
	maxEmoji        = 64
	maxName         = 256
	maxEvents       = 255
	maxEventKind    = 32
)

// ChunkTarget is how many bytes of records a chunk is planned with. The rest up to MaxRecords is room for
// what changes until it is sealed.
const ChunkTarget = 72 << 10

// Flags of a message.
const (
	Mine       = 1 << 0
	Request    = 1 << 1
	Unverified = 1 << 2
	Edited     = 1 << 3
	Deleted    = 1 << 4
)

// Message is a message of any conversation, with what became of it. Times are Unix milliseconds; 0: not yet,
// or never.
type Message struct {
	Order        uint64 // the sender's local order
	ID           ident.MessageID
	Sender       ident.AccountID
	Conversation string
	Flags        uint16
	State        uint8
	SentAt       int64
	ReceivedAt   int64
	StoredAt     int64
	DeliveredAt  int64
	ReadAt       int64
	MailSeq      uint64 // sequence number in the account's mailbox; 0: none
	ExpiresAt    int64
	ExpireAfter  uint32          // seconds, from when it is read
	ReplyTo      ident.MessageID // zero: answers none
	Body         []byte
}

// Change is what was done to a message, which need not be there.
type Change struct {
	Message      ident.MessageID
	Author       ident.AccountID
	Kind         uint8
	Conversation string
	At           int64
	ID           ident.MessageID
	Body         []byte
}

// Reaction is one person's emoji on a message.
type Reaction struct {
	Message      ident.MessageID
	Author       ident.AccountID
	From         ident.AccountID
	Emoji        string
	Conversation string
	At           int64
	ID           ident.MessageID // of the change
	Removed      bool
}

// Person is what is known of another account beyond the shared documents.
type Person struct {
	Account ident.AccountID
	Named   bool // an own device wrote to them
	Name    string
	NameAt  int64
	Chain   []byte // pinned certificates (account.Chain.Marshal); empty: none are known
	Before  []byte // what was pinned before their last recovery

	ContestedAt int64 // when that was contested; 0: it was not
	Events      []PersonEvent
}

// PersonEvent is something that happened to an account.
type PersonEvent struct {
	Kind string
	G    uint32
	At   int64
}

// Packer gathers the records of one chunk.
type Packer struct {
	limit int
	out   []byte
}

// NewPacker makes a packer of at most limit bytes, which is at most MaxRecords.
func NewPacker(limit int) *Packer { return &Packer{limit: min(limit, MaxRecords)} }

// Bytes returns the records so far.
func (p *Packer) Bytes() []byte { return p.out }

// Message adds m and reports whether it fits. If it would not fit an empty chunk either it is added without
// its body: one message must not stop a history.
func (p *Packer) Message(m *Message) bool {
	if p.add(kindMessage, m.encode()) {
		return true
	}
	bare := *m
	bare.Body = nil
	return len(p.out) == 0 && p.add(kindMessage, bare.encode())
}

// Person adds m and reports whether it fits. One that would not fit an empty chunk is added without its
// certificates.
func (p *Packer) Person(m *Person) bool {
	if p.add(kindPerson, m.encode()) {
		return true
	}
	bare := *m
	bare.Chain, bare.Before = nil, nil
	return len(p.out) == 0 && p.add(kindPerson, bare.encode())
}

// Change adds c and reports whether it fits.
func (p *Packer) Change(c *Change) bool {
	if p.add(kindChange, c.encode()) {
		return true
	}
	bare := *c
	bare.Body = nil
	return len(p.out) == 0 && p.add(kindChange, bare.encode())
}

// Reaction adds r and reports whether it fits.
func (p *Packer) Reaction(r *Reaction) bool { return p.add(kindReaction, r.encode()) }

// Len is how many bytes the records have.
func (p *Packer) Len() int { return len(p.out) }

// Cut drops the records beyond the first n bytes, which Len once returned.
func (p *Packer) Cut(n int) { p.out = p.out[:n] }

func (p *Packer) add(kind uint8, b []byte) bool {
	if len(p.out)+4+len(b) > p.limit {
		return false
	}
	p.out = append(p.out, kind, byte(len(b)>>16), byte(len(b)>>8), byte(len(b)))
	p.out = append(p.out, b...)
	return true
}

func (m *Message) encode() []byte {
	var b cryptobyte.Builder
	b.AddUint64(m.Order)
	b.AddBytes(m.ID[:])
	b.AddBytes(m.Sender[:])
	addText(&b, m.Conversation, maxConversation)
	b.AddUint16(m.Flags)
	b.AddUint8(m.State)
	for _, t := range []int64{m.SentAt, m.ReceivedAt, m.StoredAt, m.DeliveredAt, m.ReadAt} {
		b.AddUint64(uint64(t))
	}
	b.AddUint64(m.MailSeq)
	b.AddUint64(uint64(m.ExpiresAt))
	b.AddUint32(m.ExpireAfter)
	b.AddBytes(m.ReplyTo[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Body) })
	return b.BytesOrPanic()
}

func (c *Change) encode() []byte {
	var b cryptobyte.Builder
	b.AddBytes(c.Message[:])
	b.AddBytes(c.Author[:])
	b.AddUint8(c.Kind)
	addText(&b, c.Conversation, maxConversation)
	b.AddUint64(uint64(c.At))
	b.AddBytes(c.ID[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Body) })
	return b.BytesOrPanic()
}

func (r *Reaction) encode() []byte {
	var b cryptobyte.Builder
	b.AddBytes(r.Message[:])
	b.AddBytes(r.Author[:])
	b.AddBytes(r.From[:])
	addText(&b, r.Emoji, maxEmoji)
	addText(&b, r.Conversation, maxConversation)
	b.AddUint64(uint64(r.At))
	b.AddBytes(r.ID[:])
	var removed uint8
	if r.Removed {
		removed = 1
	}
	b.AddUint8(removed)
	return b.BytesOrPanic()
}

func (p *Person) encode() []byte {
	var b cryptobyte.Builder
	b.AddBytes(p.Account[:])
	var flags uint8
	if p.Named {
		flags = 1
	}
	b.AddUint8(flags)
	name := p.Name[:min(len(p.Name), maxName)]
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
	b.AddUint64(uint64(p.NameAt))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.Chain) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.Before) })
	b.AddUint64(uint64(p.ContestedAt))
	events := p.Events[max(0, len(p.Events)-maxEvents):]
	b.AddUint8(uint8(len(events)))
	for _, e := range events {
		addText(&b, e.Kind, maxEventKind)
		b.AddUint32(e.G)
		b.AddUint64(uint64(e.At))
	}
	return b.BytesOrPanic()
}

func addText(b *cryptobyte.Builder, s string, most int) {
	s = s[:min(len(s), most)]
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

// Record is what Read finds: a *Message, *Person, *Change or *Reaction.
type Record interface{ decode(cryptobyte.String) bool }

// Read calls f for the records of a chunk, in order. Bytes in them alias records. Kinds that this version
// does not know are passed over. What is malformed ends it with Corrupt.
func Read(records []byte, f func(Record)) error {
	s := cryptobyte.String(records)
	for !s.Empty() {
		var kind uint8
		var b cryptobyte.String
		if !s.ReadUint8(&kind) || !s.ReadUint24LengthPrefixed(&b) {
			return fault.New(fault.Corrupt, "read history", "ends within a record")
		}
		r := newRecord(kind)
		if r == nil {
			continue
		}
		if !r.decode(b) {
			return fault.New(fault.Corrupt, "read history", "malformed record of kind %d", kind)
		}
		f(r)
	}
	return nil
}

func newRecord(kind uint8) Record {
	switch kind {
	case kindMessage:
		return new(Message)
	case kindPerson:
		return new(Person)
	case kindChange:
		return new(Change)
	case kindReaction:
		return new(Reaction)
	}
	return nil
}

func (m *Message) decode(s cryptobyte.String) bool {
	var body cryptobyte.String
	if !s.ReadUint64(&m.Order) || m.Order > maxOrder || !s.CopyBytes(m.ID[:]) || !s.CopyBytes(m.Sender[:]) ||
		!readText(&s, &m.Conversation, maxConversation) ||
		m.Conversation == "" || !s.ReadUint16(&m.Flags) || !s.ReadUint8(&m.State) {
		return false
	}
	for _, t := range []*int64{&m.SentAt, &m.ReceivedAt, &m.StoredAt, &m.DeliveredAt, &m.ReadAt} {
		if !readTime(&s, t) {
			return false
		}
	}
	if !s.ReadUint64(&m.MailSeq) || m.MailSeq > maxOrder || !readTime(&s, &m.ExpiresAt) ||
		!s.ReadUint32(&m.ExpireAfter) ||
		!s.CopyBytes(m.ReplyTo[:]) || !s.ReadUint24LengthPrefixed(&body) {
		return false
	}
	m.Body = body
	return s.Empty()
}

func (c *Change) decode(s cryptobyte.String) bool {
	var body cryptobyte.String
	if !s.CopyBytes(c.Message[:]) || !s.CopyBytes(c.Author[:]) || !s.ReadUint8(&c.Kind) ||
		!readText(&s, &c.Conversation, maxConversation) ||
		!readTime(&s, &c.At) || !s.CopyBytes(c.ID[:]) || !s.ReadUint24LengthPrefixed(&body) {
		return false
	}
	c.Body = body
	return s.Empty()
}

func (r *Reaction) decode(s cryptobyte.String) bool {
	var removed uint8
	if !s.CopyBytes(r.Message[:]) || !s.CopyBytes(r.Author[:]) || !s.CopyBytes(r.From[:]) ||
		!readText(&s, &r.Emoji, maxEmoji) ||
		!readText(&s, &r.Conversation, maxConversation) || !readTime(&s, &r.At) || !s.CopyBytes(r.ID[:]) ||
		!s.ReadUint8(&removed) || removed > 1 {
		return false
	}
	r.Removed = removed == 1
	return s.Empty()
}

func (p *Person) decode(s cryptobyte.String) bool {
	var flags, n uint8
	var name, chain, before cryptobyte.String
	if !s.CopyBytes(p.Account[:]) || !s.ReadUint8(&flags) || flags > 1 ||
		!s.ReadUint16LengthPrefixed(&name) || len(name) > maxName || !readTime(&s, &p.NameAt) ||
		!s.ReadUint24LengthPrefixed(&chain) || !s.ReadUint24LengthPrefixed(&before) ||
		!readTime(&s, &p.ContestedAt) || !s.ReadUint8(&n) {
		return false
	}
	p.Named, p.Name, p.Chain, p.Before = flags == 1, string(name), chain, before
	for range n {
		var e PersonEvent
		if !readText(&s, &e.Kind, maxEventKind) || !s.ReadUint32(&e.G) || !readTime(&s, &e.At) {
			return false
		}
		p.Events = append(p.Events, e)
	}
	return s.Empty()
}

func readText(s *cryptobyte.String, out *string, most int) bool {
	var b cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&b) || len(b) > most {
		return false
	}
	*out = string(b)
	return true
}

func readTime(s *cryptobyte.String, out *int64) bool {
	var t uint64
	if !s.ReadUint64(&t) || t > maxTime {
		return false
	}
	*out = int64(t)
	return true
}
