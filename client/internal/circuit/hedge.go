package circuit

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// hedgeAfter is how long a circuit may take before a second one is begun beside it, through the second guard:
// longer than a path of healthy nodes takes, shorter than relays wait for each other.
const hedgeAfter = 800 * time.Millisecond

type attempt struct {
	c   *live
	err error
}

// build makes one circuit to the mailbox's swarm. If it is slow, another is begun, and the first that stands
// is taken; the other is watched to its end, so that its guard gets what it deserves. Errors but those of the
// disk and of the clock are Unavailable.
func (n *Network) build(ctx context.Context, k key) (*live, error) {
	first, err := n.plan(ctx, k.mailbox, ident.NodeID{})
	if err != nil {
		return nil, err
	}
	results := make(chan attempt, 2)
	running := 0
	begin := func(p *plan) {
		if n.spawn(func() {
			c, err := n.follow(n.ctx, k, p)
			results <- attempt{c, err}
		}) {
			running++
		}
	}
	defer func() {
		left := running
		n.spawn(func() {
			for range left {
				if a := <-results; a.c != nil {
					a.c.retire()
				}
			}
		})
	}()
	begin(first)
	slow := time.NewTimer(hedgeAfter)
	defer slow.Stop()
	err = errClosed
	for running > 0 {
		select {
		case a := <-results:
			running--
			if a.err == nil {
				return a.c, nil
			}
			err = a.err
		case <-slow.C:
			if p, err := n.plan(ctx, k.mailbox, first.guard.id); err == nil {
				begin(p)
			}
		case <-ctx.Done():
			return nil, fault.Wrap(fault.Unavailable, "build circuit", ctx.Err())
		}
	}
	return nil, err
}
