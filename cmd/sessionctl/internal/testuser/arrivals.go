package testuser

import (
	"context"
	"sync"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
)

// Arrivals remembers when each message came, and how often. The zero value is ready to use, by several
// goroutines.
type Arrivals struct {
	mu    sync.Mutex
	first map[ident.MessageID]time.Time
	again int           // messages that came once more
	more  chan struct{} // closed at the next first arrival; nil while nobody waits
}

// Add records that message id came.
func (a *Arrivals) Add(id ident.MessageID, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.first[id]; ok {
		a.again++
		return
	}
	if a.first == nil {
		a.first = map[ident.MessageID]time.Time{}
	}
	a.first[id] = at
	if a.more != nil {
		close(a.more)
		a.more = nil
	}
}

// Await returns when message id came first; it waits for it until ctx ends, and then returns the error of
// ctx.
func (a *Arrivals) Await(ctx context.Context, id ident.MessageID) (time.Time, error) {
	for {
		a.mu.Lock()
		at, ok := a.first[id]
		if !ok && a.more == nil {
			a.more = make(chan struct{})
		}
		more := a.more
		a.mu.Unlock()
		if ok {
			return at, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// Doubled counts arrivals of messages that had come before.
func (a *Arrivals) Doubled() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.again
}
