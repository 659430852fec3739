package devicesync

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/ident"
)

// Clock is a hybrid logical clock: wall time, a count within it, and the device that wrote.
type Clock struct {
	Wall   int64 // Unix milliseconds
	Count  uint16
	Device ident.DeviceID
}

// Compare orders clocks: wall, count, device.
func (c Clock) Compare(d Clock) int {
	if n := cmp.Compare(c.Wall, d.Wall); n != 0 {
		return n
	}
	if n := cmp.Compare(c.Count, d.Count); n != 0 {
		return n
	}
	return bytes.Compare(c.Device[:], d.Device[:])
}

// key names an entry.
type key struct {
	field   Field // of a tombstone: its document, number 0, shape 0
	subject string
	element string // of a set
}

func (k key) compare(l key) int {
	return cmp.Or(
		cmp.Compare(k.field.Doc, l.field.Doc), strings.Compare(k.subject,
			l.subject), cmp.Compare(k.field.Shape, l.field.Shape),
		cmp.Compare(k.field.No, l.field.No), strings.Compare(k.element, l.element),
	)
}

// dot counts a device's additions of one element, and how many of them were seen by a removal.
type dot struct {
	device         ident.DeviceID
	added, removed uint32
}

// entry is what one key holds; which fields are set depends on the key's shape.
type entry struct {
	key    key
	clock  Clock  // tombstone, Latest
	value  []byte // Latest
	number uint64 // Highest
	dots   []dot  // Set, sorted by device
}

// present reports whether a set holds the element.
func (e *entry) present() bool {
	return slices.ContainsFunc(e.dots, func(d dot) bool { return d.added > d.removed })
}

// join takes what f adds to e, an entry of the same key, and reports whether that changed e.
func (e *entry) join(f *entry) bool {
	switch e.key.field.Shape {
	case tombstone:
		if f.clock.Compare(e.clock) <= 0 {
			return false
		}
		e.clock = f.clock
		return true
	case Latest:
		if c := f.clock.Compare(e.clock); c < 0 || c == 0 && bytes.Compare(f.value, e.value) <= 0 {
			return false
		}
		e.clock, e.value = f.clock, f.value
		return true
	case Highest:
		if f.number <= e.number {
			return false
		}
		e.number = f.number
		return true
	default:
		return e.joinDots(f.dots)
	}
}

func (e *entry) joinDots(dots []dot) (changed bool) {
	out := slices.Clone(e.dots) // rows and deltas may share the old slice
	for _, d := range dots {
		i, ok := slices.BinarySearchFunc(out, d,
			func(a, b dot) int { return bytes.Compare(a.device[:], b.device[:]) })
		if !ok {
			if len(out) < 255 { // what the encoding holds; an account has 16 devices at a time
				out, changed = slices.Insert(out, i, d), true
			}
			continue
		}
		j := dot{d.device, max(out[i].added, d.added), max(out[i].removed, d.removed)}
		changed = changed || j != out[i]
		out[i] = j
	}
	e.dots = out
	return changed
}

// within reports whether e adds nothing to f.
func (e *entry) within(f *entry) bool {
	g := *f
	return !g.join(e)
}

func addClock(b *cryptobyte.Builder, c Clock) {
	b.AddUint64(uint64(c.Wall))
	b.AddUint16(c.Count)
	b.AddBytes(c.Device[:])
}

func readClock(s *cryptobyte.String, c *Clock) bool {
	var wall uint64
	if !s.ReadUint64(&wall) || wall > maxWall || !s.ReadUint16(&c.Count) || !s.CopyBytes(c.Device[:]) {
		return false
	}
	c.Wall = int64(wall)
	return true
}

// maxWall is the year 9999: no sum of clocks overflows.
const maxWall = 253_402_300_799_999

// add writes an entry: docs/formats.md, section 7.4.
func (e *entry) add(b *cryptobyte.Builder) {
	b.AddUint8(uint8(e.key.field.Doc))
	b.AddUint16(e.key.field.No)
	b.AddUint8(uint8(e.key.field.Shape))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(e.key.subject)) })
	switch e.key.field.Shape {
	case tombstone:
		addClock(b, e.clock)
	case Latest:
		addClock(b, e.clock)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.value) })
	case Highest:
		b.AddUint64(e.number)
	case Set:
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(e.key.element)) })
		b.AddUint8(uint8(len(e.dots)))
		for _, d := range e.dots {
			b.AddBytes(d.device[:])
			b.AddUint32(d.added)
			b.AddUint32(d.removed)
		}
	}
}

// size is the length that add writes.
func (e *entry) size() int {
	n := 5 + len(e.key.subject)
	switch e.key.field.Shape {
	case tombstone:
		return n + 26
	case Latest:
		return n + 28 + len(e.value)
	case Highest:
		return n + 8
	default:
		return n + 2 + len(e.key.element) + 24*len(e.dots)
	}
}

// read reads an entry. Its value aliases s.
func (e *entry) read(s *cryptobyte.String) bool {
	var doc, shape uint8
	var subject cryptobyte.String
	if !s.ReadUint8(&doc) || doc == 0 || !s.ReadUint16(&e.key.field.No) || !s.ReadUint8(&shape) ||
		shape > uint8(Set) ||
		!s.ReadUint8LengthPrefixed(&subject) || len(subject) > MaxSubject {
		return false
	}
	e.key.field.Doc, e.key.field.Shape = Doc(doc), Shape(shape)
	if e.key.subject != string(subject) {
		e.key.subject = string(subject)
	}
	switch e.key.field.Shape {
	case tombstone:
		return e.key.field.No == 0 && readClock(s, &e.clock)
	case Latest:
		var value cryptobyte.String
		if !readClock(s, &e.clock) || !s.ReadUint16LengthPrefixed(&value) || len(value) > MaxValue {
			return false
		}
		e.value = value
		return true
	case Highest:
		return s.ReadUint64(&e.number)
	default:
		return e.readSet(s)
	}
}

func (e *entry) readSet(s *cryptobyte.String) bool {
	var element cryptobyte.String
	var n uint8
	if !s.ReadUint8LengthPrefixed(&element) || !s.ReadUint8(&n) || n == 0 {
		return false
	}
	e.key.element, e.dots = string(element), make([]dot, n)
	for i := range e.dots {
		d := &e.dots[i]
		if !s.CopyBytes(d.device[:]) || !s.ReadUint32(&d.added) || !s.ReadUint32(&d.removed) ||
			d.removed > d.added ||
			i > 0 && bytes.Compare(e.dots[i-1].device[:], d.device[:]) >= 0 {
			return false
		}
	}
	return true
}
