package client

import "sync"

// broadcast wakes everybody who waits for something to change. The zero value is ready.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// watch returns a channel that the next fire closes. Take it before looking at what may change.
func (b *broadcast) watch() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) fire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
