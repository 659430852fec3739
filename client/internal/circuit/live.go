package circuit

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starling-swarm/starling/internal/cellstream"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
	"github.com/starling-swarm/starling/onionrouter/paths"
)

const (
	maxAnswer   = envelope.MaxPage + 64<<10 // bytes of one answer
	creditBatch = 256                       // RESP cells that one CREDIT gives back
	pushWindow  = 32                        // PUSH messages without an ACK
	maxStream   = 1<<16 - 2*onion.MaxStreams
)

// live is a circuit that stands. Its reader goroutine opens cells and never blocks on anything but the
// stream; its keeper goroutine sends what the reader owes (credit) and keeps the circuit alive. Requests send
// from their callers' goroutines.
type live struct {
	n       *Network
	purpose string
	path    paths.Path
	born    time.Time
	life    time.Duration // how long it takes new streams
	stream  cellstream.Stream
	cancel  context.CancelFunc
	circ    *onion.Circuit
	slots   chan struct{} // one for each stream that may be open
	done    chan struct{} // closed when the circuit has ended

	send sync.Mutex // the order of sealing is the order on the link
	last uint16     // highest stream number so far; under send

	mu      sync.Mutex
	calls   map[uint16]*call
	retired bool
	cause   error // why it ended

	credit  atomic.Int32  // RESP cells to give back
	owed    chan struct{} // wakes the keeper
	heard   atomic.Int64  // cells that came in
	pingAt  atomic.Int64  // when the newest PING went out, nanoseconds since born
	rtt     atomic.Int64  // of the newest PING
	exhaust atomic.Bool   // stream numbers are used up
}

// call is one stream: a request or a subscription.
type call struct {
	gone   atomic.Bool         // nobody waits any more
	body   []byte              // of the answer so far
	result chan result         // gets the one result of a request or the end of a subscription
	pushes chan onion.Received // subscriptions
}

type result struct {
	body []byte
	err  error
}

func (n *Network) newLive(ctx context.Context, cancel context.CancelFunc, k key, p paths.Path,
	s cellstream.Stream, circ *onion.Circuit) (*live, error) {
	c := &live{
		n: n, purpose: k.purpose, path: p, born: time.Now(), stream: s, cancel: cancel, circ: circ,
		slots: make(chan struct{}, onion.MaxStreams), done: make(chan struct{}), owed: make(chan struct{}, 1),
		calls: map[uint16]*call{}, life: sendLife,
	}
	if k.purpose == PurposeInbox {
		c.life = inboxMin + n.jitter(inboxMax-inboxMin)
	}
	if !n.spawn(c.read) {
		cancel()
		return nil, errClosed
	}
	n.spawn(func() { c.keep(ctx) })
	return c, nil
}

func (c *live) hops() ident.Path {
	return ident.Path{c.path.Guard, c.path.Middle, c.path.Exit}
}

func (c *live) info(purpose string) Info {
	return Info{
		Purpose: purpose, Path: c.hops(), Storage: c.path.Storage, Age: time.Since(c.born),
		RTT: time.Duration(c.rtt.Load()), Relaxed: c.path.Broken.Words(),
	}
}

// usable reports whether the circuit takes new streams.
func (c *live) usable() bool {
	select {
	case <-c.done:
		return false
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.retired && !c.exhaust.Load() && time.Since(c.born) < c.life
}

// idle reports whether no stream is open.
func (c *live) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls) == 0
}

// retire ends the circuit once its streams have ended; it takes no new ones from now on.
func (c *live) retire() {
	c.mu.Lock()
	c.retired = true
	idle := len(c.calls) == 0
	c.mu.Unlock()
	if idle {
		c.end(nil)
	}
}

// end ends the circuit; every stream gets the cause.
func (c *live) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
		return
	default:
	}
	if cause == nil {
		cause = fault.New(fault.Unavailable, "use circuit", "it was retired")
	}
	c.cause = cause
	close(c.done)
	c.cancel()
}

func (c *live) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// cell sends one payload to a hop.
func (c *live) cell(hop int, p onion.Payload) error {
	c.send.Lock()
	defer c.send.Unlock()
	f := cellstream.Get(onion.CellSize)
	p.Put(c.circ.Payload(*f, hop))
	return c.sendLocked(f, hop)
}

