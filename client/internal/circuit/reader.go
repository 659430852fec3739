package circuit

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/starling-swarm/starling/internal/cellstream"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

// read handles every cell that comes back, until the circuit ends.
func (c *live) read() {
	defer c.cancel()
	var asm onion.Reassembler
	for {
		f, err := c.stream.Recv()
		if err != nil {
			c.end(fault.Wrap(fault.Unavailable, "use circuit", err))
			return
		}
		err = c.handle(*f, &asm)
		cellstream.Put(f)
		if err != nil {
			c.end(fault.Wrap(fault.Unavailable, "use circuit", err))
			return
		}
	}
}

func (c *live) handle(cell []byte, asm *onion.Reassembler) error {
	hop, b, err := c.circ.Open(cell)
	if err != nil {
		return err
	}
	p, err := onion.DecodePayload(b)
	if err != nil {
		return err
	}
	c.heard.Add(1)
	switch p.Command {
	case onion.Drop:
		return nil
	case onion.Pong:
		if at := c.pingAt.Load(); p.Number() == uint64(at) {
			c.rtt.Store(int64(time.Since(c.born)) - at)
		}
		return nil
	case onion.ExtendFail:
		if hop < onion.Hops {
			c.n.avoidAfter(c.path, hop, onion.StatusExtendFail)
			return fault.New(fault.Unavailable, "", "hop %d lost hop %d", hop, hop+1)
		}
	case onion.Destroy:
		return fault.New(fault.Unavailable, "", "hop %d ended the circuit", hop)
	case onion.Resp, onion.Push, onion.End:
		if hop == onion.Hops {
			return c.stored(p, asm)
		}
	}
	return fault.New(fault.Invalid, "read circuit", "%v from hop %d", p.Command, hop)
}

// stored handles what the storage node says on a stream.
func (c *live) stored(p onion.Payload, asm *onion.Reassembler) error {
	if p.Command == onion.End {
		c.finish(p.Stream, result{err: endOf(p.Data)})
		return nil
	}
	if p.Command == onion.Resp && c.credit.Add(1) >= creditBatch {
		select {
		case c.owed <- struct{}{}:
		default:
		}
	}
	m, done, err := asm.Add(p)
	if err != nil || !done {
		return err
	}
	c.mu.Lock()
	cl := c.calls[m.Stream]
	c.mu.Unlock()
	switch {
	case cl == nil || m.Command == onion.Push && cl.gone.Load(): // crossed our END
	case m.Command == onion.Push && cl.pushes != nil:
		select {
		case cl.pushes <- m:
		default:
			return fault.New(fault.Invalid, "read circuit", "more than %d pushes without an acknowledgement",
				pushWindow)
		}
	case m.Command == onion.Resp && cl.pushes == nil:
		if len(cl.body)+len(m.Body) > maxAnswer {
			return fault.New(fault.Invalid, "read circuit", "answer of more than %d bytes", maxAnswer)
		}
		if cl.body == nil {
			cl.body = m.Body
		} else {
			cl.body = append(cl.body, m.Body...)
		}
		if !m.Continued {
			c.finish(m.Stream, result{body: cl.body})
		}
	default:
		return fault.New(fault.Invalid, "read circuit", "%v on the wrong stream", m.Command)
	}
	return nil
}

// endOf returns the error of an END.
func endOf(data []byte) error {
	if data[0] == onion.EndDone {
		return fault.New(fault.Unavailable, "use circuit", "the storage node ended the stream")
	}
	e, err := envelope.DecodeFault(data[1:])
	if err != nil {
		return err
	}
	return e
}

// Times between two signs of life on a circuit, drawn anew each time.
const (
	pingMin    = 20 * time.Second
	pingMax    = 60 * time.Second
	missedMost = 2
)

// keep sends credit when it is due and a PING now and then. Two in a row without any cell coming back end the
// circuit.
func (c *live) keep(ctx context.Context) {
	c.ping() // the first round trip, for Status
	missed, heard := 0, int64(0)
	timer := time.NewTimer(pingMin + rand.N(pingMax-pingMin))
	defer timer.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-ctx.Done():
			c.end(nil)
			return
		case <-c.owed:
			if p, ok := c.creditCell(); ok {
				if err := c.cell(onion.Hops, p); err != nil {
					c.end(err)
				}
			}
		case <-timer.C:
			if now := c.heard.Load(); now != heard {
				missed, heard = 0, now
			} else if missed++; missed >= missedMost {
				c.end(fault.New(fault.Unavailable, "use circuit", "%d PINGs without an answer", missed))
				return
			}
			c.ping()
			timer.Reset(pingMin + rand.N(pingMax-pingMin))
		}
	}
}
