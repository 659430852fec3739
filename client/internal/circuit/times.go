package circuit

import (
	"context"
	"fmt"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
	"github.com/starling-swarm/starling/onionrouter/paths"
)

// heardFor is how long what a node said about its clock is good for.
const heardFor = time.Hour

// heard is what a node's clock showed, as a distance from this machine's.
type heard struct {
	ahead time.Duration
	at    time.Time // with its monotonic reading
}

// hear keeps the times that the hops of a new circuit sealed for this client.
func (n *Network) hear(p paths.Path, answers []onion.Answer) {
	now, local := time.Now(), n.clock.local()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, id := range p.Hops() {
		if i < len(answers) && answers[i].TimeMS > 0 && answers[i].TimeMS < 1<<52 {
			n.heard[id] = heard{ahead: time.UnixMilli(answers[i].TimeMS).Sub(local), at: now}
		}
	}
	for id, h := range n.heard {
		if now.Sub(h.at) > heardFor {
			delete(n.heard, id)
		}
	}
}

// Times returns what the clocks of nodes show now, by what each of them sealed for this client within the
// last hour. It builds circuits until it has count nodes that are not among besides; where a cluster has no
// such nodes, the others, asked anew, have to do.
func (n *Network) Times(ctx context.Context, count int,
	besides map[ident.NodeID]time.Time) (map[ident.NodeID]time.Time, error) {
	var since time.Time // what was heard before does not count; zero: what is good still does
	if len(besides) > 0 {
		since = time.Now()
	}
	for try := range 4 {
		if others := n.times(since, besides); len(others) >= count {
			return others, nil
		}
		// A purpose of its own for each: circuits are only shared within one.
		if err := n.ask(ctx, key{fmt.Sprint("clock-", try), n.cfg.Mailbox}); err != nil {
			return nil, err
		}
	}
	if others := n.times(since, besides); len(others) >= count {
		return others, nil
	}
	return n.times(since, nil), nil
}

// ask builds a new circuit and lets it go.
func (n *Network) ask(ctx context.Context, k key) error {
	c, err := n.circuit(ctx, k)
	if err == nil {
		c.retire()
	}
	return err
}

func (n *Network) times(since time.Time, besides map[ident.NodeID]time.Time) map[ident.NodeID]time.Time {
	local := n.clock.local()
	out := map[ident.NodeID]time.Time{}
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, h := range n.heard {
		if _, known := besides[id]; !known && time.Since(h.at) <= heardFor && !h.at.Before(since) {
			out[id] = local.Add(h.ahead)
		}
	}
	return out
}
