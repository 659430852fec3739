package cluster

import (
	"context"
	"sync"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/wire"
)

// window is how many envelopes the leader sends ahead of what a subscriber has taken.
const window = 32

// followers holds one stream of subscriptions per leader and swarm.
type followers struct {
	ctx   context.Context // ends with Run
	dial  func(ident.NodeID) (wire.Peer, error)
	tasks *tasks // of Run

	mu    sync.Mutex
	links map[followKey]*follower
}

type followKey struct {
	node  ident.NodeID
	swarm ident.SwarmID
}

// follower is one stream.
type follower struct {
	ready  chan struct{} // closed when the stream is open, or failed to open
	err    error
	stream *wire.FollowStream
	cancel context.CancelFunc
	send   sync.Mutex

	mu    sync.Mutex
	last  uint64
	subs  map[uint64]chan *wire.Push // of window+1: the leader keeps to its credit, so receiving never blocks
	ended bool
}

// subscribe serves s through the leader until the leader, the stream or the subscription ends.
func (f *followers) subscribe(ctx context.Context, leader ident.NodeID, r *replica, s *subscription) error {
	const op = "subscribe"
	l := f.get(followKey{leader, r.id})
	moved, stop := r.whenMoved(leader)
	defer stop()
	select {
	case <-l.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.err != nil {
		return unavailable(op, l.err)
	}
	id, pushes, err := l.open(&wire.Subscription{Swarm: r.id, Tag: s.in.Tag, Signed: s.raw, Cursor: s.cursor})
	if err != nil {
		return err
	}
	defer l.close(id)
	taken := uint32(0)
	for {
		var m *wire.Push
		var ok bool
		select {
		case m, ok = <-pushes:
		case <-moved:
			return fault.New(fault.Unavailable, op, "swarm %s has another leader", r.id)
		case <-r.done:
			return errStopping(op)
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case !ok:
			return fault.New(fault.Unavailable, op, "the stream to the leader broke")
		case m.End != nil:
			return m.End
		}
		e, err := envelope.DecodeEnvelope(m.Envelope)
		if err != nil {
			return err
		}
		if err := s.deliver(e); err != nil {
			return err
		}
		if taken++; taken >= window/2 {
			if err := l.write(&wire.Follow{ID: id, Credit: taken}); err != nil {
				return err
			}
			taken = 0
		}
	}
}

// unavailable makes whatever a stream failed with a reason to try again.
func unavailable(op string, err error) error {
	return fault.Wrap(fault.Unavailable, op, err)
}

// get returns the stream to a leader, opening one if there is none. It may not be ready yet.
func (f *followers) get(key followKey) *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.links[key]
	if l != nil {
		l.mu.Lock()
		ended := l.ended
		l.mu.Unlock()
		if !ended {
			return l
		}
	}
	l = &follower{ready: make(chan struct{}), subs: make(map[uint64]chan *wire.Push)}
	if !f.tasks.begin(func() { l.run(f.ctx, key.node, f.dial) }) {
		l.err = errStopping("subscribe")
		close(l.ready)
		return l
	}
	f.links[key] = l
	return l
}

// run opens the stream and distributes pushes until it breaks.
func (l *follower) run(ctx context.Context, id ident.NodeID, dial func(ident.NodeID) (wire.Peer, error)) {
	ctx, l.cancel = context.WithCancel(ctx)
	defer l.cancel()
	peer, err := dial(id)
	if err == nil {
		l.stream, err = peer.Follow(ctx)
	}
	l.err = err
	if err == nil {
		close(l.ready)
		_ = l.receive() // how the stream broke makes no difference
	}
	l.mu.Lock()
	subs := l.subs
	l.subs, l.ended = nil, true
	l.mu.Unlock()
	for _, c := range subs {
		close(c)
	}
	if l.err != nil {
		close(l.ready)
	}
}

func (l *follower) receive() error {
	for {
		m, err := l.stream.Recv()
		if err != nil {
			return err
		}
		l.mu.Lock()
		if c := l.subs[m.ID]; c != nil {
			select {
			case c <- m:
			default: // a leader beyond its credit: the subscription starts again from its cursor
				delete(l.subs, m.ID)
				close(c)
			}
		}
		l.mu.Unlock()
	}
}

func (l *follower) open(w *wire.Subscription) (id uint64, pushes chan *wire.Push, err error) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return 0, nil, fault.New(fault.Unavailable, "subscribe", "the stream to the leader is closed")
	}
	l.last++
	id = l.last
	pushes = make(chan *wire.Push, window+1)
	l.subs[id] = pushes
	l.mu.Unlock()
	if err = l.write(&wire.Follow{ID: id, Open: w}); err != nil {
		l.close(id)
	}
	return id, pushes, err
}

// close forgets a subscription and tells the leader.
func (l *follower) close(id uint64) {
	l.mu.Lock()
	_, open := l.subs[id]
	delete(l.subs, id)
	l.mu.Unlock()
	if open {
		_ = l.write(&wire.Follow{ID: id, Close: true}) // a broken stream tells it too
	}
}

func (l *follower) write(m *wire.Follow) error {
	l.send.Lock()
	defer l.send.Unlock()
	if err := l.stream.Send(m); err != nil {
		l.cancel()
		return unavailable("subscribe", err)
	}
	return nil
}
