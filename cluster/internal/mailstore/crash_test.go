package mailstore_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/mailstore"
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("MAILSTORE_CRASH_DIR"); dir != "" {
		applyForever(dir)
	}
	os.Exit(m.Run())
}

// applyForever applies the history, one entry at a time, then restores a snapshot of itself, over and over,
// and prints each index that ApplyBatch returned for.
func applyForever(dir string) {
	flush, err := strconv.Atoi(os.Getenv("MAILSTORE_CRASH_FLUSH"))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	s, err := mailstore.Open(dir, mailstore.Options{FlushBytes: flush})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	t := new(testing.T)
	commands := history(t)
	index, _ := s.Applied()
	for {
		for _, c := range commands {
			index++
			s.ApplyBatch([]mailstore.Batch{{Index: index, Term: 3, Commands: [][]byte{c}}})
			fmt.Println(index)
		}
		if err := s.Restore(bytes.NewReader(snapshot(t, s))); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(index)
	}
}

func TestKilledProcessLosesNothingThatWasFlushed(t *testing.T) {
	t.Run("every batch flushed", func(t *testing.T) {
		killed(t, 1, func(applied, last uint64) bool { return applied == last || applied == last+1 })
	})
	t.Run("flushed now and then", func(t *testing.T) { // the rest comes from the log
		killed(t, 2000, func(applied, last uint64) bool { return applied <= last+1 })
	})
}

// killed kills a process that applies commands, over and over, and checks what the next one finds.
func killed(t *testing.T, flush int, ok func(applied, last uint64) bool) {
	dir := t.TempDir()
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "MAILSTORE_CRASH_DIR="+dir,
			fmt.Sprint("MAILSTORE_CRASH_FLUSH=", flush))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		last := ""
		for n := 0; lines.Scan(); n++ {
			last = lines.Text()
			if n == 3+round*11 { // in the middle of whatever comes next
				_ = cmd.Process.Kill()
			}
			if strings.HasPrefix(last, "error") {
				t.Fatalf("round %d: %s", round, last)
			}
		}
		_ = cmd.Wait()
		s, err := mailstore.Open(dir, mailstore.Options{})
		if err != nil {
			t.Fatalf("round %d: open after kill: %v", round, err)
		}
		index, _ := s.Applied()
		if printed, err := strconv.ParseUint(last, 10, 64); err != nil || !ok(index, printed) {
			t.Errorf("round %d: got applied %d after %q was printed (%v)", round, index, last, err)
		}
		if err := s.Check(); err != nil {
			t.Errorf("round %d: check after kill: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplayAfterACrashGivesTheSameState(t *testing.T) {
	var batches []mailstore.Batch
	for i, c := range history(t) {
		batches = append(batches, mailstore.Batch{Index: uint64(i + 1), Term: 3, Commands: [][]byte{c}})
	}
	whole := open(t, t.TempDir())
	whole.ApplyBatch(batches)
	want := snapshot(t, whole)
	for cut := range batches {
		dir := t.TempDir()
		o := mailstore.Options{FlushBytes: 2000}
		s, err := mailstore.Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches[:cut] {
			s.ApplyBatch([]mailstore.Batch{b})
		}
		if err := s.Crash(); err != nil {
			t.Fatal(err)
		}
		if s, err = mailstore.Open(dir, o); err != nil {
			t.Fatal(err)
		}
		s.ApplyBatch(batches)
		if got := snapshot(t, s); !bytes.Equal(got, want) {
			t.Errorf("crash after %d entries, then the log: the state differs", cut)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
