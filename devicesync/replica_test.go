package devicesync

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/ident"
)

const start = int64(1_900_000_000_000)

var (
	testSet   = Field{Groups, 900, Set}
	testLate  = Field{Contacts, 901, Latest}
	testField = []Field{ContactNick, ContactBlocked, testLate}
)

// log is the sync namespace: deltas with the time that the node stamped on them.
type log []struct {
	delta []byte
	at    int64
}

// push stores a replica's delta and settles it.
func (l *log) push(t tb, r *Replica, at int64) {
	t.Helper()
	for {
		d := r.Delta()
		if d == nil {
			return
		}
		*l = append(*l, struct {
			delta []byte
			at    int64
		}{d, at})
		if err := r.Acked(d, at); err != nil {
			t.Fatal(err)
		}
	}
}

func mergeAll(t tb, r *Replica, l log, order []int) {
	t.Helper()
	for _, i := range order {
		if _, err := r.MergeDelta(l[i].delta, l[i].at); err != nil {
			t.Fatal(err)
		}
	}
}

// tb is what testing.TB and rapid.T have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
}

func device(i int) ident.DeviceID { return ident.DeviceID{byte(i + 1)} }

func settledBytes(r *Replica) []byte { return bytes.Join(r.Snapshot(), nil) }

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNewestValueWinsFieldByField(t *testing.T) {
	a, b := New(device(0)), New(device(1))
	must(t, a.Set(start, ContactNick, "bob", Text("Bobby")))
	must(t, a.Set(start, ContactBlocked, "bob", Bool(true)))
	must(t, b.Set(start+1, ContactNick, "bob", Text("Robert")))
	var l log
	l.push(t, a, start+5)
	l.push(t, b, start+6)
	for _, r := range []*Replica{a, b} {
		mergeAll(t, r, l, []int{1, 0})
		nick, _ := r.Get(ContactNick, "bob")
		blocked, _ := r.Get(ContactBlocked, "bob")
		if string(nick) != "Robert" || !IsTrue(blocked) {
			t.Errorf("got nick %q blocked %v, want Robert, true", nick, blocked)
		}
	}
}

func TestRemovedSubjectStaysRemovedAndCanReturn(t *testing.T) {
	a, b := New(device(0)), New(device(1))
	var l log
	must(t, a.Set(start, ContactNick, "bob", Text("Bobby")))
	must(t, a.Raise(ConvReadUpTo, "bob", 7))
	l.push(t, a, start)
	must(t, b.Set(start, ContactBlocked, "bob", Bool(true))) // offline, older than the removal
	must(t, a.Remove(start+10, Contacts, "bob"))
	l.push(t, a, start+10)
	l.push(t, b, start+20)
	for _, r := range []*Replica{a, b} {
		mergeAll(t, r, l, []int{2, 0, 1, 0})
		if got := r.Subjects(Contacts); len(got) != 0 {
			t.Errorf("a removed contact is back: %v", got)
		}
		if got := r.Number(ConvReadUpTo, "bob"); got != 7 {
			t.Errorf("read up to %d, want 7", got)
		}
	}
	must(t, b.Set(start+30, ContactNick, "bob", Text("again")))
	if _, ok := b.Get(ContactBlocked, "bob"); ok || len(b.Subjects(Contacts)) != 1 {
		t.Error("a contact that returns brings old fields with it, or does not return")
	}
}

func TestSetRemovalSparesWhatItHasNotSeen(t *testing.T) {
	a, b := New(device(0)), New(device(1))
	var l log
	must(t, a.Add(testSet, "g", []byte("x")))
	l.push(t, a, start)
	mergeAll(t, b, l, []int{0})
	must(t, a.Discard(testSet, "g", []byte("x")))
	must(t, b.Discard(testSet, "g", []byte("x")))
	must(t, b.Add(testSet, "g", []byte("x"))) // added anew, unseen by a's removal
	l.push(t, a, start)
	l.push(t, b, start)
	for _, r := range []*Replica{a, b} {
		mergeAll(t, r, l, []int{2, 1, 0})
		if got := r.Elements(testSet, "g"); len(got) != 1 || string(got[0]) != "x" {
			t.Errorf("got %q, want x", got)
		}
	}
}

