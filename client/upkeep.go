package client

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
)

const (
	upkeepEvery = time.Hour
	// seenFor is how long (sender, message ID) is remembered.
	seenFor = 60 * 24 * time.Hour
)

// upkeep is what a device does besides messages: it keeps day records published, moves the day keys on and
// erases what is over, makes the weekly generation, and writes snapshots.
type upkeep struct {
	round sync.Mutex // one at a time
	woken chan struct{}
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
		if err := c.core.WaitOnline(ctx); err != nil {
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
			c.core.Log.Debug("upkeep failed", "error", err)
			delay = core.NextDelay(delay, err)
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
	changed := c.core.Link.Changed.Watch()
	if online, _ := c.core.Link.Get(); online {
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
	if _, _, revoked := c.core.Keys.Summary(); revoked {
		return nil
	}
	c.groups.WakeKeeper() // time may have moved on more than its timers did
	// One task that fails does not keep the others from theirs.
	var failed error
	for _, task := range []func(context.Context) error{
		c.publishRecords, c.people.LookAtAll, c.lookForOwnContest, c.in.VerifyKept, c.catchUpShared,
		c.snapshotIfDue, c.rotateIfDue, c.eraseSeeds,
	} {
		if failed = errors.Join(failed, task(ctx)); ctx.Err() != nil {
			return failed
		}
	}
	return errors.Join(failed, c.core.UpdateLazy(func(tx *store.Tx, a *core.Batch) error {
		c.core.NoteTime(tx, c.core.LikelyTime())
		tx.ForgetSeen(c.core.Net.Now().Add(-seenFor).UnixMilli())
		tx.ForgetChanges(c.core.Net.Now().Add(-seenFor).UnixMilli())
		if n := tx.Number(store.MetaUnreadable); n > 0 {
			tx.SetNumber(store.MetaUnreadable, 0)
			a.Tell(core.Fact{Kind: core.FactNotice,
				Text: "messages from before this device joined are here only as far as another device " +
					"hands them over"})
		}
		return nil
	}))
}

// publishRecords keeps day records published ahead: senders have no other key to seal to.
func (c *Client) publishRecords(ctx context.Context) error {
	now := c.core.Net.Now()
	today := account.Day(now)
	_, g, _ := c.core.Keys.Summary()
	var until uint64
	c.core.View(func(tx *store.Tx) error {
		until = tx.Number(store.MetaRecordsUntil)
		return nil
	})
	if until>>32 == uint64(g) && uint32(until) >= today+account.RecordsLow {
		return nil
	}
	_, err := c.core.OwnRequestRetry(ctx, func() (*envelope.Request, error) {
		have, err := c.publishedDays(ctx)
		if err != nil {
			return nil, err
		}
		var r *envelope.Request
		c.core.Keys.Read(func(s *account.State) {
			g = s.G()
			r, err = s.Publish(rand.Reader, func(day uint32) bool { return have[day] }, now)
		})
		return r, err
	})
	if err != nil {
		return err
	}
	return c.core.UpdateLazy(func(tx *store.Tx, _ *core.Batch) error {
		tx.SetNumber(store.MetaRecordsUntil, uint64(g)<<32|uint64(today+account.RecordsAhead-1))
		return nil
	})
}

// publishedDays returns the days that have a record of the generation this device takes part in.
func (c *Client) publishedDays(ctx context.Context) (map[uint32]bool, error) {
	_, g, _ := c.core.Keys.Summary()
	have := map[uint32]bool{}
	for after := uint64(0); ; {
		r := &envelope.Request{Mailbox: c.core.Mailbox,
			Ops: []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Days},
				After: after}}}
		resp, _, err := c.core.Request(ctx, core.PurposeInbox, r, nil)
		if err != nil {
			return nil, err
		}
		for _, e := range resp.Results[0].Envelopes {
			if rec, err := account.OpenRecord(c.core.Me, e); err == nil && rec.G == g {
				have[rec.Day] = true
			}
		}
		if !resp.Results[0].More {
			return have, nil
		}
		after = resp.Results[0].Seq
	}
}
