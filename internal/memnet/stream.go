package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// maxQueued bounds the bytes of one direction that nobody has read; a writer beyond it blocks.
	maxQueued = 256 << 10
	// maxSegment is the most that is delayed or lost together.
	maxSegment = 16 << 10
)

// conn is one end of a stream.
type conn struct {
	host          *Host
	peer          *conn
	in, out       *pipe
	local, remote *net.TCPAddr
	readBy        deadline
	writeBy       deadline
	once          sync.Once
	closed        chan struct{}
}

// connect returns the two ends of a new stream.
func connect(from, to *Host, local, remote *net.TCPAddr, forth, back *link) (near, far *conn) {
	there, here := &pipe{link: forth, back: back}, &pipe{link: back, back: forth}
	near = &conn{host: from, in: here, out: there, local: local, remote: remote, closed: make(chan struct{})}
	far = &conn{host: to, in: there, out: here, local: remote, remote: local, closed: make(chan struct{})}
	near.peer, far.peer = far, near
	return near, far
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p, c.closed, &c.readBy)
	if err != nil && err != io.EOF {
		err = opError("read", "tcp", c.local, c.remote, err)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p, c.closed, &c.writeBy)
	if err != nil {
		err = opError("write", "tcp", c.local, c.remote, err)
	}
	return n, err
}

// CloseWrite ends what this end sends; it may still read.
func (c *conn) CloseWrite() error {
	select {
	case <-c.closed:
		return opError("close", "tcp", c.local, c.remote, net.ErrClosed)
	default:
	}
	c.out.end()
	return nil
}

// Close ends both directions. The peer reads what was written before, then EOF; what it writes is refused.
func (c *conn) Close() error {
	err := opError("close", "tcp", c.local, c.remote, net.ErrClosed)
	c.once.Do(func() {
		err = nil
		close(c.closed)
		c.out.end()
		c.in.abandon()
		c.readBy.set(time.Time{})
		c.writeBy.set(time.Time{})
		n := c.host.net
		n.mu.Lock()
		delete(n.streams, c)
		n.mu.Unlock()
	})
	return err
}

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.readBy, t) }

func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeBy, t) }

func (c *conn) setDeadline(d *deadline, t time.Time) error {
	select {
	case <-c.closed:
		return opError("set", "tcp", c.local, c.remote, net.ErrClosed)
	default:
		d.set(t)
		return nil
	}
}

// pipe is one direction of a stream. Nothing moves by itself: a reader finds out what has arrived.
type pipe struct {
	link, back *link

	mu       sync.Mutex
	queue    []segment
	queued   int
	last     time.Time // due time of the newest segment: those that follow come no earlier
	ended    bool      // the writer's end is closed; the reader learns it at last
	deserted bool      // the reader's end is closed; the writer learns it at refused
	refused  time.Time
	broken   bool          // reset
	wake     chan struct{} // closed when something changed; nil while nobody waits
}

type segment struct {
	due  time.Time
	data []byte
}

// waitLocked returns a channel that the next change closes.
func (p *pipe) waitLocked() <-chan struct{} {
	if p.wake == nil {
		p.wake = make(chan struct{})
	}
	return p.wake
}

func (p *pipe) notifyLocked() {
	if p.wake != nil {
		close(p.wake)
		p.wake = nil
	}
}

// dueLocked decides when the next thing sent arrives.
func (p *pipe) dueLocked() time.Time {
	delay, lost := p.link.draw()
	if lost {
		delay += retransmit
	}
	if due := time.Now().Add(delay); due.After(p.last) {
		p.last = due
	}
	return p.last
}

func (p *pipe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = true
		p.dueLocked()
		p.notifyLocked()
	}
}

func (p *pipe) abandon() {
	delay, _ := p.back.draw()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deserted, p.refused = true, time.Now().Add(delay)
	p.queue, p.queued = nil, 0
	p.notifyLocked()
}

func (p *pipe) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
	p.notifyLocked()
}

