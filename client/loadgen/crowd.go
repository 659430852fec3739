package loadgen

import (
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/internal/fault"
)

// crowd is the members of a group, all online.
type crowd struct {
	members []*member
	tally   tally
	ctx     context.Context // ends with the first member that fails
	running *errgroup.Group
}

// each runs f for every member, a few at a time.
func (c *crowd) each(f func(ctx context.Context, m *member) error) error {
	g, ctx := errgroup.WithContext(c.ctx)
	g.SetLimit(atOnce)
	for _, m := range c.members {
		g.Go(func() error { return f(ctx, m) })
	}
	return c.why(g.Wait())
}

// wait returns how long it took every member to get f.
func (c *crowd) wait(f *flight) ([]time.Duration, error) {
	select {
	case <-f.all:
		return f.took, nil
	case <-c.ctx.Done():
		return nil, c.why(fault.Wrap(fault.Unavailable, "wait for members", c.ctx.Err()))
	}
}

// why returns the failure that ended all members, if there was one, else err.
func (c *crowd) why(err error) error {
	if cause := context.Cause(c.ctx); err != nil && cause != nil && fault.KindOf(cause) != fault.Internal {
		return cause
	}
	return err
}

// renewed stands, among the numbers of messages, for having the keys of a new generation.
const renewed = math.MaxUint64

// tally times what goes out to all members, from its beginning to its arrival at each.
type tally struct {
	mu    sync.Mutex
	under map[uint64]*flight // by number
}

// flight is one thing on its way to a number of members.
type flight struct {
	of    int
	began time.Time
	took  []time.Duration // in the order of arrival
	all   chan struct{}   // closed when everybody has it
}

// begin starts the clock of number n, which goes to a number of members.
func (t *tally) begin(n uint64, of int) *flight {
	f := &flight{of: of, took: make([]time.Duration, 0, of), all: make(chan struct{}), began: time.Now()}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.under == nil {
		t.under = map[uint64]*flight{}
	}
	t.under[n] = f
	return f
}

// got notes that one more member has number n.
func (t *tally) got(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.under[n]
	if f == nil {
		return
	}
	f.took = append(f.took, time.Since(f.began))
	if len(f.took) == f.of {
		delete(t.under, n)
		close(f.all)
	}
}
