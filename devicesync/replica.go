package devicesync

import (
	"bytes"
	"slices"
	"strings"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Replica is one device's copy of all documents. Not safe for concurrent use.
//
// It keeps two layers: what is settled, which only ever holds clocks that every device sees alike, and what
// is dirty, whose clocks may still be lowered when the node says what time it was. What callers read is the
// join of both.
type Replica struct {
	device   ident.DeviceID
	subjects map[subjectKey]*subject
	changed  map[subjectKey]struct{}
	dirty    int   // entries
	newest   Clock // of the settled entries
	ahead    Clock // of the dirty ones
}

type subjectKey struct {
	doc  Doc
	name string
}

// subject holds the entries of one subject, each layer sorted by key. The key of a tombstone sorts first.
type subject struct {
	settled, dirty []entry
}

// New returns an empty replica of a device.
func New(device ident.DeviceID) *Replica {
	return &Replica{device: device, subjects: make(map[subjectKey]*subject),
		changed: make(map[subjectKey]struct{})}
}

func find(in []entry, k key) (int, bool) {
	return slices.BinarySearchFunc(in, k, func(e entry, k key) int { return e.key.compare(k) })
}

func get(in []entry, k key) *entry {
	if i, ok := find(in, k); ok {
		return &in[i]
	}
	return nil
}

// put joins e into a layer.
func put(layer *[]entry, e *entry) (changed bool) {
	i, ok := find(*layer, e.key)
	if ok {
		return (*layer)[i].join(e)
	}
	*layer = slices.Insert(*layer, i, *e)
	return true
}

func tombKey(k subjectKey) key { return key{field: Field{Doc: k.doc}, subject: k.name} }

// bury drops the Latest entries that the layer's tombstone removes: the join of the format, so it happens
// wherever entries meet.
func bury(layer *[]entry, k subjectKey) {
	t := get(*layer, tombKey(k))
	if t == nil {
		return
	}
	clock := t.clock
	*layer = slices.DeleteFunc(*layer, func(e entry) bool {
		return e.key.field.Shape == Latest && e.clock.Compare(clock) <= 0
	})
}

func (r *Replica) subject(k subjectKey) *subject {
	s := r.subjects[k]
	if s == nil {
		s = new(subject)
		r.subjects[k] = s
	}
	return s
}

// settle joins entries into the settled layer.
func (r *Replica) settle(k subjectKey, entries []entry) (changed bool) {
	s := r.subject(k)
	if s.settled == nil {
		s.settled = make([]entry, 0, len(entries))
	}
	for i := range entries {
		e := &entries[i]
		if (e.key.field.Shape == Latest || e.key.field.Shape == tombstone) && e.clock.Compare(r.newest) > 0 {
			r.newest = e.clock
		}
		if e.key.field.Shape == Latest {
			if t := get(s.settled, tombKey(k)); t != nil && e.clock.Compare(t.clock) <= 0 {
				continue
			}
		}
		if put(&s.settled, e) {
			changed = true
			if e.key.field.Shape == tombstone {
				bury(&s.settled, k)
			}
		}
	}
	if changed {
		r.changed[k] = struct{}{}
	}
	return changed
}

// tick returns the next clock of this device.
func (r *Replica) tick(now int64) Clock {
	last := r.newest
	if r.ahead.Compare(last) > 0 {
		last = r.ahead
	}
	c := Clock{Wall: min(max(now, 0), maxWall), Device: r.device}
	if c.Wall <= last.Wall {
		c.Wall, c.Count = last.Wall, last.Count+1
		if c.Count == 0 {
			c.Wall++
		}
	}
	r.ahead = c
	return c
}

// touch puts an entry of this device into the dirty layer.
func (r *Replica) touch(e entry) {
	k := subjectKey{e.key.field.Doc, e.key.subject}
	s := r.subject(k)
	before := len(s.dirty)
	put(&s.dirty, &e)
	if e.key.field.Shape == tombstone {
		bury(&s.dirty, k)
	}
	r.dirty += len(s.dirty) - before
	r.changed[k] = struct{}{}
}

// Set gives a Latest field a value; an equal value changes nothing.
func (r *Replica) Set(now int64, f Field, subject string, value []byte) error {
	if err := f.check(Latest, subject); err != nil {
		return err
	}
	if len(value) > MaxValue {
		return fault.New(fault.Invalid, "change document", "value of %d bytes, want at most %d",
			len(value), MaxValue)
	}
	if old, ok := r.Get(f, subject); ok && bytes.Equal(old, value) {
		return nil
	}
	r.touch(entry{key: key{field: f, subject: subject}, clock: r.tick(now), value: bytes.Clone(value)})
	return nil
}

// Raise raises a Highest field to at least n.
func (r *Replica) Raise(f Field, subject string, n uint64) error {
	if err := f.check(Highest, subject); err != nil {
		return err
	}
	if n > r.Number(f, subject) {
		r.touch(entry{key: key{field: f, subject: subject}, number: n})
	}
	return nil
}

// Add puts an element into a Set field.
func (r *Replica) Add(f Field, subject string, element []byte) error {
	e, err := r.element(f, subject, element)
	if err != nil || e.present() {
		return err
	}
	i, ok := slices.BinarySearchFunc(e.dots, r.device,
		func(d dot, id ident.DeviceID) int { return bytes.Compare(d.device[:], id[:]) })
	if !ok {
		if len(e.dots) >= maxDots {
			return fault.New(fault.Limited, "change document",
				"%d devices changed this element, want at most %d", len(e.dots)+1, maxDots)
		}
		e.dots = slices.Insert(e.dots, i, dot{device: r.device})
	}
	e.dots[i].added++
	r.touch(*e)
	return nil
}

// Discard takes an element out of a Set field: the additions that this device has seen, not those it has not.
func (r *Replica) Discard(f Field, subject string, element []byte) error {
	e, err := r.element(f, subject, element)
	if err != nil || !e.present() {
		return err
	}
	for i := range e.dots {
		e.dots[i].removed = e.dots[i].added
	}
	r.touch(*e)
	return nil
}

// element returns a copy of both layers' join.
func (r *Replica) element(f Field, subject string, element []byte) (*entry, error) {
	if err := f.check(Set, subject); err != nil {
		return nil, err
	}
	if len(element) > MaxElement {
		return nil, fault.New(fault.Invalid, "change document", "element of %d bytes, want at most %d",
			len(element), MaxElement)
	}
	k := key{field: f, subject: subject, element: string(element)}
	if e := r.read(k); e != nil {
		e.dots = slices.Clone(e.dots)
		return e, nil
	}
	return &entry{key: k}, nil
}

// Remove deletes a subject with all its Latest fields. Highest and Set fields stay, unseen, for its return.
func (r *Replica) Remove(now int64, doc Doc, subject string) error {
	if doc == 0 || len(subject) > MaxSubject {
		return fault.New(fault.Invalid, "change document", "document %d, subject of %d bytes",
			doc, len(subject))
	}
	if !r.exists(subjectKey{doc, subject}) {
		return nil
	}
	r.touch(entry{key: tombKey(subjectKey{doc, subject}), clock: r.tick(now)})
	return nil
}

// read returns the join of both layers for a key, nil if there is nothing or a tombstone removes it.
func (r *Replica) read(k key) *entry {
	sk := subjectKey{k.field.Doc, k.subject}
	s := r.subjects[sk]
	if s == nil {
		return nil
	}
	var out *entry
	for _, layer := range [...][]entry{s.settled, s.dirty} {
		e := get(layer, k)
		switch {
		case e == nil:
		case out == nil:
			copied := *e
			out = &copied
		default:
			out.join(e)
		}
	}
	if out != nil && k.field.Shape == Latest {
		for _, layer := range [...][]entry{s.settled, s.dirty} {
			if t := get(layer, tombKey(sk)); t != nil && out.clock.Compare(t.clock) <= 0 {
				return nil
			}
		}
	}
	return out
}

func (r *Replica) exists(k subjectKey) bool {
	s := r.subjects[k]
	if s == nil {
		return false
	}
	for _, layer := range [...][]entry{s.settled, s.dirty} {
		for i := range layer {
			if layer[i].key.field.Shape == Latest && r.read(layer[i].key) != nil {
				return true
			}
		}
	}
	return false
}

// Get returns a Latest field's value.
func (r *Replica) Get(f Field, subject string) ([]byte, bool) {
	if e := r.read(key{field: f, subject: subject}); e != nil && f.Shape == Latest {
		return bytes.Clone(e.value), true
	}
	return nil, false
}

// Number returns a Highest field's number, 0 if it was never raised.
func (r *Replica) Number(f Field, subject string) uint64 {
	if e := r.read(key{field: f, subject: subject}); e != nil && f.Shape == Highest {
		return e.number
	}
	return 0
}

// Elements returns what a Set field holds, sorted.
func (r *Replica) Elements(f Field, subject string) [][]byte {
	s := r.subjects[subjectKey{f.Doc, subject}]
	if s == nil || f.Shape != Set {
		return nil
	}
	names := make(map[string]struct{})
	for _, layer := range [...][]entry{s.settled, s.dirty} {
		for i := range layer {
			if layer[i].key.field == f {
				names[layer[i].key.element] = struct{}{}
			}
		}
	}
	var out [][]byte
	for name := range names {
		if e := r.read(key{field: f, subject: subject, element: name}); e.present() {
			out = append(out, []byte(name))
		}
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}

// Subjects returns the subjects of a document, sorted. A subject is there if it has a Latest field.
func (r *Replica) Subjects(doc Doc) []string {
	var out []string
	for k := range r.subjects {
		if k.doc == doc && r.exists(k) {
			out = append(out, k.name)
		}
	}
	slices.SortFunc(out, strings.Compare)
	return out
}

// Dirty is how many changes wait for an acknowledgement.
func (r *Replica) Dirty() int { return r.dirty }