func (c *live) sendLocked(f cellstream.Frame, hop int) error {
	c.circ.Seal(*f, hop)
	if err := c.stream.Send(f); err != nil {
		return fault.Wrap(fault.Unavailable, "use circuit", err)
	}
	return nil
}

// open starts a stream with a message. The caller must have taken a slot.
func (c *live) open(cmd onion.Command, body []byte, cl *call) (stream uint16, err error) {
	m, err := onion.NewMessage(cmd, 0, false, body)
	if err != nil {
		return 0, err
	}
	first := true
	for m.Left() > 0 {
		c.send.Lock()
		if first {
			// Number and first cell belong together: the storage node wants rising numbers.
			if stream, err = c.register(cl); err != nil {
				c.send.Unlock()
				return 0, err
			}
			m.SetStream(stream)
			first = false
		}
		f := cellstream.Get(onion.CellSize)
		m.Next(c.circ.Payload(*f, onion.Hops))
		err := c.sendLocked(f, onion.Hops)
		c.send.Unlock()
		if err != nil {
			return stream, err
		}
	}
	return stream, nil
}

// register gives the call a stream number. send is locked.
func (c *live) register(cl *call) (uint16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return 0, c.cause
	}
	stream := c.last + 2
	if c.last == 0 {
		stream = 1
	}
	c.last = stream
	if stream >= maxStream {
		c.exhaust.Store(true)
	}
	c.calls[stream] = cl
	return stream, nil
}

// take waits for one of the streams that may be open.
func (c *live) take(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-c.done:
		return c.ended()
	case <-ctx.Done():
		return fault.Wrap(fault.Unavailable, "use circuit", ctx.Err())
	}
}

// Times of a request that waits.
const (
	probeAfter = time.Second             // without a cell from the circuit: PING
	probeWait  = 1500 * time.Millisecond // and then: the circuit is dead
)

// do carries one request and returns its answer. When ctx ends the request is withdrawn; its outcome is
// unknown.
func (c *live) do(ctx context.Context, body []byte) ([]byte, error) {
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	cl := &call{result: make(chan result, 1)}
	stream, err := c.open(onion.Req, body, cl)
	if err != nil {
		if fault.KindOf(err) == fault.Unavailable {
			c.end(err)
		} else {
			<-c.slots
		}
		return nil, err
	}
	heard := c.heard.Load()
	probed := false
	probe := time.NewTimer(probeAfter)
	defer probe.Stop()
	for {
		select {
		case r := <-cl.result:
			return r.body, r.err
		case <-c.done:
			select {
			case r := <-cl.result: // came before the end
				return r.body, r.err
			default:
				return nil, c.ended()
			}
		case <-ctx.Done():
			c.giveUp(stream, cl)
			return nil, fault.Wrap(fault.Unavailable, "use circuit", ctx.Err())
		case <-probe.C:
			now := c.heard.Load()
			if probed && now == heard {
				c.end(fault.New(fault.Unavailable, "use circuit", "it fell silent"))
				continue
			}
			if probed = now == heard; probed {
				c.ping()
				probe.Reset(probeWait)
			} else {
				heard = now
				probe.Reset(probeAfter)
			}
		}
	}
}

func (c *live) ping() {
	at := int64(time.Since(c.born))
	c.pingAt.Store(at)
	if err := c.cell(onion.Hops, onion.U64(onion.Ping, 0, uint64(at))); err != nil {
		c.end(err)
	}
}

// finish gives a stream its result and frees its slot. Streams that were given up are not known any more.
func (c *live) finish(stream uint16, r result) {
	c.mu.Lock()
	cl, ok := c.calls[stream]
	delete(c.calls, stream)
	over := c.retired && len(c.calls) == 0
	c.mu.Unlock()
	if !ok {
		return
	}
	cl.result <- r // holds one; a stream has one result
	<-c.slots
	if over {
		c.end(nil)
	}
}

// creditCell returns the CREDIT that is due; false if none is.
func (c *live) creditCell() (onion.Payload, bool) {
	n := c.credit.Swap(0)
	if n == 0 {
		return onion.Payload{}, false
	}
	return onion.Payload{Command: onion.Credit, Data: binary.BigEndian.AppendUint32(nil, uint32(n))}, true
}