// check returns why an operation may not begin.
func check(closed <-chan struct{}, by *deadline) error {
	select {
	case <-closed:
		return net.ErrClosed
	default:
	}
	select {
	case <-by.wait():
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

func (p *pipe) read(b []byte, closed <-chan struct{}, by *deadline) (int, error) {
	for {
		if err := check(closed, by); err != nil {
			return 0, err
		}
		p.mu.Lock()
		n, arrival, err := p.takeLocked(b)
		if n > 0 {
			p.notifyLocked() // a writer may wait for room
		}
		var wake <-chan struct{}
		if arrival != nil {
			wake = p.waitLocked()
		}
		p.mu.Unlock()
		if arrival == nil {
			return n, err
		}
		arrival.await(wake, closed, by)
	}
}

// arrival says when something under way may be there.
type arrival struct {
	wait    time.Duration   // 0: not before changed or wake
	changed <-chan struct{} // of the link
}

// await waits until it is worth looking again.
func (a *arrival) await(wake, closed <-chan struct{}, by *deadline) {
	var due <-chan time.Time
	if a.wait > 0 {
		timer := time.NewTimer(a.wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-wake:
	case <-closed:
	case <-by.wait():
	case <-a.changed:
	case <-due:
	}
}

// takeLocked reads what has arrived; if that is nothing, the arrival is not nil.
func (p *pipe) takeLocked(b []byte) (n int, later *arrival, err error) {
	if p.broken {
		return 0, nil, os.NewSyscallError("read", syscall.ECONNRESET)
	}
	if len(b) == 0 {
		return 0, nil, nil
	}
	for len(p.queue) > 0 && n < len(b) {
		s := &p.queue[0]
		ok, wait, changed := p.link.arrived(s.due)
		if !ok {
			later = &arrival{wait, changed}
			break
		}
		k := copy(b[n:], s.data)
		n += k
		p.queued -= k
		if s.data = s.data[k:]; len(s.data) == 0 {
			p.queue[0] = segment{}
			p.queue = p.queue[1:]
		}
	}
	switch {
	case n > 0:
		return n, nil, nil
	case later != nil:
		return 0, later, nil
	case !p.ended:
		return 0, &arrival{}, nil
	}
	ok, wait, changed := p.link.arrived(p.last)
	if !ok {
		return 0, &arrival{wait, changed}, nil
	}
	return 0, nil, io.EOF
}

func (p *pipe) write(b []byte, closed <-chan struct{}, by *deadline) (n int, err error) {
	for {
		if err := check(closed, by); err != nil {
			return n, err
		}
		p.mu.Lock()
		k, err := p.putLocked(b[n:])
		n += k
		var wake <-chan struct{}
		if err == nil && n < len(b) {
			wake = p.waitLocked()
		}
		p.mu.Unlock()
		if wake == nil {
			return n, err
		}
		(&arrival{}).await(wake, closed, by)
	}
}

// putLocked queues as much of b as there is room for.
func (p *pipe) putLocked(b []byte) (n int, err error) {
	switch {
	case p.broken:
		return 0, os.NewSyscallError("write", syscall.ECONNRESET)
	case p.ended:
		return 0, os.NewSyscallError("write", syscall.EPIPE)
	case p.deserted:
		if ok, _, _ := p.back.arrived(p.refused); ok {
			return 0, os.NewSyscallError("write", syscall.EPIPE)
		}
		return len(b), nil // goes nowhere, and nobody has said so yet
	}
	for n < len(b) && p.queued < maxQueued {
		k := min(len(b)-n, maxSegment, maxQueued-p.queued)
		p.queue = append(p.queue, segment{due: p.dueLocked(), data: append([]byte(nil), b[n:n+k]...)})
		p.queued += k
		n += k
	}
	if n > 0 {
		p.notifyLocked()
	}
	return n, nil
}

// deadline is a time from which operations fail. Its zero value is none.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed when the deadline has passed
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // its function runs or has run
	}
	d.timer = nil
	closed := d.passed != nil && isClosed(d.passed)
	if d.passed == nil || closed {
		d.passed = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	passed := d.passed
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(passed) })
		return
	}
	close(passed)
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
