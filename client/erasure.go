package client

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/ident"
)

// Numbers of the store that erasure goes by, in Unix milliseconds.
const (

	// fetchedKey is the instant up to which this device has fetched and opened everything.
	fetchedKey = "fetched"
)

// fetchedBy is the key of what another device acknowledged.
func fetchedBy(d ident.DeviceID) string { return fetchedKey + "/" + d.String() }

// rotateIfDue makes the next generation when it is this device's turn, without the devices that fell silent.
func (c *Client) rotateIfDue(ctx context.Context) error {
	var was uint32
	due := func(t time.Time) (is bool) {
		c.core.Keys.Read(func(s *account.State) {
			at, ok := s.RotationDue()
			was, is = s.G(), ok && !t.Before(at)
		})
		return is
	}
	if !due(c.core.LikelyTime()) {
		return nil
	}
	t, err := c.core.SureTime(ctx)
	if err != nil || !due(t) {
		return err
	}
	// What the other devices said of themselves comes first; one of them may have been faster, too.
	if err := c.SyncToHeads(ctx); err != nil || !due(t) {
		return err
	}
	var r account.Rotation
	c.core.Keys.Read(func(s *account.State) { r.Silent = s.Silent(t) })
	return c.rotate(ctx, r, func(s *account.State) bool { return s.G() > was })
}

// eraseSeeds drops day keys by the rule of docs/formats.md, section 5.10: first everything sealed to them is
// fetched and opened, and on disk; then the other devices are told; then keys go that all devices are done
// with.
func (c *Client) eraseSeeds(ctx context.Context) error {
	c.core.Advance()
	over, due, err := c.overDays(c.core.LikelyTime())
	if err != nil || !over && !due {
		return err
	}
	t, err := c.core.SureTime(ctx)
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
	// Messages are committed without a sync while the mailbox has them: it must not be the only one when the
	// keys go.
	if err := c.core.Update(func(_ *store.Tx, _ *core.Batch) error { return nil }); err != nil {
		return err
	}
	acked, err := c.ackedTime()
	if err != nil {
		return err
	}
	return c.core.Keys.Change(func(s *account.State) error {
		s.Erase(t, acked)
		return nil
	})
}

// overDays reports whether, at t, the mail of a day is complete and this device has not fetched it since, and
// whether a day key may go.
func (c *Client) overDays(t time.Time) (over, due bool, err error) {
	acked, err := c.ackedTime()
	if err != nil {
		return false, false, err
	}
	var own, ackedMS int64
	if !acked.IsZero() {
		ackedMS = acked.UnixMilli()
	}
	err = c.core.View(func(tx *store.Tx) error {
		own = int64(tx.Number(fetchedKey))
		return nil
	})
	c.core.Keys.Read(func(s *account.State) {
		for _, v := range s.Retained() {
			over = over || account.Over(v.Day, t.UnixMilli()) && !account.Over(v.Day, own)
			due = due || account.MayErase(v.Day, t.UnixMilli(), ackedMS)
		}
	})
	return over, due, err
}

// ackedTime returns the instant up to which all devices have fetched, as far as this one knows.
func (c *Client) ackedTime() (t time.Time, err error) {
	err = c.core.View(func(tx *store.Tx) error {
		c.core.Keys.Read(func(s *account.State) {
			t = s.Acked(int64(tx.Number(fetchedKey)),
				func(d ident.DeviceID) int64 { return int64(tx.Number(fetchedBy(d))) })
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
	if err := c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		tx.Advance(fetchedKey, uint64(t.UnixMilli()))
		if c.core.Keys.ManyDevices() {
			tx.AddLeg(&store.Leg{Kind: store.LegFetched, Peer: c.core.Me.Key(), SentAt: t.UnixMilli()})
		}
		return nil
	}); err != nil {
		return err
	}
	c.core.Kick(c.core.Me)
	return nil
}

// fetched takes in how far another device has fetched.
func (c *Client) fetched(tx *store.Tx, a *core.Batch, body []byte, storedAt int64) error {
	var f account.Fetched
	var refused error
	if err := c.core.Keys.Change(func(s *account.State) error {
		f, refused = s.ApplyFetched(body, storedAt)
		return nil
	}); err != nil {
		return err
	}
	if refused != nil {
		// Forged, or of a device that is no longer part of the account: it changes nothing.
		c.core.Log.Debug("acknowledgement dropped", "error", refused)
		return nil
	}
	tx.Advance(fetchedBy(f.Device), uint64(max(f.UpTo, 0)))
	c.records.wake()
	return tx.Err()
}