func TestClockAheadIsCappedForEverybodyAlike(t *testing.T) {
	ahead, right := New(device(0)), New(device(1))
	year := start + 365*86_400_000
	must(t, ahead.Set(year, ContactNick, "bob", Text("first")))
	must(t, ahead.Remove(year+1, Contacts, "bob"))
	must(t, ahead.Set(year+2, ContactNick, "bob", Text("second")))
	if got, _ := ahead.Get(ContactNick, "bob"); string(got) != "second" {
		t.Fatalf("got %q, want second", got)
	}
	var l log
	l.push(t, ahead, start)
	mergeAll(t, right, l, []int{0})
	must(t, right.Set(start+maxAheadMS+1, ContactNick, "bob", Text("third")))
	l.push(t, right, start+maxAheadMS+1)
	for i, r := range []*Replica{ahead, right} {
		mergeAll(t, r, l, []int{1, 0})
		if got, _ := r.Get(ContactNick, "bob"); string(got) != "third" {
			t.Errorf("replica %d: got %q, want third: a wrong clock must not win for a year", i, got)
		}
	}
	if !bytes.Equal(settledBytes(ahead), settledBytes(right)) {
		t.Error("replicas differ")
	}
}

func TestLoweredClocksKeepTheirOrder(t *testing.T) {
	ahead, other := New(device(0)), New(device(1))
	year := start + 365*86_400_000
	must(t, ahead.Set(year, ContactNick, "bob", Text("old")))
	must(t, ahead.Remove(year+5, Contacts, "bob"))
	must(t, ahead.Set(year+9, ContactBlocked, "bob", Bool(true)))
	var l log
	l.push(t, ahead, start)
	mergeAll(t, other, l, []int{0})
	if v, _ := other.Get(ContactBlocked, "bob"); !IsTrue(v) {
		t.Error("what was set after the removal is gone")
	}
	if _, ok := other.Get(ContactNick, "bob"); ok {
		t.Error("what was set before the removal is back")
	}
}

func TestChangesSinceTheDeltaStayDirty(t *testing.T) {
	r := New(device(0))
	must(t, r.Set(start, ContactNick, "bob", Text("one")))
	d := r.Delta()
	must(t, r.Set(start+1, ContactNick, "bob", Text("two")))
	must(t, r.Acked(d, start+2))
	if r.Dirty() != 1 {
		t.Fatalf("%d dirty, want 1", r.Dirty())
	}
	must(t, r.Acked(r.Delta(), start+3))
	if got, _ := r.Get(ContactNick, "bob"); string(got) != "two" || r.Dirty() != 0 || r.Delta() != nil {
		t.Errorf("got %q with %d dirty, want two with none", got, r.Dirty())
	}
}

func TestRowsBringAReplicaBack(t *testing.T) {
	disk := make(map[string][]byte)
	write := func(r *Replica) {
		for _, row := range r.Changed() {
			if row.Value == nil {
				delete(disk, string(row.Key))
				continue
			}
			disk[string(row.Key)] = row.Value
		}
	}
	r := New(device(0))
	for i := range 50 {
		must(t, r.Set(start, ContactNick, fmt.Sprint(i), Text("n")))
	}
	write(r)
	must(t, r.Acked(r.Delta(), start))
	must(t, r.Remove(start+1, Contacts, "7"))
	must(t, r.Add(testSet, "g", []byte("x")))
	write(r)
	back := New(device(0))
	for k, v := range disk {
		must(t, back.Load(Row{Key: []byte(k), Value: v}))
	}
	if !bytes.Equal(settledBytes(back), settledBytes(r)) || !bytes.Equal(back.Delta(), r.Delta()) ||
		back.Dirty() != r.Dirty() {
		t.Error("a replica changes on its way over disk")
	}
	if len(back.Changed()) != 0 {
		t.Error("loading counts as a change")
	}
	must(t, r.Acked(r.Delta(), start+1))
	r.Collect(start + 46*86_400_000)
	write(r)
	if len(disk) != 50 {
		t.Errorf("%d rows after the tombstone went, want 50", len(disk))
	}
}

func TestLargeChangesTravelInSeveralDeltas(t *testing.T) {
	r, other := New(device(0)), New(device(1))
	for i := range 40 {
		must(t, r.Set(start, ContactNick, fmt.Sprint(i), bytes.Repeat([]byte{'x'}, MaxValue)))
	}
	var l log
	l.push(t, r, start)
	if len(l) < 4 {
		t.Fatalf("%d deltas, want several", len(l))
	}
	for _, d := range l {
		if len(d.delta) > MaxDelta {
			t.Errorf("delta of %d bytes, want at most %d", len(d.delta), MaxDelta)
		}
		_, err := other.MergeDelta(d.delta, d.at)
		must(t, err)
	}
	fresh := New(device(2))
	for _, p := range r.Snapshot() {
		_, err := fresh.MergeSnapshot(p)
		must(t, err)
	}
	if !bytes.Equal(settledBytes(other), settledBytes(fresh)) || len(fresh.Subjects(Contacts)) != 40 {
		t.Error("deltas and snapshot lead to different replicas")
	}
}

// naive is the model of the join: the whole history of settled entries, from which every answer is computed
// anew.
type naive struct{ history []entry }

