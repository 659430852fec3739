package circuit

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/paths"
)

const (
	sendLife   = 10 * time.Minute // a sending circuit takes new requests for so long
	inboxMin   = 6 * time.Hour    // an inbox circuit at random between these; a subscription on it goes on
	inboxMax   = 18 * time.Hour
	keepReady  = 2                // destinations whose circuits are rebuilt before they are asked for
	readyFor   = 30 * time.Minute // how long after the last request
	maxPool    = 48               // circuits at once, below what a guard allows
	tendEvery  = 5 * time.Second
	warmBudget = 5 * time.Second
)

// key says what circuits may be shared: the same purpose and the same destination.
type key struct {
	purpose string
	mailbox ident.MailboxID
}

// slot is the place of one circuit in the pool. Whoever holds lock builds it; others wait.
type slot struct {
	lock chan struct{}
	c    *live // Network.mu
	used time.Time
}

// current returns the circuit if it takes new requests.
func (s *slot) current() *live {
	if s.c != nil && s.c.usable() {
		return s.c
	}
	return nil
}

// circuit returns the circuit for k, building it if there is none.
func (n *Network) circuit(ctx context.Context, k key) (*live, error) {
	select {
	case <-n.started:
	case <-ctx.Done():
		return nil, fault.Wrap(fault.Unavailable, "reach cluster", ctx.Err())
	}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil, errClosed
	}
	s := n.pool[k]
	if s == nil {
		s = &slot{lock: make(chan struct{}, 1)}
		n.pool[k] = s
	}
	s.used = time.Now()
	n.remember(k)
	c := s.current()
	n.mu.Unlock()
	if c != nil {
		return c, nil
	}
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return nil, fault.Wrap(fault.Unavailable, "build circuit", ctx.Err())
	}
	n.mu.Lock()
	c = s.current()
	n.mu.Unlock()
	if c != nil {
		return c, nil
	}
	n.makeRoom(1)
	c, err := n.build(ctx, k)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	old := s.c
	s.c = c
	n.mu.Unlock()
	if old != nil {
		old.retire()
	}
	return c, nil
}

// remember moves k to the front of the destinations to keep ready.
func (n *Network) remember(k key) {
	if k.purpose != "send" || len(n.recent) > 0 && n.recent[0] == k {
		return
	}
	n.recent = slices.DeleteFunc(n.recent, func(r key) bool { return r == k })
	n.recent = slices.Insert(n.recent, 0, k)
	n.recent = n.recent[:min(len(n.recent), keepReady)]
}

// tend closes circuits that are not needed any more and keeps those ready that will be.
func (n *Network) tend(ctx context.Context) error {
	for sleep(ctx, tendEvery) {
		var ready []key
		var retired []*live
		n.mu.Lock()
		for _, k := range n.recent {
			if s := n.pool[k]; s != nil && s.current() == nil && time.Since(s.used) < readyFor {
				ready = append(ready, k)
			}
		}
		for k, s := range n.pool {
			switch {
			case s.c != nil && !s.c.usable():
				retired = append(retired, s.c)
				s.c = nil
			case s.c == nil && len(s.lock) == 0 && time.Since(s.used) >= readyFor:
				delete(n.pool, k)
			}
		}
		retired = append(retired, n.surplus(0)...)
		v := n.view
		n.mu.Unlock()
		for _, c := range retired {
			c.retire()
		}
		for _, k := range ready {
			warm, cancel := context.WithTimeout(ctx, warmBudget)
			if _, err := n.circuit(warm, k); err != nil {
				n.note(err)
			}
			cancel()
		}
		if v != nil {
			n.dropGuards(n.primary(v.dir), v.dir)
		}
	}
	return nil
}

// makeRoom retires circuits so that there is room for some more.
func (n *Network) makeRoom(more int) {
	n.mu.Lock()
	retired := n.surplus(more)
	n.mu.Unlock()
	for _, c := range retired {
		c.retire()
	}
}

// surplus takes the idle circuits that were unused for longest out of the pool, once there are too many with
// some more.
func (n *Network) surplus(more int) (out []*live) {
	var idle []*slot
	all := more
	for _, s := range n.pool {
		if s.c == nil {
			continue
		}
		if all++; s.c.idle() {
			idle = append(idle, s)
		}
	}
	slices.SortFunc(idle, func(a, b *slot) int { return a.used.Compare(b.used) })
	for _, s := range idle[:min(max(0, all-maxPool), len(idle))] {
		out = append(out, s.c)
		s.c = nil
	}
	return out
}

// primary returns the guard that new circuits would use first.
func (n *Network) primary(d *directory.Directory) (id ident.NodeID) {
	var own []ident.NodeID
	if s, ok := d.SwarmOf(n.cfg.Mailbox); ok {
		own = s.Replicas
	}
	_ = n.state.update(func(k *kept) bool {
		if order := k.Sample.Guarded(d, own, directory.Period(n.Now())); len(order) > 0 {
			id = order[0]
		}
		return false
	})
	return id
}

// closeAll ends every connection, and with them every circuit; no goroutine starts after it.
func (n *Network) closeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, g := range n.guards {
		_ = g.conn.Close()
	}
	clear(n.guards)
	clear(n.pool)
}

// Status describes the network for people.
func (n *Network) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Status{Skew: n.clock.skew()}
	for _, g := range n.guards {
		s.Connected = s.Connected || g.up()
	}
	if w := n.clock.warning(); w != "" {
		s.Notes = append(s.Notes, w)
	}
	if n.trouble != nil {
		s.Notes = append(s.Notes, n.trouble.Error())
	}
	if n.view == nil {
		return s
	}
	d := n.view.dir
	s.Nodes, s.Swarms, s.Version, s.Loopback = len(d.Nodes), len(d.Swarms), d.Version, paths.Loopback(d)
	if stale, err := d.CheckTime(n.clock.now()); stale || err != nil {
		s.Notes = append(s.Notes, "the directory is past its validity")
	}
	var broken paths.Rules
	for k, sl := range n.pool {
		if c := sl.current(); c != nil {
			s.Circuits = append(s.Circuits, c.info(k.purpose))
			broken |= c.path.Broken
		}
	}
	slices.SortFunc(s.Circuits, func(a, b Info) int { return cmp.Compare(b.Age, a.Age) })
	if !s.Loopback {
		s.Notes = append(s.Notes, broken.Words()...)
	}
	return s
}
