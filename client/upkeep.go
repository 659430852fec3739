package client

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

const (
	upkeepEvery = time.Hour
	// seenFor is how long (sender, message ID) is remembered.
	seenFor = 60 * 24 * time.Hour
)

// upkeep is what a device does besides messages: it keeps day records published, moves the day keys on and erases what
// is over, makes the weekly generation, and writes snapshots.
type upkeep struct {
	round   sync.Mutex // one at a time
	woken   chan struct{}
	lastDay atomic.Uint32
}

func (u *upkeep) init() { u.woken = make(chan struct{}, 1) }

// wake makes the next round start now.
func (u *upkeep) wake() {
	select {
	case u.woken <- struct{}{}:
	default:
	}
}

func (c *Client) upkeepLoop(ctx context.Context) error {
	delay := time.Duration(0)
	for {
		if err := c.WaitOnline(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !c.awaitChange(ctx) {
				return ctx.Err()
			}
			continue
		}
		err := c.upkeepRound(ctx)
		if err != nil {
			c.log.Debug("upkeep failed", "error", err)
			delay = nextDelay(delay, err)
		} else {
			delay = upkeepEvery
		}
		t := time.NewTimer(delay)
		select {
		case <-t.C:
		case <-c.records.woken:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			delay = 0
		}
	}
}

// awaitChange waits until the cluster comes or goes.
func (c *Client) awaitChange(ctx context.Context) bool {
	changed := c.link.changed.watch()
	if online, _ := c.link.get(); online {
		return true
	}
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Client) upkeepRound(ctx context.Context) error {
	c.records.round.Lock()
	defer c.records.round.Unlock()
	if _, _, revoked := c.keys.summary(); revoked {
		return nil
	}
	c.keeper.wake() // time may have moved on more than its timers did
	// One task that fails does not keep the others from theirs.
	var failed error
	for _, task := range []func(context.Context) error{
		c.publishRecords, c.lookAtPeers, c.lookForOwnContest, c.verifyKept, c.catchUpShared, c.snapshotIfDue, c.rotateIfDue, c.eraseSeeds,
	} {
		if failed = errors.Join(failed, task(ctx)); ctx.Err() != nil {
			return failed
		}
	}
	return errors.Join(failed, c.updateLazy(func(tx *store.Tx) error {
		c.noteTime(tx, c.likelyTime())
		tx.ForgetSeen(c.net.Now().Add(-seenFor).UnixMilli())
		tx.ForgetChanges(c.net.Now().Add(-seenFor).UnixMilli())
		if n := tx.Number("unreadable"); n > 0 {
			tx.SetNumber("unreadable", 0)
			c.bus.publish(Event{Kind: EventNotice, At: c.net.Now(),
				Text: "messages from before this device joined are here only as far as another device hands them over"})
		}
		return nil
	}))
}

// advance moves the day keys to today; a new day is written to disk.
func (c *Client) advance() {
	now := c.net.Now()
	if day := account.Day(now); c.records.lastDay.Swap(day) != day {
		if err := c.keys.change(func(s *account.State) error {
			s.Advance(now)
			return nil
		}); err != nil {
			c.log.Error("day keys not written", "error", err)
		}
	}
}

// publishRecords keeps day records published ahead: senders have no other key to seal to.
func (c *Client) publishRecords(ctx context.Context) error {
	now := c.net.Now()
	today := account.Day(now)
	_, g, _ := c.keys.summary()
	var until uint64
	c.p.db.View(func(tx *store.Tx) error {
		until = tx.Number("records_until")
		return nil
	})
	if until>>32 == uint64(g) && uint32(until) >= today+account.RecordsLow {
		return nil
	}
	_, err := c.ownRequestRetry(ctx, func() (*envelope.Request, error) {
		have, err := c.publishedDays(ctx)
		if err != nil {
			return nil, err
		}
		var r *envelope.Request
		c.keys.read(func(s *account.State) {
			g = s.G()
			r, err = s.Publish(rand.Reader, func(day uint32) bool { return have[day] }, now)
		})
		return r, err
	})
	if err != nil {
		return err
	}
	return c.p.db.UpdateLazy(func(tx *store.Tx) error {
		tx.SetNumber("records_until", uint64(g)<<32|uint64(today+account.RecordsAhead-1))
		return nil
	})
}

// publishedDays returns the days that have a record of the generation this device takes part in.
func (c *Client) publishedDays(ctx context.Context) (map[uint32]bool, error) {
	_, g, _ := c.keys.summary()
	have := map[uint32]bool{}
	for after := uint64(0); ; {
		r := &envelope.Request{Mailbox: c.mailbox, Ops: []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Days}, After: after}}}
		resp, _, err := c.request(ctx, PurposeInbox, r, nil)
		if err != nil {
			return nil, err
		}
		for _, e := range resp.Results[0].Envelopes {
			if rec, err := account.OpenRecord(c.me, e); err == nil && rec.G == g {
				have[rec.Day] = true
			}
		}
		if !resp.Results[0].More {
			return have, nil
		}
		after = resp.Results[0].Seq
	}
}

// verifyKept looks again at messages whose sender was unknown and has been approved since.
func (c *Client) verifyKept(ctx context.Context) error {
	var kept []envelope.Envelope
	err := c.p.db.View(func(tx *store.Tx) error {
		for _, sender := range tx.UnverifiedSenders() {
			for _, b := range tx.Unverified(sender) {
				if e, err := envelope.DecodeEnvelope(b); err == nil {
					kept = append(kept, e)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range kept {
		if err := c.verifyOne(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) verifyOne(ctx context.Context, e envelope.Envelope) error {
	o := c.open(e)
	if c.worthVerifying(o.in) {
		if err := c.fetchPerson(ctx, o.in.Sender, 0); err != nil && !isGone(err) {
			return err
		}
		o = c.open(e)
	}
	if o.err == nil && o.in != nil && !o.in.Verified {
		return nil // still not known: it stays as it is
	}
	a := c.newApplied()
	err := c.update(func(tx *store.Tx) error {
		tx.DropUnverified(e.Seq)
		if o.err != nil {
			return nil // forged, or too old to be opened again: the row stays marked as unverified
		}
		if err := a.apply(tx, &o); err != nil {
			return err
		}
		a.queueReceipts(tx)
		return nil
	})
	if err != nil {
		return err
	}
	a.publish()
	return nil
}

func isGone(err error) bool { return fault.KindOf(err) == fault.NotFound }
