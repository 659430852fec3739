package mailstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/mailstore"
	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/fault"
)

func TestRestoredStoreGoesOnWhereTheOtherWas(t *testing.T) {
	commands := history(t)
	entries := batches(1, commands, 4)
	a := open(t, t.TempDir())
	a.ApplyBatch(entries[:7])
	dir := t.TempDir()
	b := open(t, dir)
	b.ApplyBatch(batches(1, history(t)[:2], 1)) // an older state, which the snapshot replaces
	if err := b.Restore(bytes.NewReader(snapshot(t, a))); err != nil {
		t.Fatalf("restore: %v", err)
	}
	if index, term := b.Applied(); index != 7 || term != 3 {
		t.Errorf("got applied %d in term %d after restore, want 7 in 3", index, term)
	}
	if a.Clock() != b.Clock() || a.Config() != b.Config() {
		t.Errorf("got clock %d, want %d, and the configuration too", b.Clock(), a.Clock())
	}
	a.ApplyBatch(entries[7:])
	b.ApplyBatch(entries[7:])
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir)
	if !bytes.Equal(snapshot(t, a), snapshot(t, b)) {
		t.Error("a restored replica differs from the one that made the snapshot")
	}
	if err := b.Check(); err != nil {
		t.Errorf("check: %v", err)
	}
}

func TestSnapshotStaysAtItsIndex(t *testing.T) {
	entries := batches(1, history(t), 4)
	s := open(t, t.TempDir())
	s.ApplyBatch(entries[:3])
	want := snapshot(t, s)
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	s.ApplyBatch(entries[3:])
	var got bytes.Buffer
	if err := snap.Persist(&got); err != nil {
		t.Fatal(err)
	}
	if index, _ := snap.Applied(); index != 3 || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got a snapshot at %d that differs from the state at 3", index)
	}
	snap.Release()
	snap.Release()
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	entries := batches(1, history(t), 4)
	a, b := open(t, t.TempDir()), open(t, t.TempDir())
	a.ApplyBatch(entries)
	b.ApplyBatch(entries[:2])
	stream, before := snapshot(t, a), snapshot(t, b)
	step := len(stream)/60 + 1
	for at := 0; at < len(stream); at += step {
		flipped := bytes.Clone(stream)
		flipped[at] ^= 0x10
		for name, p := range map[string][]byte{"flipped": flipped, "cut": stream[:at]} {
			err := b.Restore(bytes.NewReader(p))
			if !errors.Is(err, fault.Corrupt) && !errors.Is(err, mailstore.ErrNewer) {
				t.Errorf("%s at byte %d: got %v, want corrupt", name, at, err)
			}
		}
	}
	if !bytes.Equal(snapshot(t, b), before) {
		t.Error("a refused snapshot changed the state")
	}
	b.ApplyBatch(entries)
	if !bytes.Equal(snapshot(t, b), stream) {
		t.Error("the store did not go on after a refused snapshot")
	}
}

func TestNewerSnapshotIsRefused(t *testing.T) {
	s := open(t, t.TempDir())
	stream := snapshot(t, s)
	stream[len("starling/snapshot")]++
	if err := s.Restore(bytes.NewReader(stream)); !errors.Is(err, mailstore.ErrNewer) {
		t.Errorf("got %v, want made by a newer version", err)
	}
}

func TestLeftoversOfACrashedRestoreAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.ApplyBatch(batches(1, history(t), 8))
	want := snapshot(t, s)
	_ = s.Close()
	left := filepath.Join(dir, mailstore.FileName+".restore")
	if err := os.WriteFile(left, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if !bytes.Equal(snapshot(t, s), want) {
		t.Error("the state changed")
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for the leftover, want it gone", err)
	}
}

func FuzzRestore(f *testing.F) {
	s := open(f, f.TempDir())
	f.Add(snapshot(f, s))
	s.ApplyBatch(batches(1, history(f)[:6], 1))
	f.Add(snapshot(f, s))
	target := open(f, f.TempDir())
	f.Fuzz(func(t *testing.T, p []byte) {
		if err := target.Restore(bytes.NewReader(p)); err != nil {
			if kind := fault.KindOf(err); kind != fault.Corrupt && kind != fault.Invalid {
				t.Errorf("got %v (%v), want corrupt or invalid", err, kind)
			}
			return
		}
		if !bytes.Equal(snapshot(t, target), p) {
			t.Error("a snapshot restores to another state")
		}
	})
}

// TestDiskAgreesWithMemory feeds the same commands to memory and to a disk that is closed and opened in
// between.
func TestDiskAgreesWithMemory(t *testing.T) {
	dir := t.TempDir()
	mem := new(storetest.Memory)
	for i, c := range history(t) {
		s, err := mailstore.Open(dir, mailstore.Options{})
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		got := s.ApplyBatch([]mailstore.Batch{{Index: uint64(i + 1), Term: 1,
			Commands: [][]byte{c}}})[0][0].(statemachine.Result)
		want := mem.Apply(c)
		if got.Err != nil || want.Err != nil || got.Response != nil && !bytes.Equal(got.Response.Encode(),
			want.Response.Encode()) {
			t.Errorf("command %d: got %+v, want %+v", i, got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
