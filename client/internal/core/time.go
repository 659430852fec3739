package core

import (
	"context"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// clockKey is the latest instant that this device took for past.
const clockKey = "clock"

// maxStep is how far time may move on between two looks at it before further nodes are asked.
const maxStep = 24 * time.Hour

// askClocks is how many nodes' clocks must agree with this machine's.
const askClocks = 2

// LikelyTime is the lesser of this machine's time and the network's; nobody is asked.
func (c *Core) LikelyTime() time.Time {
	local := time.Now()
	switch {
	case c.cfg.Wall != nil:
		local = c.cfg.Wall()
	case c.cfg.Clock != nil:
		local = c.cfg.Clock()
	}
	return earlier(local, c.Net.Now())
}

// NoteTime raises the high-water mark while time moves on as it should.
func (c *Core) NoteTime(tx *store.Tx, t time.Time) {
	if mark := int64(tx.Number(clockKey)); mark == 0 || t.Sub(FromMS(mark)) <= maxStep {
		tx.Advance(clockKey, uint64(t.UnixMilli()))
	}
}

// SureTime returns an instant that has passed by this machine's clock, the network's and those of two nodes;
// after a leap, of two further nodes as well. What cannot be undone (erasing keys, leaving devices out) goes
// by it: a clock that runs ahead must not do harm.
func (c *Core) SureTime(ctx context.Context) (time.Time, error) {
	t := c.LikelyTime()
	asked, at, err := c.askTime(ctx, nil)
	if err != nil {
		return t, err
	}
	t = earlier(t, at)
	var mark uint64
	if err := c.View(func(tx *store.Tx) error {
		mark = tx.Number(clockKey)
		return nil
	}); err != nil {
		return t, err
	}
	if mark != 0 && t.Sub(FromMS(int64(mark))) > maxStep {
		if _, at, err = c.askTime(ctx, asked); err != nil {
			return t, err
		}
		t = earlier(t, at)
	}
	return t, c.UpdateLazy(func(tx *store.Tx, _ *Batch) error {
		tx.Advance(clockKey, uint64(t.UnixMilli()))
		return nil
	})
}

// askTime returns nodes' times, and the latest instant that two of them and at least half of them have
// reached.
func (c *Core) askTime(ctx context.Context,
	besides map[ident.NodeID]time.Time) (map[ident.NodeID]time.Time, time.Time, error) {
	want := askClocks
	if d := c.Net.Directory(); d != nil {
		want = min(want, len(d.Nodes)) // a cluster of one node has no second opinion
	}
	times, err := c.Net.Times(ctx, want, besides)
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(times) < max(want, 1) {
		return nil, time.Time{}, fault.New(fault.Unavailable, "ask time", "%d nodes gave theirs, want %d",
			len(times), want)
	}
	var all []time.Time
	for _, t := range times {
		all = append(all, t)
	}
	slices.SortFunc(all, time.Time.Compare)
	return times, all[(len(all)-1)/2], nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
