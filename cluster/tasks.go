package cluster

import (
	"sync"

	"github.com/starling-swarm/starling/internal/fault"
)

// tasks are goroutines that Run waits for. Requests begin some of them, and may still try to while Run ends.
type tasks struct {
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

// begin runs f in a goroutine, unless the tasks have ended.
func (t *tasks) begin(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	t.running.Go(f)
	return true
}

// end waits for every task; none begins any more.
func (t *tasks) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.running.Wait()
}

// errStopping is what a request meets while Run ends.
func errStopping(op string) error { return fault.New(fault.Unavailable, op, "this node is stopping") }
