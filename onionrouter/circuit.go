package onionrouter

import (
	"context"
	crand "crypto/rand"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/starling-swarm/starling/internal/cellstream"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

const (
	firstFrame = 10 * time.Second      // how long a new stream may stay silent
	failDelay  = 50 * time.Millisecond // the most that a failed create is held back, at random
)

// entry says where a circuit's stream came in.
type entry struct {
	client bool   // on the client listener
	conn   string // the client's connection, for the limits
}

// circuit is one circuit at this node. Two goroutines serve it: the handler of its stream, which owns
// everything and moves cells backward, and the reader, which moves them forward. Either ends both by
// cancelling ctx; the reader returns once the handler has, because that ends the stream it reads from.
type circuit struct {
	r      *Router
	prev   cellstream.Stream
	ctx    context.Context
	cancel context.CancelFunc
	hop    *onion.Hop

	back sync.Mutex // the order of sealing is the order on the link
}

var errRefused = errors.New("refused")

// serve runs a circuit until it ends.
func (r *Router) serve(ctx context.Context, s cellstream.Stream, from entry) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &circuit{r: r, prev: s, ctx: ctx, cancel: cancel}
	if !r.begin(c) {
		return
	}
	defer r.end(c)

	first := make(chan cellstream.Frame, 1)
	forward := make(chan func(cellstream.Frame) bool, 1)
	r.running.Add(1)
	go func() {
		defer r.running.Done()
		defer cancel()
		f, err := s.Recv()
		if err != nil {
			return
		}
		first <- f
		select {
		case handle := <-forward:
			c.read(handle)
		case <-ctx.Done():
		}
	}()

	timer := time.NewTimer(firstFrame)
	defer timer.Stop()
	select {
	case f := <-first:
		c.create(f, from, forward)
	case <-timer.C:
	case <-ctx.Done():
	}
}

// begin and end keep the list of circuits; begin is false once the router has stopped.
func (r *Router) begin(c *circuit) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.running.Add(1)
	r.live[c] = struct{}{}
	return true
}

func (r *Router) end(c *circuit) {
	r.mu.Lock()
	delete(r.live, c)
	r.mu.Unlock()
	r.running.Done()
}

// read hands every frame to handle, which takes it over, until one of them fails.
func (c *circuit) read(handle func(cellstream.Frame) bool) {
	for {
		f, err := c.prev.Recv()
		if err != nil || !handle(f) {
			return
		}
	}
}

// create serves the circuit from its create packet to its end. Whatever is wrong with the packet ends it
// after the same random delay.
func (c *circuit) create(f cellstream.Frame, from entry, forward chan<- func(cellstream.Frame) bool) {
	if from.client {
		if !c.r.limits.enter(from.conn, c.r.circuitsPerConn(), c.r.cfg.Now()) {
			cellstream.Put(f)
			c.refuse()
			return
		}
		defer c.r.limits.leave(from.conn)
	}
	cr, err := c.open(*f, from)
	cellstream.Put(f)
	if err == nil {
		c.hop, err = cr.Accept(crand.Reader)
	}
	if err != nil {
		c.refuse()
		return
	}
	c.r.created.Add(1)
	life := time.AfterFunc(time.Duration(cr.Lifetime)*time.Second, c.cancel)
	defer life.Stop()
	switch {
	case cr.Class != onion.MSG || cr.Early != 0,
		cr.Hop == onion.Hops && c.r.cfg.Storage == nil,
		cr.Hop < onion.Hops && c.r.cfg.NoRelay:
		_ = c.created(cellstream.Get(onion.CellSize), onion.StatusRefused)
	case cr.Hop == onion.Hops:
		c.store(cr.Tag, forward)
	default:
		c.relay(cr, forward)
	}
}

// refuse ends a circuit that this node does not serve, not at once.
func (c *circuit) refuse() {
	c.r.refused.Add(1)
	select {
	case <-time.After(rand.N(failDelay)):
	case <-c.ctx.Done():
	}
}

// open checks a create packet and opens it, once.
func (c *circuit) open(frame []byte, from entry) (*onion.Create, error) {
	r := c.r
	tag := onion.ReplayTag(frame)
	if len(frame) != onion.CreateSize || r.replay.has(tag) {
		return nil, errRefused
	}
	select {
	case r.crypto <- struct{}{}:
		defer func() { <-r.crypto }()
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
	now := r.cfg.Now()
	for _, k := range r.keys.candidates(now, r.inUse(now)) {
		cr, err := onion.OpenCreate(k.key, r.cfg.Self, k.period, frame)
		if err != nil {
			continue
		}
		if from.client != (cr.Hop == 1) {
			return nil, errRefused
		}
		ok, err := r.replay.add(tag, cr.Bucket, now)
		if err != nil {
			r.cfg.Logger.Error("replay file cannot be written", "error", err)
		}
		if err != nil || !ok {
			return nil, errRefused
		}
		return cr, nil
	}
	return nil, errRefused
}

func (r *Router) circuitsPerConn() int {
	if d, _ := r.cfg.Directory.Current(); d != nil && d.Params.CircuitsPerConn > 0 {
		return int(d.Params.CircuitsPerConn)
	}
	return defaultCircuits
}

// created seals this hop's answer around what is in f, which it takes over, and sends it back.
func (c *circuit) created(f cellstream.Frame, status onion.Status) error {
	a := onion.Answer{Status: status, TimeMS: c.r.cfg.Now().UnixMilli()}
	_, a.Digest = c.r.cfg.Directory.Current()
	if err := c.hop.SealCreated(*f, a); err != nil {
		cellstream.Put(f)
		return err
	}
	return c.prev.Send(f)
}

// reply sends a payload of this hop to the client.
func (c *circuit) reply(p onion.Payload) error {
	c.back.Lock()
	defer c.back.Unlock()
	f := cellstream.Get(onion.CellSize)
	p.Put(c.hop.Own(*f))
	c.hop.SealOwn(*f)
	return c.prev.Send(f)
}
