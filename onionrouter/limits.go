package onionrouter

import (
	"context"
	"sync"
	"time"
)

// Limits on what one client may ask of a guard. Between nodes there are none: every circuit was admitted by
// its guard.
const (
	defaultCircuits = 64  // circuits of one client connection, unless the directory says otherwise
	createBurst     = 100 // create packets of one connection at once
	createRate      = 50  // and per second
)

// limits counts circuits and create packets per client connection.
type limits struct {
	mu    sync.Mutex
	conns map[string]*connUse
}

type connUse struct {
	circuits int
	tokens   float64
	at       time.Time
}

// enter admits one more circuit on the connection; leave must follow.
func (l *limits) enter(conn string, max int, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.conns[conn]
	if u == nil {
		u = &connUse{tokens: createBurst, at: now}
		l.conns[conn] = u
	}
	if d := now.Sub(u.at); d > 0 {
		u.tokens = min(createBurst, u.tokens+d.Seconds()*createRate)
	}
	u.at = now
	if u.circuits >= max || u.tokens < 1 {
		return false
	}
	u.tokens--
	u.circuits++
	return true
}

func (l *limits) leave(conn string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u := l.conns[conn]; u != nil {
		u.circuits--
	}
}

// prune forgets connections that have no circuit and a full bucket again.
func (l *limits) prune(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn, u := range l.conns {
		if u.circuits == 0 && now.Sub(u.at).Seconds()*createRate >= createBurst {
			delete(l.conns, conn)
		}
	}
}

// credit is a number that one side draws from and the other adds to, never above its start.
type credit struct {
	mu   sync.Mutex
	left int
	max  int
	more chan struct{} // signals that left is above zero; holds one
}

func newCredit(n int) *credit {
	c := &credit{left: n, max: n, more: make(chan struct{}, 1)}
	c.more <- struct{}{}
	return c
}

// take draws one, waiting until there is one.
func (c *credit) take(ctx context.Context) error {
	select {
	case <-c.more:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	c.signal()
	return nil
}

// add gives back n.
func (c *credit) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = min(c.max, c.left+max(0, n))
	c.signal()
}

func (c *credit) signal() {
	if c.left > 0 {
		select {
		case c.more <- struct{}{}:
		default:
		}
	}
}
