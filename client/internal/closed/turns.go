package closed

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
)

// Every group is followed over a circuit of its own, so that no node learns which groups one device is in;
// and a guard allows a client a number of circuits. A device in more groups than that follows them in turns:
// whoever was quiet for longest makes room for the one that waits longest, and where all are busy, whoever
// was followed for longest.

// longTurn is after how many times turns.least a group makes room although it is busy.
const longTurn = 10

// turns hands out the circuits of groups.
type turns struct {
	most  int           // groups that are followed at once
	least time.Duration // that a group is followed, and without anything new, before it makes room

	mu      sync.Mutex
	held    map[ident.GroupID]*turn
	waiting []*waiter   // the next first
	timer   *time.Timer // looks again for who makes room; nil: nobody waits
}

// turn is a group's leave to be followed.
type turn struct {
	users int // subscriptions of the group
	began time.Time
	moved time.Time     // when something came, or when it began
	over  chan struct{} // closed when it has to make room
	ended bool
}

// waiter is a subscription that waits for its group's turn.
type waiter struct {
	id    ident.GroupID
	hurry bool
	ready chan *turn // gets one
}

// take waits for the group's turn. Give it back.
func (t *turns) take(ctx context.Context, id ident.GroupID) (*turn, error) {
	t.mu.Lock()
	if h := t.held[id]; h != nil && !h.ended {
		h.users++
		t.mu.Unlock()
		return h, nil
	}
	w := &waiter{id: id, ready: make(chan *turn, 1)}
	t.waiting = append(t.waiting, w)
	t.arrange()
	t.mu.Unlock()
	select {
	case h := <-w.ready:
		return h, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = slices.DeleteFunc(t.waiting, func(o *waiter) bool { return o == w })
	select {
	case h := <-w.ready: // it came meanwhile
		t.leave(id, h)
	default:
		t.arrange()
	}
	return nil, ctx.Err()
}

// give gives a turn back.
func (t *turns) give(id ident.GroupID, h *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leave(id, h)
}

func (t *turns) leave(id ident.GroupID, h *turn) {
	if h.users--; h.users == 0 {
		delete(t.held, id)
	}
	t.arrange()
}

// touch notes that something came.
func (t *turns) touch(h *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.moved = time.Now()
}

// hurry lets a group that waits go first: the user wants something of it.
func (t *turns) hurry(id ident.GroupID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.held[id]; h != nil && !h.ended {
		h.moved = time.Now()
		return
	}
	var first, rest []*waiter
	for _, w := range t.waiting {
		if w.hurry = w.hurry || w.id == id; w.hurry {
			first = append(first, w)
		} else {
			rest = append(rest, w)
		}
	}
	t.waiting = append(first, rest...)
	t.arrange()
}

// due is when a group makes room if others wait.
func (t *turns) due(h *turn) time.Time {
	quiet, long := h.moved.Add(t.least), h.began.Add(longTurn*t.least)
	if long.Before(quiet) {
		return long
	}
	return quiet
}

// arrange gives free turns to those who wait, and ends the turn that is due first for the next of them. mu is
// held.
func (t *turns) arrange() {
	now := time.Now()
	var rest []*waiter
	for _, w := range t.waiting {
		h := t.held[w.id]
		switch {
		case h != nil && h.ended, h == nil && len(t.held) >= t.most:
			rest = append(rest, w)
			continue
		case h == nil:
			h = &turn{began: now, moved: now, over: make(chan struct{})}
			t.held[w.id] = h
		}
		h.users++
		w.ready <- h
	}
	t.waiting = rest
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	if len(t.waiting) == 0 {
		return
	}
	var next *turn
	for _, h := range t.held {
		if h.ended {
			return // it calls again
		}
		if next == nil || t.due(h).Before(t.due(next)) {
			next = h
		}
	}
	if left := t.due(next).Sub(now); left > 0 && !t.waiting[0].hurry {
		t.timer = time.AfterFunc(left, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.arrange()
		})
		return
	}
	next.ended = true
	close(next.over)
}
