package client

import (
	"context"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Numbers of the store that erasure goes by, in Unix milliseconds.
const (
	// clockKey is the latest instant that this device took for past.
	clockKey = "clock"
	// fetchedKey is the instant up to which this device has fetched and opened everything.
	fetchedKey = "fetched"
)

// fetchedBy is the key of what another device acknowledged.
func fetchedBy(d ident.DeviceID) string { return fetchedKey + "/" + d.String() }

const (
	// maxStep is how far time may move on between two looks at it before further nodes are asked.
	maxStep = 24 * time.Hour
	// askClocks is how many nodes' clocks must agree with this machine's.
	askClocks = 2
)

// likelyTime is the lesser of this machine's time and the network's; nobody is asked.
func (c *Client) likelyTime() time.Time {
	local := time.Now()
	switch {
	case c.cfg.wall != nil:
		local = c.cfg.wall()
	case c.cfg.Clock != nil:
		local = c.cfg.Clock()
	}
	return earlier(local, c.net.Now())
}

// noteTime raises the high-water mark while time moves on as it should.
func (c *Client) noteTime(tx *store.Tx, t time.Time) {
	if mark := int64(tx.Number(clockKey)); mark == 0 || t.Sub(fromMS(mark)) <= maxStep {
		tx.Advance(clockKey, uint64(t.UnixMilli()))
	}
}

// sureTime returns an instant that has passed by this machine's clock, the network's and those of two nodes; after a
// leap, of two further nodes as well. What cannot be undone (erasing keys, leaving devices out) goes by it: a clock that
// runs ahead must not do harm.
func (c *Client) sureTime(ctx context.Context) (time.Time, error) {
	t := c.likelyTime()
	asked, at, err := c.askTime(ctx, nil)
	if err != nil {
		return t, err
	}
	t = earlier(t, at)
	var mark uint64
	if err := c.p.db.View(func(tx *store.Tx) error {
		mark = tx.Number(clockKey)
		return nil
	}); err != nil {
		return t, err
	}
	if mark != 0 && t.Sub(fromMS(int64(mark))) > maxStep {
		if _, at, err = c.askTime(ctx, asked); err != nil {
			return t, err
		}
		t = earlier(t, at)
	}
	return t, c.p.db.UpdateLazy(func(tx *store.Tx) error {
		tx.Advance(clockKey, uint64(t.UnixMilli()))
		return nil
	})
}

// askTime returns nodes' times, and the latest instant that two of them and at least half of them have reached.
func (c *Client) askTime(ctx context.Context, besides map[ident.NodeID]time.Time) (map[ident.NodeID]time.Time, time.Time, error) {
	want := askClocks
	if d := c.net.Directory(); d != nil {
		want = min(want, len(d.Nodes)) // a cluster of one node has no second opinion
	}
	times, err := c.net.Times(ctx, want, besides)
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(times) < max(want, 1) {
		return nil, time.Time{}, fault.New(fault.Unavailable, "ask time", "%d nodes gave theirs, want %d", len(times), want)
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

// rotateIfDue makes the next generation when it is this device's turn, without the devices that fell silent.
func (c *Client) rotateIfDue(ctx context.Context) error {
	var was uint32
	due := func(t time.Time) (is bool) {
		c.keys.read(func(s *account.State) {
			at, ok := s.RotationDue()
			was, is = s.G(), ok && !t.Before(at)
		})
		return is
	}
	if !due(c.likelyTime()) {
		return nil
	}
	t, err := c.sureTime(ctx)
	if err != nil || !due(t) {
		return err
	}
	// What the other devices said of themselves comes first; one of them may have been faster, too.
	if err := c.SyncToHeads(ctx); err != nil || !due(t) {
		return err
	}
	var r account.Rotation
	c.keys.read(func(s *account.State) { r.Silent = s.Silent(t) })
	return c.rotate(ctx, r, func(s *account.State) bool { return s.G() > was })
}

// eraseSeeds drops day keys by the rule of docs/formats.md, section 5.10: first everything sealed to them is fetched and
// opened, and on disk; then the other devices are told; then keys go that all devices are done with.
func (c *Client) eraseSeeds(ctx context.Context) error {
	c.advance()
	over, due, err := c.overDays(c.likelyTime())
	if err != nil || !over && !due {
		return err
	}
	t, err := c.sureTime(ctx)
	if err != nil {
		return err
	}
	if over, _, err = c.overDays(t); err != nil {
		return err
	}
	if over {
		if err := c.fetchUpTo(ctx, t); err != nil {
			return err
		}
	}
	if _, due, err = c.overDays(t); err != nil || !due {
		return err
	}
	// Messages are committed without a sync while the mailbox has them: it must not be the only one when the keys go.
	if err := c.p.db.Update(func(*store.Tx) error { return nil }); err != nil {
		return err
	}
	acked, err := c.ackedTime()
	if err != nil {
		return err
	}
	return c.keys.change(func(s *account.State) error {
		s.Erase(t, acked)
		return nil
	})
}

// overDays reports whether, at t, the mail of a day is complete and this device has not fetched it since, and whether a
// day key may go.
func (c *Client) overDays(t time.Time) (over, due bool, err error) {
	acked, err := c.ackedTime()
	if err != nil {
		return false, false, err
	}
	var own, ackedMS int64
	if !acked.IsZero() {
		ackedMS = acked.UnixMilli()
	}
	err = c.p.db.View(func(tx *store.Tx) error {
		own = int64(tx.Number(fetchedKey))
		return nil
	})
	c.keys.read(func(s *account.State) {
		for _, v := range s.Retained() {
			over = over || account.Over(v.Day, t.UnixMilli()) && !account.Over(v.Day, own)
			due = due || account.MayErase(v.Day, t.UnixMilli(), ackedMS)
		}
	})
	return over, due, err
}

// ackedTime returns the instant up to which all devices have fetched, as far as this one knows.
func (c *Client) ackedTime() (t time.Time, err error) {
	err = c.p.db.View(func(tx *store.Tx) error {
		c.keys.read(func(s *account.State) {
			t = s.Acked(int64(tx.Number(fetchedKey)), func(d ident.DeviceID) int64 { return int64(tx.Number(fetchedBy(d))) })
		})
		return nil
	})
	return t, err
}

// fetchUpTo fetches and opens all that was stored up to t, makes that durable, and tells the other devices.
func (c *Client) fetchUpTo(ctx context.Context, t time.Time) error {
	if err := c.SyncToHeads(ctx); err != nil {
		return err
	}
	if err := c.update(func(tx *store.Tx) error {
		tx.Advance(fetchedKey, uint64(t.UnixMilli()))
		if c.keys.manyDevices() {
			tx.AddLeg(&store.Leg{Kind: store.LegFetched, Peer: c.me.Key(), SentAt: t.UnixMilli()})
		}
		return nil
	}); err != nil {
		return err
	}
	c.out.kick(c.me)
	return nil
}

// fetched takes in how far another device has fetched.
func (a *applied) fetched(tx *store.Tx, body []byte, storedAt int64) error {
	var f account.Fetched
	var refused error
	if err := a.c.keys.change(func(s *account.State) error {
		f, refused = s.ApplyFetched(body, storedAt)
		return nil
	}); err != nil {
		return err
	}
	if refused != nil {
		// Forged, or of a device that is no longer part of the account: it changes nothing.
		a.c.log.Debug("acknowledgement dropped", "error", refused)
		return nil
	}
	tx.Advance(fetchedBy(f.Device), uint64(max(f.UpTo, 0)))
	a.c.records.wake()
	return tx.Err()
}
