package devicesync

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
)

// First bytes of the encodings.
const (
	versionDelta    = 1
	versionSnapshot = 2
	versionManifest = 3
	versionRow      = 4
)

// maxAheadMS is how far an entry's clock may be past the node's time on the delta that first carried it.
const maxAheadMS = 10 * 60_000

// tombLifeMS outlives the longest time that a device can be away and still belong to its account.
const tombLifeMS = 45 * 86_400_000

func encodeEntries(version uint8, entries []entry) []byte {
	var b cryptobyte.Builder
	b.AddUint8(version)
	b.AddUint16(uint16(len(entries)))
	for i := range entries {
		entries[i].add(&b)
	}
	return b.BytesOrPanic()
}

func decodeEntries(op string, version uint8, p []byte) ([]entry, error) {
	bad := fault.New(fault.Corrupt, op, "malformed")
	if len(p) > MaxDelta {
		return nil, fault.New(fault.Corrupt, op, "has %d bytes, want at most %d", len(p), MaxDelta)
	}
	s := cryptobyte.String(bytes.Clone(p)) // values alias it
	var got uint8
	var n uint16
	if !s.ReadUint8(&got) || got != version {
		return nil, fault.New(fault.Corrupt, op, "version %d, want %d", got, version)
	}
	if !s.ReadUint16(&n) || int(n)*minEntry > len(s) {
		return nil, bad
	}
	out := make([]entry, n)
	for i := range out {
		if i > 0 {
			out[i].key.subject = out[i-1].key.subject // most often the same: read keeps it then
		}
		if !out[i].read(&s) || i > 0 && out[i-1].key.compare(out[i].key) >= 0 {
			return nil, bad
		}
	}
	if !s.Empty() {
		return nil, bad
	}
	return out, nil
}

// minEntry is the size of the smallest entry: a Highest field of the subject "".
const minEntry = 13

func sortKeys(keys []subjectKey) []subjectKey {
	slices.SortFunc(keys, func(a, b subjectKey) int {
		return cmp.Or(cmp.Compare(a.doc, b.doc), strings.Compare(a.name, b.name))
	})
	return keys
}

// Delta encodes dirty changes, at most MaxDelta bytes of them (call again after Acked for the rest); nil if
// there are none. Keep the bytes for retries: a later Delta may hold more.
func (r *Replica) Delta() []byte {
	if r.dirty == 0 {
		return nil
	}
	var out []entry
	size := 3
	var keys []subjectKey
	for k, s := range r.subjects {
		if len(s.dirty) > 0 {
			keys = append(keys, k)
		}
	}
	for _, k := range sortKeys(keys) {
		for _, e := range r.subjects[k].dirty {
			if size += e.size(); size > MaxDelta {
				return encodeEntries(versionDelta, out)
			}
			out = append(out, e)
		}
	}
	return encodeEntries(versionDelta, out)
}

// Acked settles the changes of an own delta that the node stored at storedAt. Changes made since stay dirty.
func (r *Replica) Acked(delta []byte, storedAt int64) error {
	entries, err := decodeEntries("settle delta", versionDelta, delta)
	if err != nil {
		return err
	}
	for i := range entries {
		e := entries[i]
		k := subjectKey{e.key.field.Doc, e.key.subject}
		s := r.subject(k)
		if j, ok := find(s.dirty, e.key); ok && s.dirty[j].within(&e) {
			s.dirty = slices.Delete(s.dirty, j, j+1)
			r.dirty--
			r.changed[k] = struct{}{}
		}
	}
	r.merge(entries, storedAt+maxAheadMS)
	if r.dirty == 0 {
		r.ahead = Clock{}
	}
	return nil
}

// Touched is a subject that a merge changed.
type Touched struct {
	Doc     Doc
	Subject string
}

// MergeDelta takes in a delta that the node stored at storedAt, from any device of the account.
func (r *Replica) MergeDelta(delta []byte, storedAt int64) ([]Touched, error) {
	entries, err := decodeEntries("merge delta", versionDelta, delta)
	if err != nil {
		return nil, err
	}
	return r.merge(entries, storedAt+maxAheadMS), nil
}

// lower caps the clocks of a delta at limit. Those that are past it keep their order, as the count says their
// rank: what a device did last still counts last.
func lower(entries []entry, limit int64) {
	var late []*entry
	for i := range entries {
		if e := &entries[i]; (e.key.field.Shape == tombstone || e.key.field.Shape == Latest) &&
			e.clock.Wall > limit {
			late = append(late, e)
		}
	}
	slices.SortStableFunc(late, func(a, b *entry) int { return a.clock.Compare(b.clock) })
	for rank, e := range late {
		e.clock.Wall, e.clock.Count = limit, uint16(rank) // a delta has fewer than 7,000 entries
	}
}

