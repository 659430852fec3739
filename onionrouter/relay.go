package onionrouter

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/starling-swarm/starling/internal/cellstream"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

// extendTimeout is how long hop j waits for the CREATED of hop j + 1. It shrinks along the path, so that the
// hop next to the silence is the one that speaks of it.
func extendTimeout(hop int) time.Duration {
	return 1600*time.Millisecond - time.Duration(hop-1)*200*time.Millisecond
}

// relay serves a circuit as one of its hops 1 to 3.
func (c *circuit) relay(cr *onion.Create, forward chan<- func(cellstream.Frame) bool) {
	next, created, ok := c.extend(cr)
	if !ok {
		c.r.failed.Add(1)
		_ = c.created(cellstream.Get(onion.CellSize), onion.StatusExtendFail)
		return
	}
	if c.created(created, onion.StatusOK) != nil {
		return
	}
	forward <- func(f cellstream.Frame) bool { return c.onward(f, next) }
	for {
		f, err := next.Recv()
		if err != nil {
			if c.ctx.Err() == nil {
				c.r.failed.Add(1)
				_ = c.reply(onion.Payload{Command: onion.ExtendFail})
			}
			return
		}
		if c.backward(f) != nil {
			return
		}
	}
}

// backward wraps a cell and sends it towards the client.
func (c *circuit) backward(f cellstream.Frame) error {
	c.back.Lock()
	defer c.back.Unlock()
	if err := c.hop.Backward(*f); err != nil {
		cellstream.Put(f)
		return err
	}
	return c.prev.Send(f)
}

// onward handles one cell from the client's side; false ends the circuit.
func (c *circuit) onward(f cellstream.Frame, next cellstream.Stream) bool {
	mine, err := c.hop.Forward(*f)
	if err != nil {
		cellstream.Put(f)
		return false
	}
	if mine == nil {
		if next.Send(f) != nil {
			// The other goroutine meets the same end and tells the client before it ends the circuit.
			<-c.ctx.Done()
			return false
		}
		return true
	}
	defer cellstream.Put(f)
	p, err := onion.DecodePayload(mine)
	if err != nil {
		return false
	}
	switch p.Command {
	case onion.Ping:
		return c.reply(onion.U64(onion.Pong, 0, p.Number())) == nil
	case onion.Drop:
		return true
	}
	return false // DESTROY, or what no client says to a relay
}

// extend opens the stream to the next hop and returns it with the frame that holds its CREATED.
func (c *circuit) extend(cr *onion.Create) (next cellstream.Stream, created cellstream.Frame, ok bool) {
	ctx, cancel := context.WithCancel(c.ctx) // ends with the circuit, if not earlier
	slow := time.AfterFunc(extendTimeout(cr.Hop), cancel)
	next, err := c.r.dial(ctx, cr.Next)
	if err == nil {
		f := cellstream.Get(onion.CreateSize)
		if err = onion.Pad(rand.Reader, *f, cr.Inner); err == nil {
			err = next.Send(f)
		} else {
			cellstream.Put(f)
		}
	}
	if err == nil {
		created, err = next.Recv()
	}
	if !slow.Stop() || err != nil || len(*created) != onion.CellSize {
		cancel()
		cellstream.Put(created)
		return nil, nil, false
	}
	return next, created, true
}

// dial opens a circuit's stream to a node; to this node itself without a network in between.
func (r *Router) dial(ctx context.Context, node ident.NodeID) (cellstream.Stream, error) {
	if node == r.cfg.Self {
		return r.handover(ctx), nil
	}
	cc, err := r.cfg.DialPeer(ctx, node)
	if err != nil {
		return nil, err
	}
	return cellstream.Open(ctx, cc)
}

// handover serves the next hop of a circuit at this same node. The pipe in between ends with either side.
func (r *Router) handover(ctx context.Context) cellstream.Stream {
	ctx, cancel := context.WithCancel(ctx)
	there, back := make(chan cellstream.Frame, pipeFrames), make(chan cellstream.Frame, pipeFrames)
	r.running.Go(func() {
		defer cancel()
		r.serve(ctx, pipe{ctx, there, back}, entry{})
	})
	return pipe{ctx, back, there}
}

// pipeFrames is what a pipe holds before Send blocks, as a stream's window does: 64 KiB.
const pipeFrames = 32

// pipe is one end of a stream inside the process.
type pipe struct {
	ctx context.Context
	in  <-chan cellstream.Frame
	out chan<- cellstream.Frame
}

func (p pipe) Send(f cellstream.Frame) error {
	select {
	case p.out <- f:
		return nil
	case <-p.ctx.Done():
		cellstream.Put(f)
		return errEnded
	}
}

func (p pipe) Recv() (cellstream.Frame, error) {
	select {
	case f := <-p.in:
		return f, nil
	default:
	}
	select {
	case f := <-p.in:
		return f, nil
	case <-p.ctx.Done():
		select {
		case f := <-p.in: // what was sent before the end still arrives
			return f, nil
		default:
			return nil, errEnded
		}
	}
}
