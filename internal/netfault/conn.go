package netfault

import (
	"net"
	"sync"
	"time"
)

// maxQueued bounds the bytes that wait for their delay; a writer beyond it blocks, as with a full send
// buffer.
const maxQueued = 1 << 20

// conn is a connection under a Switch. It is a plain pass-through until it meets a delay; from then on its
// writes go through a queue with a goroutine of its own, so that a delay costs latency and not throughput.
type conn struct {
	net.Conn
	sw   *Switch
	dead chan struct{} // closed when the connection is cut off

	mu     sync.Mutex
	cond   *sync.Cond // nil until the first delayed write
	queue  []delayed
	queued int
	closed bool
	cut    bool
	failed error // what an earlier queued write met
}

type delayed struct {
	due  time.Time
	data []byte
}

// blackhole makes the connection silent without closing it.
func (c *conn) blackhole() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return
	}
	c.cut = true
	close(c.dead)
	if c.cond != nil {
		c.cond.Broadcast()
	}
}

// abort closes the connection without delivering what is queued.
func (c *conn) abort() error {
	c.blackhole()
	return c.Close()
}

// Read passes on what the peer sent; on a cut connection it discards it, and so blocks until a deadline or
// Close.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil {
			return n, err
		}
		select {
		case <-c.dead:
			continue
		default:
			return n, nil
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	d := c.sw.writeDelay()
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return 0, net.ErrClosed
	case c.cut:
		c.mu.Unlock()
		return len(p), nil
	case c.failed != nil:
		err := c.failed
		c.mu.Unlock()
		return 0, err
	case d == 0 && c.cond == nil:
		c.mu.Unlock()
		return c.Conn.Write(p)
	}
	defer c.mu.Unlock()
	if c.cond == nil {
		c.cond = sync.NewCond(&c.mu)
		go c.deliver()
	}
	for c.queued > maxQueued && !c.closed && !c.cut && c.failed == nil {
		c.cond.Wait()
	}
	if c.closed {
		return 0, net.ErrClosed
	}
	c.queue = append(c.queue, delayed{due: time.Now().Add(d), data: append([]byte(nil), p...)})
	c.queued += len(p)
	c.cond.Broadcast()
	return len(p), nil
}

// deliver writes the queue, each piece at its time, until the connection is cut, or closed and empty.
func (c *conn) deliver() {
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed && !c.cut {
			c.cond.Wait()
		}
		if c.cut {
			c.mu.Unlock()
			return // the Switch closes it
		}
		if len(c.queue) == 0 {
			c.mu.Unlock()
			_ = c.Conn.Close()
			return
		}
		next := c.queue[0]
		c.mu.Unlock()

		wait := time.NewTimer(time.Until(next.due))
		select {
		case <-wait.C:
		case <-c.dead:
			wait.Stop()
			return
		}
		_, err := c.Conn.Write(next.data)
		c.mu.Lock()
		// Remove after writing: Close takes an empty queue for everything delivered.
		c.queue = c.queue[1:]
		c.queued -= len(next.data)
		if err != nil {
			c.failed = err
			c.queue, c.queued = nil, 0
		}
		c.cond.Broadcast()
		c.mu.Unlock()
		if err != nil {
			_ = c.Conn.Close()
			return
		}
	}
}

// Close closes the connection; what is queued on a delayed connection is delivered first, in the background.
func (c *conn) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	lazy := c.cond != nil && !c.cut && c.failed == nil && len(c.queue) > 0
	if c.cond != nil {
		c.cond.Broadcast()
	}
	c.mu.Unlock()
	if again {
		return net.ErrClosed
	}
	c.sw.forget(c)
	if lazy {
		return c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes readers now
	}
	return c.Conn.Close()
}
