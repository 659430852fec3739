package devicesync

import (
	"bytes"
	"errors"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
)

// sample is a replica with an entry of every shape, settled and dirty.
func sample(t testing.TB) *Replica {
	r := New(device(0))
	must(t, r.Set(start, ContactNick, "bob", Text("Bobby")))
	must(t, r.Remove(start+1, Contacts, "bob"))
	must(t, r.Set(start+2, ContactNick, "bob", Text("Bob")))
	must(t, r.Raise(ConvReadUpTo, "bob", 42))
	must(t, r.Add(testSet, "g", []byte("x")))
	return r
}

func TestDeltaBytesAreFrozen(t *testing.T) {
	const want = "0100040200000003626f62000001ba60d33801" + "0000" + "01000000000000000000000000000000" +
		"0200020103626f62000001ba60d33802" + "0000" + "01000000000000000000000000000000" + "0003426f62" +
		"0300010203626f62000000000000002a" +
		"0403840301670178" + "01" + "01000000000000000000000000000000" + "0000000100000000"
	got := hexOf(sample(t).Delta())
	if got != want {
		t.Errorf("delta:\n got %s\nwant %s", got, want)
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

func TestMalformedDeltasAreRefused(t *testing.T) {
	good := sample(t).Delta()
	r := New(device(1))
	for n := range good {
		if _, err := r.MergeDelta(good[:n], start); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("a delta cut at %d of %d bytes: got %v, want Corrupt", n, len(good), err)
		}
	}
	for name, b := range map[string][]byte{
		"trailing byte":    append(bytes.Clone(good), 0),
		"unknown version":  append([]byte{9}, good[1:]...),
		"snapshot version": append([]byte{versionSnapshot}, good[1:]...),
		"huge":             make([]byte, MaxDelta+1),
		"many entries":     {versionDelta, 0xff, 0xff},
		"unknown shape":    {versionDelta, 0, 1, 1, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"document zero":    {versionDelta, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, err := r.MergeDelta(b, start); !errors.Is(err, fault.Corrupt) {
			t.Errorf("%s: got %v, want Corrupt", name, err)
		}
	}
	if len(r.subjects) != 0 {
		t.Error("a refused delta left something behind")
	}
}

func TestLimitsOfChanges(t *testing.T) {
	r := New(device(0))
	for name, err := range map[string]error{
		"value":       r.Set(start, ContactNick, "bob", make([]byte, MaxValue+1)),
		"subject":     r.Set(start, ContactNick, string(make([]byte, MaxSubject+1)), nil),
		"wrong shape": r.Set(start, ConvReadUpTo, "bob", nil),
		"element":     r.Add(testSet, "g", make([]byte, MaxElement+1)),
		"raise":       r.Raise(ContactNick, "bob", 1),
		"no document": r.Remove(start, 0, "bob"),
	} {
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
	if r.Dirty() != 0 {
		t.Errorf("%d dirty after refused changes, want 0", r.Dirty())
	}
}

func TestManifestRoundTrip(t *testing.T) {
	m := &Manifest{ID: [8]byte{1, 2}, UpTo: 77, Parts: [][32]byte{{3}, {4}}}
	got, err := DecodeManifest(m.Encode())
	if err != nil || got.ID != m.ID || got.UpTo != 77 || len(got.Parts) != 2 || got.Parts[1] != m.Parts[1] {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := DecodeManifest((&Manifest{}).Encode()); !errors.Is(err, fault.Corrupt) {
		t.Errorf("no parts: got %v, want Corrupt", err)
	}
	if ManifestKey() == PartKey(m.ID, 0) || PartKey(m.ID, 0) == PartKey(m.ID, 1) {
		t.Error("keys collide")
	}
}

func FuzzMergeDelta(f *testing.F) {
	f.Add(sample(f).Delta())
	f.Add([]byte{versionDelta, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := decodeEntries("fuzz", versionDelta, b)
		if err != nil {
			return
		}
		if again := encodeEntries(versionDelta, entries); !bytes.Equal(again, b) {
			t.Errorf("decodes and encodes to something else: %x, want %x", again, b)
		}
		r := New(device(1))
		if _, err := r.MergeDelta(b, start); err != nil {
			t.Fatal(err)
		}
		once := settledBytes(r)
		if _, err := r.MergeDelta(b, start); err != nil || !bytes.Equal(settledBytes(r), once) {
			t.Error("merging twice changes something")
		}
		if !bytes.Equal(settledBytes(restart(t, r)), once) {
			t.Error("a restart changes something")
		}
	})
}

func FuzzMergeSnapshot(f *testing.F) {
	r := sample(f)
	must(f, r.Acked(r.Delta(), start))
	f.Add(r.Snapshot()[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		r := New(device(1))
		if _, err := r.MergeSnapshot(b); err != nil {
			return
		}
		for _, p := range r.Snapshot() {
			if _, err := New(device(2)).MergeSnapshot(p); err != nil {
				t.Errorf("an own snapshot is refused: %v", err)
			}
		}
	})
}

func FuzzLoad(f *testing.F) {
	for _, row := range sample(f).Changed() {
		f.Add(row.Key, row.Value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r := New(device(1))
		if r.Load(Row{key, value}) == nil {
			restart(t, r)
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add((&Manifest{UpTo: 1, Parts: [][32]byte{{1}}}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeManifest(b); err == nil && !bytes.Equal(m.Encode(), b) {
			t.Error("decodes and encodes to something else")
		}
	})
}
