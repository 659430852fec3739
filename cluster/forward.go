package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/wire"
)

// forwarders holds one stream of requests per node that leads a swarm of ours.
type forwarders struct {
	ctx   context.Context // ends with Run
	dial  func(ident.NodeID) (wire.Peer, error)
	tasks *tasks // of Run

	mu    sync.Mutex
	links map[ident.NodeID]*forwarder
}

// forwarder is one stream. Requests and answers are matched by number, so a slow one holds up no other.
type forwarder struct {
	ready chan struct{} // closed when the stream is open, or failed to open
	err   error         // why it failed to open; set before ready closes

	stream *wire.ForwardStream
	cancel context.CancelFunc
	send   sync.Mutex

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan *wire.Answer
	ended   bool
}

// get returns the open stream to a node, and opens one if there is none.
func (f *forwarders) get(ctx context.Context, id ident.NodeID) (*forwarder, error) {
	f.mu.Lock()
	l := f.links[id]
	if l == nil || l.hasEnded() {
		l = &forwarder{ready: make(chan struct{}), waiting: make(map[uint64]chan *wire.Answer)}
		if !f.tasks.begin(func() { l.run(f.ctx, id, f.dial) }) {
			f.mu.Unlock()
			return nil, errStopping("forward request")
		}
		f.links[id] = l
	}
	f.mu.Unlock()
	select {
	case <-l.ready:
		return l, l.err
	case <-ctx.Done():
		return nil, fault.New(fault.Unavailable, "forward request", "the leader is not reached in time")
	}
}

func (l *forwarder) hasEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// run opens the stream and distributes answers until it breaks.
func (l *forwarder) run(ctx context.Context, id ident.NodeID, dial func(ident.NodeID) (wire.Peer, error)) {
	ctx, l.cancel = context.WithCancel(ctx)
	defer l.cancel()
	peer, err := dial(id)
	if err == nil {
		l.stream, err = peer.Forward(ctx)
	}
	if l.err = err; err != nil {
		l.mu.Lock()
		l.ended = true
		l.mu.Unlock()
		close(l.ready)
		return
	}
	close(l.ready)
	l.receive()
}

func (l *forwarder) receive() {
	for {
		a, err := l.stream.Recv()
		if err != nil {
			l.mu.Lock()
			waiting := l.waiting
			l.waiting, l.ended = nil, true
			l.mu.Unlock()
			for _, w := range waiting {
				close(w)
			}
			return
		}
		l.mu.Lock()
		w := l.waiting[a.ID]
		delete(l.waiting, a.ID)
		l.mu.Unlock()
		if w != nil {
			w <- a
		}
	}
}

// call sends a request and waits for its answer, or until moved says that there is another leader. sent is
// false if the request certainly did not leave.
func (l *forwarder) call(ctx context.Context, q *wire.Request,
	moved <-chan struct{}) (a *wire.Answer, sent bool, err error) {
	const op = "forward request"
	w := make(chan *wire.Answer, 1)
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return nil, false, fault.New(fault.Unavailable, op, "the stream to the leader is closed")
	}
	l.last++
	q.ID = l.last
	l.waiting[q.ID] = w
	l.mu.Unlock()
	if deadline, ok := ctx.Deadline(); ok {
		q.Timeout = time.Until(deadline)
	}
	l.send.Lock()
	err = l.stream.Send(q)
	l.send.Unlock()
	if err != nil {
		l.cancel()
		return nil, true, fault.New(fault.Unavailable, op, "the stream to the leader broke: outcome unknown")
	}
	select {
	case a, ok := <-w:
		if !ok {
			return nil, true, fault.New(fault.Unavailable, op,
				"the stream to the leader broke: outcome unknown")
		}
		return a, true, nil
	case <-moved:
		err = fault.New(fault.Unavailable, op, "the leader changed before it answered: outcome unknown")
	case <-ctx.Done():
		err = fault.New(fault.Unavailable, op, "no answer from the leader in time: outcome unknown")
	}
	l.mu.Lock()
	delete(l.waiting, q.ID)
	l.mu.Unlock()
	return nil, true, err
}

// forward sends a request to the leader, one hop. retry says that it was certainly not proposed.
func (n *Node) forward(ctx context.Context, leader ident.NodeID, q *wire.Request,
	moved <-chan struct{}) (resp []byte, retry bool, err error) {
	l, err := n.forwarders.get(ctx, leader)
	if err != nil {
		return nil, true, err
	}
	a, sent, err := l.call(ctx, q, moved)
	switch {
	case err != nil:
		return nil, !sent, err
	case a.Fault != nil:
		return nil, a.NotLeader, a.Fault
	}
	return a.Response, false, nil
}
