package circuit

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// dialed is a network that counts who is dialed, and whose addresses in silent answer nothing.
type dialed struct {
	mu     sync.Mutex
	count  map[string]int
	silent map[string]bool
}

func (d *dialed) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d.mu.Lock()
	d.count[addr]++
	silent := d.silent[addr]
	d.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

func TestTheNextRunPassesOverAGuardThatFailed(t *testing.T) {
	c := startCluster(t, 7, []int{0, 1, 2}, []int{2, 3, 4})
	m, dir := c.mailboxIn(1, 1), t.TempDir()
	first := func(body string) ident.NodeID {
		t.Helper()
		n, stop := c.connect(dir, c.mailboxIn(0, 1), nil)
		defer stop()
		_, path, err := n.Do(within(t), "send", m, storeOf(m, body), unsigned)
		if err != nil {
			t.Fatal(err)
		}
		return path[0]
	}
	guard := first("1")
	c.crash(c.node(guard))
	second := first("2")
	c.start(c.node(guard)) // still passed over: nobody tries it
	if got := first("3"); got != second {
		t.Errorf("guard of the run after the failure: got %s, want %s", got.Short(), second.Short())
	}
}

func TestWhatIsRememberedOfGuardsIsBounded(t *testing.T) {
	now := time.Now()
	a, b, c, d := ident.NodeID{1}, ident.NodeID{2}, ident.NodeID{3}, ident.NodeID{4}
	at := func(d time.Duration) int64 { return now.Add(d).UnixMilli() }
	got := recall([]keptPassed{{a, at(5 * time.Second), 1}, {b, at(9 * time.Minute), 9},
		{c, at(-time.Second), 1}, {d, at(time.Hour), -1}}, now)
	if left := time.Until(got[a].until); left <= 0 || left > 5*time.Second {
		t.Errorf("guard that failed just now: passed over for %s, want at most 5 s", left)
	}
	if left := time.Until(got[b].until); left > rememberAtMost || got[b].failures != 9 {
		t.Errorf("guard that failed often: got %+v, want at most %s", got[b], rememberAtMost)
	}
	for _, id := range []ident.NodeID{c, d} {
		if p, ok := got[id]; ok {
			t.Errorf("guard %s: got %+v, want it to be tried", id.Short(), p)
		}
	}
}

func TestProbeAsksUntilAnyNodeAnswers(t *testing.T) {
	c := startCluster(t, 5, []int{0, 1, 2})
	seen := &dialed{count: map[string]int{}, silent: map[string]bool{}}
	for _, n := range c.nodes[:4] {
		seen.silent[n.client] = true
	}
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), func(cfg *Config) { cfg.Dial = seen.dial })
	if err := n.Probe(within(t)); err != nil {
		t.Errorf("probe with one node that answers: %v", err)
	}
	c.crash(c.nodes[4])
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	if err := n.Probe(ctx); !errors.Is(err, fault.Unavailable) {
		t.Errorf("probe with none: got %v, want unavailable", err)
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, node := range c.nodes {
		if seen.count[node.client] == 0 {
			t.Errorf("node %s was never tried", node.id.Short())
		}
	}
}

func TestProbeOfDeadNodesFailsAtOnce(t *testing.T) {
	c := startCluster(t, 5, []int{0, 1, 2})
	n, _ := c.connect(t.TempDir(), c.mailboxIn(0, 1), nil)
	for _, node := range c.nodes {
		c.crash(node)
	}
	if err := n.Probe(within(t)); !errors.Is(err, fault.Unavailable) ||
		errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("probe: got %v, want unavailable before its time is over", err)
	}
}
