package onionrouter

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

var noon = time.Unix(81_000*directory.PeriodSeconds+3600, 0) // an hour into a period

func openRing(t testing.TB, dir string, now time.Time) *keyring {
	t.Helper()
	k, _, err := openKeyring(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keyring) periods() (out []uint32) {
	for _, p := range k.keys {
		out = append(out, p.period)
	}
	return out
}

func TestKeysOfThisAndTheNextFourPeriodsArePublishedAndKept(t *testing.T) {
	dir := t.TempDir()
	k := openRing(t, dir, noon)
	keys := k.published(noon)
	if len(keys) != 5 || keys[0].Period != periodOf(noon) || keys[4].Period != periodOf(noon)+4 {
		t.Fatalf("published %d keys from %d", len(keys), keys[0].Period)
	}
	again := openRing(t, dir, noon).published(noon)
	for i := range keys {
		if keys[i] != again[i] {
			t.Errorf("key of period %d is another one after a restart", keys[i].Period)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
}

func TestOldKeysAreErased(t *testing.T) {
	dir := t.TempDir()
	k := openRing(t, dir, noon)
	old := k.keys[0]
	p := periodOf(noon)
	end := time.Unix(int64(p+1)*directory.PeriodSeconds, 0)
	seed := old.seed.Reveal()
	holds := func(b []byte) bool { return bytes.Contains(b, seed[:]) }
	step := func(at time.Time, inUse uint32, want bool) {
		t.Helper()
		if err := k.rotate(at, inUse); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(k.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := k.periods()[0] == p; got != want || holds(b) != want {
			t.Errorf("%v after its period, with %d in use: kept in memory %v, on disk %v, want %v",
				at.Sub(end), inUse, got, holds(b), want)
		}
	}
	step(end.Add(keyGrace-time.Minute), p+1, true)
	step(end.Add(keyGrace+time.Minute), p, true) // nobody could publish: clients still use it
	step(end.Add(keyGrace+time.Minute), 0, true) // no directory yet
	step(end.Add(keyGrace+time.Minute), p+1, false)
}

func TestCandidatesCoverClocksAndGrace(t *testing.T) {
	k := openRing(t, t.TempDir(), noon)
	p := periodOf(noon)
	end := time.Unix(int64(p+1)*directory.PeriodSeconds, 0)
	if err := k.rotate(end, p+1); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		at   time.Time
		want []uint32
	}{
		{noon, []uint32{p}},
		{end.Add(-time.Minute), []uint32{p, p + 1}},
		{end.Add(time.Minute), []uint32{p + 1, p}},
		{end.Add(time.Hour), []uint32{p + 1}},
	} {
		var got []uint32
		for _, c := range k.candidates(row.at, 0) {
			got = append(got, c.period)
		}
		if len(got) != len(row.want) || got[0] != row.want[0] {
			t.Errorf("%v from the end of the period: %v, want %v", row.at.Sub(end), got, row.want)
		}
	}
}

func TestDamagedKeyFileIsCorrupt(t *testing.T) {
	dir := t.TempDir()
	openRing(t, dir, noon)
	path := filepath.Join(dir, keyFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty": {}, "other version": append([]byte{9}, good[1:]...), "cut": good[:len(good)-1],
		"longer": append(bytes.Clone(good), 0),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := openKeyring(dir, noon); !errors.Is(err, fault.Corrupt) {
			t.Errorf("%s: got %v, want corrupt", name, err)
		}
	}
}

func FuzzDecodeKeys(f *testing.F) {
	f.Add([]byte{keysVersion, 0})
	f.Add(append([]byte{keysVersion, 1, 0, 0, 0, 7}, make([]byte, onion.SeedSize)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := decodeKeys(b)
		if err == nil && len(b) != 2+len(keys)*(4+onion.SeedSize) {
			t.Errorf("%d keys from %d bytes", len(keys), len(b))
		}
	})
}

func TestReplaySet(t *testing.T) {
	dir := t.TempDir()
	bucket := onion.BucketOf(noon)
	open := func(boot string, ever bool, now time.Time) *replaySet {
		t.Helper()
		r, err := openReplay(dir, boot, ever, now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.close)
		return r
	}
	add := func(r *replaySet, tag byte, bucket uint32, now time.Time, want bool) {
		t.Helper()
		got, err := r.add(replayTag{tag}, bucket, now)
		if err != nil || got != want {
			t.Errorf("tag %d in bucket %+d: got %v, want %v (%v)", tag, int(bucket)-int(onion.BucketOf(now)),
				got, want, err)
		}
	}
	r := open("boot 1", false, noon)
	add(r, 1, bucket, noon, true)
	add(r, 1, bucket, noon, false)
	add(r, 1, bucket-1, noon, true) // has() comes first in a router; a bucket has a set of its own
	add(r, 2, bucket+1, noon, true)
	add(r, 3, bucket+2, noon, false)
	add(r, 3, bucket-2, noon, false)
	if !r.has(replayTag{1}) || r.has(replayTag{9}) {
		t.Error("has does not know what was added")
	}
	r.close()

	// The process restarts, the system does not: everything is known, nothing else is refused.
	r = open("boot 1", true, noon)
	add(r, 1, bucket, noon, false)
	add(r, 2, bucket+1, noon, false)
	add(r, 4, bucket, noon, true)
	r.close()

	// The system crashed: what may be lost lies in buckets up to now.
	r = open("boot 2", true, noon)
	add(r, 5, bucket, noon, false)
	add(r, 5, bucket-1, noon, false)
	add(r, 2, bucket+1, noon, false) // was written through to the disk
	add(r, 6, bucket+1, noon, true)
	r.close()

	// Later buckets forget the old ones.
	later := noon.Add(3 * onion.BucketSeconds * time.Second)
	r = open("boot 2", true, later)
	add(r, 7, onion.BucketOf(later), later, true)
	if len(r.buckets) != 1 {
		t.Errorf("%d buckets are kept, want 1", len(r.buckets))
	}
	files, err := filepath.Glob(filepath.Join(dir, replayDir, bucketPrefix+"*"))
	if err != nil || len(files) != 1 {
		t.Errorf("%d bucket files, want 1 (%v)", len(files), err)
	}
}

func TestTornTagIsDropped(t *testing.T) {
	dir := t.TempDir()
	bucket := onion.BucketOf(noon)
	r, err := openReplay(dir, "b", false, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.add(replayTag{1}, bucket, noon); err != nil {
		t.Fatal(err)
	}
	if _, err := r.buckets[bucket].file.Write([]byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	r.close()
	for _, tag := range []byte{2, 3} {
		if r, err = openReplay(dir, "b", true, noon); err != nil {
			t.Fatal(err)
		}
		if ok, err := r.add(replayTag{tag}, bucket, noon); !ok || err != nil {
			t.Fatalf("tag %d: %v, %v", tag, ok, err)
		}
		r.close()
	}
	if r, err = openReplay(dir, "b", true, noon); err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for _, tag := range []byte{1, 2, 3} {
		if !r.has(replayTag{tag}) {
			t.Errorf("tag %d is lost", tag)
		}
	}
}

func TestReplayIsRefusedAfterARestart(t *testing.T) {
	n := startNet(t, 4, nil)
	_, packet, err := onion.Build(rand.Reader, n.params(0, 1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	try := func() error {
		c := n.open(0)
		c.send(packet)
		_, err := c.s.Recv()
		c.cancel()
		return err
	}
	if err := try(); err != nil {
		t.Fatal(err)
	}
	if err := try(); err == nil {
		t.Fatal("a replay was served")
	}
	n.nodes[0].stop()
	n.start(0, nil)
	if err := try(); err == nil {
		t.Error("a replay was served after a restart")
	}
	if c := n.mustCreate(0, 1, 2, 3); c.circuit == nil {
		t.Error("no new circuit after a restart")
	}
}