func (r *Replica) merge(entries []entry, limit int64) (touched []Touched) {
	lower(entries, limit)
	for len(entries) > 0 {
		k := subjectKey{entries[0].key.field.Doc, entries[0].key.subject}
		n := 1
		for n < len(entries) && entries[n].key.field.Doc == k.doc && entries[n].key.subject == k.name {
			n++
		}
		if r.settle(k, entries[:n]) {
			touched = append(touched, Touched{k.doc, k.name})
		}
		entries = entries[n:]
	}
	return touched
}

// Snapshot encodes everything that is settled, in parts of at most MaxDelta bytes, each of which stands
// alone. Equal replicas have equal snapshots.
func (r *Replica) Snapshot() [][]byte {
	var parts [][]byte
	var part []entry
	size := 3
	for _, k := range sortKeys(slices.Collect(maps.Keys(r.subjects))) {
		for _, e := range r.subjects[k].settled {
			if size+e.size() > MaxDelta {
				parts, part, size = append(parts, encodeEntries(versionSnapshot, part)), nil, 3
			}
			size += e.size()
			part = append(part, e)
		}
	}
	if len(part) > 0 {
		parts = append(parts, encodeEntries(versionSnapshot, part))
	}
	return parts
}

// MergeSnapshot takes in one part. Snapshots hold settled clocks only, so nothing is lowered.
func (r *Replica) MergeSnapshot(part []byte) ([]Touched, error) {
	entries, err := decodeEntries("merge snapshot", versionSnapshot, part)
	if err != nil {
		return nil, err
	}
	return r.merge(entries, maxWall), nil
}

// Collect drops settled tombstones that are older than 45 days.
func (r *Replica) Collect(now int64) {
	for k, s := range r.subjects {
		t := get(s.settled, tombKey(k))
		if t == nil || t.clock.Wall > now-tombLifeMS {
			continue
		}
		s.settled = slices.DeleteFunc(s.settled, func(e entry) bool { return e.key.field.Shape == tombstone })
		r.changed[k] = struct{}{}
	}
}

// Row is a subject as it lies on disk. Value nil: delete the row.
type Row struct{ Key, Value []byte }

// Changed returns the rows that changed since the last call, to be written before anything is sent or
// acknowledged.
func (r *Replica) Changed() []Row {
	var out []Row
	for k := range r.changed {
		row := Row{Key: append([]byte{byte(k.doc)}, k.name...)}
		if s := r.subjects[k]; len(s.settled)+len(s.dirty) > 0 {
			var b cryptobyte.Builder
			b.AddUint8(versionRow)
			for _, layer := range [...][]entry{s.settled, s.dirty} {
				b.AddUint16(uint16(len(layer)))
				for i := range layer {
					layer[i].add(&b)
				}
			}
			row.Value = b.BytesOrPanic()
		} else {
			delete(r.subjects, k)
		}
		out = append(out, row)
	}
	clear(r.changed)
	slices.SortFunc(out, func(a, b Row) int { return slices.Compare(a.Key, b.Key) })
	return out
}

// Load adds a row from disk.
func (r *Replica) Load(row Row) error {
	bad := fault.New(fault.Corrupt, "load document row", "malformed")
	s := cryptobyte.String(bytes.Clone(row.Value))
	var version uint8
	if len(row.Key) == 0 || !s.ReadUint8(&version) || version != versionRow {
		return bad
	}
	k := subjectKey{Doc(row.Key[0]), string(row.Key[1:])}
	var layers [2][]entry
	for i := range layers {
		var n uint16
		if !s.ReadUint16(&n) || int(n)*minEntry > len(s) {
			return bad
		}
		for range n {
			var e entry
			if !e.read(&s) || e.key.field.Doc != k.doc || e.key.subject != k.name {
				return bad
			}
			layers[i] = append(layers[i], e)
		}
	}
	if !s.Empty() || len(layers[0])+len(layers[1]) == 0 {
		return bad
	}
	r.settle(k, layers[0])
	for _, e := range layers[1] {
		if e.clock.Compare(r.ahead) > 0 {
			r.ahead = e.clock
		}
		r.touch(e)
	}
	delete(r.changed, k)
	return nil
}