func (n *naive) learn(t tb, delta []byte, at int64) {
	entries, err := decodeEntries("model", versionDelta, delta)
	must(t, err)
	lower(entries, at+maxAheadMS)
	n.history = append(n.history, entries...)
}

// view is what people see: subject and field to value.
func (n *naive) view() map[string]string {
	tombs, best, numbers := map[string]Clock{}, map[string]entry{}, map[string]uint64{}
	dots := map[string]map[ident.DeviceID]dot{}
	for _, e := range n.history {
		id := fmt.Sprintf("%d/%s", e.key.field.Doc, e.key.subject)
		path := fmt.Sprintf("%s/%d", id, e.key.field.No)
		switch e.key.field.Shape {
		case tombstone:
			if c, ok := tombs[id]; !ok || e.clock.Compare(c) > 0 {
				tombs[id] = e.clock
			}
		case Latest:
			if b, ok := best[path]; !ok || e.clock.Compare(b.clock) > 0 {
				best[path] = e
			}
		case Highest:
			numbers[path] = max(numbers[path], e.number)
		case Set:
			path += "/" + e.key.element
			if dots[path] == nil {
				dots[path] = map[ident.DeviceID]dot{}
			}
			for _, d := range e.dots {
				o := dots[path][d.device]
				dots[path][d.device] = dot{d.device, max(o.added, d.added), max(o.removed, d.removed)}
			}
		}
	}
	out := map[string]string{}
	for path, e := range best {
		id := fmt.Sprintf("%d/%s", e.key.field.Doc, e.key.subject)
		if c, ok := tombs[id]; !ok || e.clock.Compare(c) > 0 {
			out[path] = string(e.value)
		}
	}
	for path, v := range numbers {
		out[path] = fmt.Sprint(v)
	}
	for path, ds := range dots {
		for _, d := range ds {
			if d.added > d.removed {
				out[path] = "in"
			}
		}
	}
	return out
}

func view(r *Replica) map[string]string {
	out := map[string]string{}
	for k, s := range r.subjects {
		for _, layer := range [][]entry{s.settled, s.dirty} {
			for _, e := range layer {
				path := fmt.Sprintf("%d/%s/%d", k.doc, k.name, e.key.field.No)
				switch e.key.field.Shape {
				case Latest:
					if v, ok := r.Get(e.key.field, k.name); ok {
						out[path] = string(v)
					}
				case Highest:
					out[path] = fmt.Sprint(r.Number(e.key.field, k.name))
				case Set:
					for _, el := range r.Elements(e.key.field, k.name) {
						out[path+"/"+string(el)] = "in"
					}
				}
			}
		}
	}
	return out
}

// TestReplicasConverge drives three to five devices with wrong clocks, lost acknowledgements, reordered and
// repeated deltas, snapshots and restarts, and compares them with each other and with the model.
func TestReplicasConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 5).Draw(t, "devices")
		replicas := make([]*Replica, n)
		skew := make([]int64, n)
		for i := range replicas {
			replicas[i] = New(device(i))
			skew[i] = rapid.SampledFrom([]int64{0, 0, -600_000, 600_000, 31_536_000_000}).Draw(t, "skew")
		}
		now, l, model := start, log{}, &naive{}
		subject := rapid.SampledFrom([]string{"a", "b"})
		value := rapid.SampledFrom([]string{"", "x", "y", "z"})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.Int64Range(0, 400_000).Draw(t, "pause")
			i := rapid.IntRange(0, n-1).Draw(t, "who")
			r, clock := replicas[i], now+skew[i]
			switch rapid.IntRange(0, 8).Draw(t, "what") {
			case 0, 1:
				f := rapid.SampledFrom(testField).Draw(t, "field")
				must(t, r.Set(clock, f, subject.Draw(t, "subject"), Text(value.Draw(t, "value"))))
			case 2:
				must(t, r.Remove(clock, Contacts, subject.Draw(t, "subject")))
			case 3:
				must(t, r.Raise(ConvReadUpTo, subject.Draw(t, "subject"),
					rapid.Uint64Range(0, 9).Draw(t, "number")))
			case 4:
				must(t, r.Add(testSet, "g", Text(value.Draw(t, "value"))))
			case 5:
				must(t, r.Discard(testSet, "g", Text(value.Draw(t, "value"))))
			case 6: // push; the acknowledgement may get lost
				if d := r.Delta(); d != nil {
					l = append(l, log{{d, now}}...)
					model.learn(t, d, now)
					if rapid.Bool().Draw(t, "acknowledged") {
						must(t, r.Acked(d, now))
					}
				}
			case 7: // any delta, whenever and however often
				if len(l) > 0 {
					d := l[rapid.IntRange(0, len(l)-1).Draw(t, "delta")]
					_, err := r.MergeDelta(d.delta, d.at)
					must(t, err)
				}
			case 8: // a snapshot of another device, or a restart from disk
				if rapid.Bool().Draw(t, "restart") {
					replicas[i] = restart(t, r)
					continue
				}
				for _, p := range replicas[(i+1)%n].Snapshot() {
					_, err := r.MergeSnapshot(p)
					must(t, err)
				}
			}
		}
		now += 1
		for _, r := range replicas {
			at := len(l)
			l.push(t, r, now)
			for _, d := range l[at:] {
				model.learn(t, d.delta, d.at)
			}
		}
		want := model.view()
		for i, r := range replicas {
			for _, j := range rapid.Permutation(indices(len(l))).Draw(t, "order") {
				_, err := r.MergeDelta(l[j].delta, l[j].at)
				must(t, err)
			}
			if got := view(r); !maps.Equal(got, want) {
				t.Fatalf("device %d: got %v, want %v", i, got, want)
			}
			if !bytes.Equal(settledBytes(r), settledBytes(replicas[0])) {
				t.Fatalf("device %d and 0 differ in their snapshots", i)
			}
		}
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func restart(t tb, r *Replica) *Replica {
	t.Helper()
	for k := range r.subjects {
		r.changed[k] = struct{}{}
	}
	rows := r.Changed()
	slices.Reverse(rows)
	out := New(r.device)
	for _, row := range rows {
		must(t, out.Load(row))
	}
	return out
}

