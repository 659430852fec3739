package circuit

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

// Limits of how far this machine's clock may be from the cluster's.
const (
	skewIgnored = 2 * time.Second // within network delay and rounding: the client's time does not jump for it
	skewWarning = 2 * time.Minute
	skewRefused = 24 * time.Hour
)

// clock is the client time: a monotonic clock with an offset that nodes give.
type clock struct {
	start time.Time // what this machine's clock showed
	began time.Time // when that was, with its monotonic reading

	mu     sync.Mutex
	offset time.Duration
	set    bool
}

func newClock(now func() time.Time) *clock {
	c := &clock{began: time.Now()}
	c.start = c.began
	if now != nil {
		c.start = now()
	}
	return c
}

func (c *clock) local() time.Time { return c.start.Round(0).Add(time.Since(c.began)) }

func (c *clock) now() time.Time { return c.local().Add(c.skew()) }

func (c *clock) skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// known reports whether any node has given its time yet.
func (c *clock) known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set
}

// fromNode takes the time of the node that answered with directory d, if it is a time at which d holds. It
// only counts until circuits give better ones.
func (c *clock) fromNode(t time.Time, d *directory.Directory) {
	if c.known() || t.Before(time.UnixMilli(d.IssuedAt).Add(-directory.Grace)) ||
		t.After(time.UnixMilli(d.ValidUntil).Add(directory.Grace)) {
		return
	}
	c.apply(t)
}

// fromHops takes the median of the times that the four hops of a circuit sealed for this client: two of them
// would have to lie together to move it.
func (c *clock) fromHops(answers []onion.Answer) {
	if len(answers) != onion.Hops {
		return
	}
	ms := make([]int64, len(answers))
	for i, a := range answers {
		ms[i] = a.TimeMS
	}
	slices.Sort(ms)
	lo, hi := ms[onion.Hops/2-1], ms[onion.Hops/2]
	if lo < 0 || hi > 1<<52 { // no instant at all
		return
	}
	c.apply(time.UnixMilli(lo + (hi-lo)/2))
}

func (c *clock) apply(t time.Time) {
	want := t.Sub(c.local())
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := want - c.offset; d.Abs() > skewIgnored {
		c.offset = want
	}
	c.set = true
}

// check refuses to go on with a clock that is a day off: keys of days would be chosen by it.
func (c *clock) check() error {
	if s := c.skew(); s.Abs() > skewRefused {
		return fault.New(fault.Denied, "check clock", "this machine's clock is %s from the cluster's: set it",
			s.Round(time.Minute))
	}
	return nil
}

// warning says for people how far the clock is off; empty if that does not matter.
func (c *clock) warning() string {
	if s := c.skew(); s.Abs() > skewWarning {
		return fmt.Sprintf("this machine's clock is %s from the cluster's", s.Round(time.Second))
	}
	return ""
}
