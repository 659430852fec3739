package circuit

import (
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
	"github.com/starling-swarm/starling/onionrouter/paths"
)

func TestTimesComeFromNodesAndFurtherOnesFromOthers(t *testing.T) {
	c := five(t)
	n, stop := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	defer stop()
	got, err := n.Times(t.Context(), 2, nil)
	if err != nil || len(got) < 2 {
		t.Fatalf("got %d times, %v, want two at least", len(got), err)
	}
	for id, at := range got {
		if d := time.Since(at).Abs(); d > time.Minute {
			t.Errorf("node %s is %s off", id, d)
		}
	}
	asked := map[ident.NodeID]time.Time{}
	for id := range got {
		asked[id] = time.Time{}
		if len(asked) == 2 {
			break
		}
	}
	more, err := n.Times(t.Context(), 2, asked)
	if err != nil || len(more) < 2 {
		t.Fatalf("got %d further times, %v, want two at least", len(more), err)
	}
	for id := range asked {
		if _, ok := more[id]; ok {
			t.Errorf("node %s was asked before", id)
		}
	}
	// Where there are no further nodes, the same are asked again.
	for id := range more {
		asked[id] = time.Time{}
	}
	for _, node := range c.nodes {
		asked[node.id] = time.Time{}
	}
	before := time.Now()
	again, err := n.Times(t.Context(), 2, asked)
	if err != nil || len(again) < 2 {
		t.Fatalf("asked again: got %d times, %v, want two at least", len(again), err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range again {
		if n.heard[id].at.Before(before) {
			t.Errorf("node %s was not asked anew", id)
		}
	}
}

func TestWhatANodeSaidGetsOld(t *testing.T) {
	n := &Network{clock: newClock(nil),
		heard: map[ident.NodeID]heard{{9}: {at: time.Now().Add(-2 * heardFor)}}}
	if got := n.times(time.Time{}, nil); len(got) != 0 {
		t.Errorf("got %v, want nothing of what is two hours old", got)
	}
	p := paths.Path{Guard: ident.NodeID{1}, Middle: ident.NodeID{2}, Exit: ident.NodeID{3},
		Storage: ident.NodeID{4}}
	now := time.Now()
	n.hear(p, []onion.Answer{{TimeMS: now.UnixMilli()}, {TimeMS: now.Add(time.Hour).UnixMilli()},
		{TimeMS: -1}, {TimeMS: 1 << 62}})
	got := n.times(time.Time{}, map[ident.NodeID]time.Time{{1}: {}})
	if d := got[ident.NodeID{2}].Sub(now); len(got) != 1 || d < time.Hour-time.Second ||
		d > time.Hour+time.Minute {
		t.Errorf("got %v, want node 2 alone, an hour ahead of %s", got, now)
	}
	if len(n.heard) != 2 {
		t.Errorf("%d nodes are remembered, want the two that gave a time", len(n.heard))
	}
}
