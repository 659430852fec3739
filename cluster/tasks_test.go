package cluster

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestNoTaskBeginsAfterTheEnd begins tasks while others wait for their end.
func TestNoTaskBeginsAfterTheEnd(t *testing.T) {
	for range 1_000 {
		var all tasks
		var running atomic.Int32
		begin := func() bool {
			running.Add(1)
			if !all.begin(func() { running.Add(-1) }) {
				running.Add(-1)
				return false
			}
			return true
		}
		var other sync.WaitGroup
		other.Go(func() {
			for begin() {
			}
		})
		all.end()
		other.Wait()
		if n := running.Load(); n != 0 || begin() {
			t.Fatalf("%d tasks run after the end, or another one began", n)
		}
	}
}
