package circuit

import (
	"cmp"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
)

// rememberAtMost bounds how long a guard is passed over for what another run of the profile met: a program
// that runs for a second must not try the guard that the one before it found dead, but an outage that is over
// is forgotten soon.
const rememberAtMost = time.Minute

// keptPassed is passed on disk.
type keptPassed struct {
	Node     ident.NodeID `json:"node"`
	Until    int64        `json:"until"` // Unix milliseconds of this machine's clock
	Failures int          `json:"failures"`
}

// recall takes over what is left of the time for which an earlier run passed guards over.
func recall(kept []keptPassed, now time.Time) map[ident.NodeID]passed {
	out := map[ident.NodeID]passed{}
	for _, k := range kept {
		// What claims to last longer than a guard is ever passed over was written by another clock.
		left := time.UnixMilli(k.Until).Sub(now)
		if left > 0 && left <= guardRetryMax {
			out[k.Node] = passed{until: time.Now().Add(min(left, rememberAtMost)),
				failures: max(k.Failures, 0)}
		}
	}
	return out
}

// keepPassed writes which guards are passed over. That it fails costs the next run a try.
func (n *Network) keepPassed() {
	err := n.state.update(func(k *kept) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		k.Passed = nil
		for id, p := range n.passed {
			if left := time.Until(p.until); left > 0 {
				k.Passed = append(k.Passed, keptPassed{id, n.clock.local().Add(left).UnixMilli(), p.failures})
			}
		}
		slices.SortFunc(k.Passed, func(a, b keptPassed) int {
			return cmp.Compare(a.Node.String(),
				b.Node.String())
		})
		return true
	})
	if err != nil {
		n.log.Debug("failed guards not kept", "error", err)
	}
}
