package circuit

import (
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
)

// TestRoomIsMadeByIdleCircuits retires those that were unused for longest, never one with a stream.
func TestRoomIsMadeByIdleCircuits(t *testing.T) {
	n, now := &Network{pool: map[key]*slot{}}, time.Now()
	var all []*live
	for i := range maxPool + 2 {
		c := &live{done: make(chan struct{}), calls: map[uint16]*call{}, cancel: func() {},
			life: time.Hour, born: now}
		if i%2 == 0 {
			c.calls[1] = new(call)
		}
		purpose := PurposeInbox
		if i%3 == 0 {
			purpose = "send"
		}
		n.pool[key{purpose, ident.MailboxID{byte(i)}}] = &slot{lock: make(chan struct{}, 1), c: c,
			used: now.Add(time.Duration(i) * time.Second)}
		all = append(all, c)
	}
	n.makeRoom(1)
	for i, c := range all {
		if want := i != 1 && i != 3 && i != 5; c.usable() != want {
			t.Errorf("circuit %d is usable: %v, want %v", i, c.usable(), want)
		}
	}
}
