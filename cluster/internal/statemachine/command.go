package statemachine

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// commandVersion opens every encoded command. A reader rejects any other.
const commandVersion = 1

type commandKind uint8

const (
	kindRequest commandKind = 1
	kindExpire  commandKind = 2
	kindClock   commandKind = 3
	kindConfig  commandKind = 4
)

// Stamp is what a swarm's leader puts on a command that it proposes. The clock becomes the latest of its old
// value and min(Time, old value + Allowance); the very first command sets it to Time. A leader's Allowance is
// what its own monotonic clock measured since the last command that it saw applied, and 2 s more.
type Stamp struct {
	Time      int64  // Unix milliseconds
	Allowance uint32 // milliseconds
}

// Command is one of Request, Expire, Clock and Config.
type Command interface {
	command() (commandKind, Stamp)
	body(b *cryptobyte.Builder)
}

// Ingress is a client's request or subscription with the place where it came in, which its signature covers.
type Ingress struct {
	Node   ident.NodeID // the replica that the client spoke to
	Tag    [32]byte     // of the circuit
	Signed envelope.Signed
}

// Request replicates a client's request.
type Request struct {
	Stamp
	Ingress
}

// Expire removes what expired up to an instant (and not past the clock): at most Max envelopes and leftovers.
type Expire struct {
	Stamp
	UpTo int64 // Unix milliseconds
	Max  uint32
}

// Clock moves the clock forward to an instant that a majority of the swarm agreed on, after downtime.
type Clock struct {
	Stamp
	To int64 // Unix milliseconds
}

// Config is what the directory decided for this swarm. One with a Number not above the last is ignored.
type Config struct {
	Stamp
	Number           uint64
	DirectoryVersion uint64 // named in WrongSwarm and Info
	QuotaBytes       uint64 // per mailbox; 0: DefaultQuota
	StampDifficulty  uint8  // leading zero bits of an admission stamp; 0: none wanted
	Replicas         uint8
	Slots            SlotSet
}

// DefaultQuota is the bytes that a mailbox may hold where Config names none: 32 MiB.
const DefaultQuota = 32 << 20

// SlotSet is a set of slots, one bit each; slot 0 is the highest bit of the first byte.
type SlotSet [ident.SlotCount / 8]byte

// AllSlots holds every slot.
func AllSlots() (s SlotSet) {
	for i := range s {
		s[i] = 0xff
	}
	return s
}

// Add puts slot into s.
func (s *SlotSet) Add(slot ident.Slot) { s[slot/8] |= 0x80 >> (slot % 8) }

// Has reports whether slot is in s.
func (s *SlotSet) Has(slot ident.Slot) bool { return s[slot/8]&(0x80>>(slot%8)) != 0 }

func (c *Request) command() (commandKind, Stamp) { return kindRequest, c.Stamp }
func (c *Expire) command() (commandKind, Stamp)  { return kindExpire, c.Stamp }
func (c *Clock) command() (commandKind, Stamp)   { return kindClock, c.Stamp }
func (c *Config) command() (commandKind, Stamp)  { return kindConfig, c.Stamp }

func (c *Request) body(b *cryptobyte.Builder) {
	b.AddBytes(c.Node[:])
	b.AddBytes(c.Tag[:])
	b.AddBytes(c.Signed.Encode())
}

func (c *Expire) body(b *cryptobyte.Builder) {
	b.AddUint64(uint64(c.UpTo))
	b.AddUint32(c.Max)
}

func (c *Clock) body(b *cryptobyte.Builder) { b.AddUint64(uint64(c.To)) }

func (c *Config) body(b *cryptobyte.Builder) {
	b.AddUint64(c.Number)
	b.AddUint64(c.DirectoryVersion)
	b.AddUint64(c.QuotaBytes)
	b.AddUint8(c.StampDifficulty)
	b.AddUint8(c.Replicas)
	b.AddBytes(c.Slots[:])
}

// EncodeCommand returns version u8 | kind u8 | stamp time u64 | allowance u32 | body (docs/formats.md,
// section 8.1).
func EncodeCommand(c Command) []byte {
	var b cryptobyte.Builder
	kind, stamp := c.command()
	b.AddUint8(commandVersion)
	b.AddUint8(uint8(kind))
	b.AddUint64(uint64(stamp.Time))
	b.AddUint32(stamp.Allowance)
	c.body(&b)
	return b.BytesOrPanic()
}

// DecodeCommand reads what EncodeCommand wrote. A request's bytes alias p.
func DecodeCommand(p []byte) (Command, error) {
	bad := func(format string, args ...any) (Command, error) {
		return nil, fault.New(fault.Invalid, "decode command", format, args...)
	}
	s := cryptobyte.String(p)
	var version, kind uint8
	var at uint64
	var stamp Stamp
	if !s.ReadUint8(&version) || version != commandVersion {
		return bad("version %d, want %d", version, commandVersion)
	}
	if !s.ReadUint8(&kind) || !s.ReadUint64(&at) || at > maxTime || !s.ReadUint32(&stamp.Allowance) {
		return bad("ends in its header, or its stamp is out of range")
	}
	stamp.Time = int64(at)
	var c Command
	ok := false
	switch commandKind(kind) {
	case kindRequest:
		c, ok = decodeRequestCommand(&s, stamp)
	case kindExpire:
		e := &Expire{Stamp: stamp}
		ok = readTime(&s, &e.UpTo) && s.ReadUint32(&e.Max)
		c = e
	case kindClock:
		k := &Clock{Stamp: stamp}
		ok = readTime(&s, &k.To)
		c = k
	case kindConfig:
		f := &Config{Stamp: stamp}
		ok = s.ReadUint64(&f.Number) && s.ReadUint64(&f.DirectoryVersion) && s.ReadUint64(&f.QuotaBytes) &&
			s.ReadUint8(&f.StampDifficulty) && s.ReadUint8(&f.Replicas) && s.CopyBytes(f.Slots[:])
		c = f
	default:
		return bad("kind %d is unknown", kind)
	}
	if !ok || !s.Empty() {
		return bad("kind %d is malformed", kind)
	}
	return c, nil
}

func decodeRequestCommand(s *cryptobyte.String, stamp Stamp) (Command, bool) {
	c := &Request{Stamp: stamp}
	if !s.CopyBytes(c.Node[:]) || !s.CopyBytes(c.Tag[:]) {
		return nil, false
	}
	signed, err := envelope.DecodeSigned(*s)
	if err != nil {
		return nil, false
	}
	c.Signed, *s = signed, nil
	return c, true
}

// maxTime bounds every time on the wire, so that adding a lifetime never overflows (year 6429).
const maxTime = 1 << 47

func readTime(s *cryptobyte.String, t *int64) bool {
	var v uint64
	if !s.ReadUint64(&v) || v > maxTime {
		return false
	}
	*t = int64(v)
	return true
}