func TestTwentyThousandContactsFitASnapshot(t *testing.T) {
	if testing.Short() {
		t.Skip("20,000 contacts")
	}
	r := New(device(0))
	for i := range 20_000 {
		s := fmt.Sprintf("%033d", i)
		must(t, r.Set(start, ContactName, s, Text("name of somebody")))
		must(t, r.Set(start, ContactApproved, s, Bool(true)))
		must(t, r.Set(start, ContactAddedAt, s, Uint(uint64(start))))
	}
	for d := r.Delta(); d != nil; d = r.Delta() {
		must(t, r.Acked(d, start))
	}
	parts := r.Snapshot()
	if len(parts) > MaxParts {
		t.Errorf("%d parts, want at most %d", len(parts), MaxParts)
	}
	fresh := New(device(1))
	before := time.Now()
	for _, p := range parts {
		_, err := fresh.MergeSnapshot(p)
		must(t, err)
	}
	t.Logf("20,000 contacts in %d parts merged in %s", len(parts), time.Since(before))
	if got := len(fresh.Subjects(Contacts)); got != 20_000 {
		t.Errorf("%d contacts, want 20000", got)
	}
}

func BenchmarkMerge20000Contacts(b *testing.B) {
	r := New(device(0))
	for i := range 20_000 {
		s := fmt.Sprintf("%033d", i)
		must(b, r.Set(start, ContactName, s, Text("name of somebody")))
		must(b, r.Set(start, ContactApproved, s, Bool(true)))
		must(b, r.Set(start, ContactAddedAt, s, Uint(uint64(start))))
	}
	for d := r.Delta(); d != nil; d = r.Delta() {
		must(b, r.Acked(d, start))
	}
	parts := r.Snapshot()
	for b.Loop() {
		fresh := New(device(1))
		for _, p := range parts {
			if _, err := fresh.MergeSnapshot(p); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func TestRemovedElementIsNotBroughtBackByOldDeltas(t *testing.T) {
	a, b := New(device(0)), New(device(1))
	var l log
	must(t, a.Add(testSet, "g", []byte("x")))
	l.push(t, a, start)
	must(t, a.Discard(testSet, "g", []byte("x")))
	l.push(t, a, start)
	mergeAll(t, b, l, []int{1, 0, 1, 0})
	mergeAll(t, a, l, []int{0})
	if len(a.Elements(testSet, "g"))+len(b.Elements(testSet, "g")) != 0 {
		t.Error("a removed element is back")
	}
}

func TestWhatIsDoneLaterWinsWhateverTheClockSays(t *testing.T) {
	a, b := New(device(1)), New(device(0))
	var l log
	must(t, a.Set(start, ContactNick, "bob", Text("one")))
	must(t, a.Set(start, ContactNick, "bob", Text("two")))
	l.push(t, a, start)
	mergeAll(t, b, l, []int{0})
	// a clock behind, but a's change was seen
	must(t, b.Set(start-500_000, ContactNick, "bob", Text("three")))
	l.push(t, b, start)
	for _, r := range []*Replica{a, b} {
		mergeAll(t, r, l, []int{1, 0})
		if got, _ := r.Get(ContactNick, "bob"); string(got) != "three" {
			t.Errorf("got %q, want three", got)
		}
	}
}
