package consensus

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

func logEntry(index uint64, size int) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: make([]byte, size)}
}

// The cache holds exactly the newest entries that fit, whatever is appended and deleted.
func TestCacheHoldsTheNewestEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := logCache{limit: 2000}
		model := map[uint64]int{}
		var first, last uint64 = 1, 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"add", "add", "add", "truncate", "compact"}).Draw(t, "step") {
			case "add":
				last++
				size := rapid.IntRange(0, 900).Draw(t, "size")
				c.add(logEntry(last, size))
				model[last] = size
			case "truncate":
				if last >= first {
					at := rapid.Uint64Range(first, last).Draw(t, "from")
					c.dropFrom(at)
					for ; last >= at; last-- {
						delete(model, last)
					}
				}
			case "compact":
				if last >= first {
					at := rapid.Uint64Range(first, last).Draw(t, "through")
					c.dropThrough(at)
					for ; first <= at; first++ {
						delete(model, first)
					}
				}
			}
			if c.bytes > c.limit {
				t.Fatalf("cache has %d bytes, limit is %d", c.bytes, c.limit)
			}
			var out raft.Log
			for i := uint64(1); i <= last+1; i++ {
				size, exists := model[i]
				hit := c.get(i, &out)
				if hit && (!exists || out.Index != i || len(out.Data) != size) {
					t.Fatalf("cache answers %d with entry %d of %d bytes, want %d bytes (exists: %t)", i,
						out.Index, len(out.Data), size, exists)
				}
			}
		}
	})
}

func openTestLog(t *testing.T, change func(*Config)) (*logStore, Config) {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), WALSegmentBytes: 256 << 10, CacheBytes: 1 << 20, RetainBytes: 256 << 10,
		SnapshotBytes: 1 << 40}
	if change != nil {
		change(&cfg)
	}
	s, err := openLog(cfg, newLogger(discard), func(error) {}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	s.started()
	t.Cleanup(func() { _ = s.Close() })
	return s, cfg
}

func TestCompactionKeepsTheNewestBytes(t *testing.T) {
	s, cfg := openTestLog(t, nil)
	for i := range uint64(100) {
		if err := s.StoreLog(logEntry(i+1, 10<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteRange(1, 95); err != nil { // as after a snapshot at 95
		t.Fatal(err)
	}
	first, err := s.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	kept := int64(100-first+1) * (10 << 10)
	if kept < cfg.RetainBytes || kept > cfg.RetainBytes+2*markEvery {
		t.Errorf("kept %d bytes from entry %d on, want %d and little more", kept, first, cfg.RetainBytes)
	}
	var l raft.Log
	for i := first; i <= 100; i++ {
		if err := s.GetLog(i, &l); err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}

func TestProtocolDeletionsAreCarriedOutAsTold(t *testing.T) {
	s, _ := openTestLog(t, nil)
	for i := range uint64(10) {
		if err := s.StoreLog(logEntry(i+1, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteRange(8, 10); err != nil { // a divergent tail
		t.Fatal(err)
	}
	if last, _ := s.LastIndex(); last != 7 {
		t.Errorf("log ends at %d after cutting its tail, want 7", last)
	}
	var l raft.Log
	if err := s.GetLog(8, &l); err == nil {
		t.Error("a deleted entry is still there")
	}
	if err := s.DeleteRange(1, 3); err != nil { // kept: the newest bytes
		t.Fatal(err)
	}
	if first, _ := s.FirstIndex(); first != 1 {
		t.Errorf("log begins at %d, want 1: there are fewer bytes than it retains", first)
	}
	if err := s.DeleteRange(1, 7); err != nil { // the whole log, after a snapshot was installed
		t.Fatal(err)
	}
	if last, _ := s.LastIndex(); last != 0 {
		t.Errorf("log ends at %d after deleting all of it, want 0", last)
	}
	if err := s.StoreLog(logEntry(1000, 100)); err != nil {
		t.Errorf("append behind an installed snapshot: %v", err)
	}
}

func TestNothingIsWrittenAfterAFailure(t *testing.T) {
	broken := errors.New("device gone")
	writes := 0
	s, _ := openTestLog(t, func(cfg *Config) {
		cfg.hooks.store = func(logs []*raft.Log) error {
			if writes++; writes == 2 {
				return broken
			}
			return nil
		}
	})
	var fatal []error
	s.onFatal = func(err error) { fatal = append(fatal, err) }
	if err := s.StoreLog(logEntry(1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := s.StoreLog(logEntry(2, 10)); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if err := s.StoreLog(logEntry(2, 10)); !errors.Is(err, errStopped) {
		t.Errorf("second attempt: got %v, want %v", err, errStopped)
	}
	if err := s.DeleteRange(1, 1); !errors.Is(err, errStopped) {
		t.Errorf("delete after the failure: got %v, want %v", err, errStopped)
	}
	if err := s.SetUint64([]byte("CurrentTerm"), 9); err != nil {
		t.Errorf("term after the failure: got %v, want it swallowed", err)
	}
	if term, err := s.GetUint64([]byte("CurrentTerm")); err != nil || term != 0 {
		t.Errorf("term on disk is %d, %v, want none", term, err)
	}
	if writes != 2 || len(fatal) != 1 || !errors.Is(fatal[0], broken) {
		t.Errorf("got %d writes and fatal errors %v, want 2 and one %v", writes, fatal, broken)
	}
}

func TestLogSurvivesReopening(t *testing.T) {
	s, cfg := openTestLog(t, nil)
	for i := range uint64(50) {
		if err := s.StoreLog(logEntry(i+1, 10<<10)); err != nil { // several segments
			t.Fatal(err)
		}
	}
	if err := s.SetUint64([]byte("CurrentTerm"), 4); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openLog(cfg, newLogger(discard), func(error) {}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	var l raft.Log
	for i := range uint64(50) {
		if err := again.GetLog(i+1, &l); err != nil || l.Index != i+1 || len(l.Data) != 10<<10 {
			t.Fatalf("entry %d: got %d of %d bytes, %v", i+1, l.Index, len(l.Data), err)
		}
	}
	if term, err := again.GetUint64([]byte("CurrentTerm")); err != nil || term != 4 {
		t.Errorf("got term %d, %v, want 4", term, err)
	}
	if got := again.grown(); got < 50*(10<<10) {
		t.Errorf("entries read at the start count as %d bytes, want all of them", got)
	}
}
