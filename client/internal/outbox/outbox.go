// Package outbox is what leaves this device: one durable leg for every envelope that is to be stored
// somewhere, delivered until a majority of the mailbox's swarm has it on disk or it is clear that it never
// will.
//
// Legs to one mailbox leave first in, first out, one in flight. What a leg carries is delivered by the
// Deliverer of its kind; the rooms register theirs. The package owns the rows of legs, and how far messages
// of ours have come.
package outbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/inbox"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

const (
	copyTTL = 30 * 24 * 3600

	// A copy that waits for its message leaves anyway when the message has been failing for this long:
	// neither leg may get lost behind the other.
	copyPatience = 30 * time.Second
)

// Outbox runs one worker for every mailbox that legs go to. A worker ends when nothing is left for its
// mailbox.
type Outbox struct {
	core   *core.Core
	people *people.People
	// stores a delta of the documents; false: nothing waits to be shared
	push  func(context.Context) (bool, error)
	table map[store.LegKind]Deliverer

	mu      sync.Mutex
	ctx     context.Context                 // nil: not running
	workers map[ident.PeerKey]chan struct{} // by account or group
	wg      sync.WaitGroup

	Gone   core.Broadcast // a leg went
	failed chan error     // a failure of the local store, which ends Run
}

// New makes an Outbox. push stores what waits to be shared of the documents, which leave from the account's
// own worker.
func New(c *core.Core, p *people.People, in *inbox.Inbox, push func(context.Context) (bool, error)) *Outbox {
	o := &Outbox{core: c, people: p, push: push, workers: map[ident.PeerKey]chan struct{}{},
		failed: make(chan error, 1),
		table:  map[store.LegKind]Deliverer{}}
	for _, kind := range []store.LegKind{store.LegMessage, store.LegReceipt} {
		o.Register(kind, Deliverer{Try: o.deliverInbox})
	}
	for _, kind := range []store.LegKind{store.LegCopy, store.LegAnnounce, store.LegDraft, store.LegFetched} {
		o.Register(kind, Deliverer{Try: o.DeliverOwn})
	}
	in.OnMail((*bodyv1.Body_Receipt)(nil), o.takeReceipt)
	c.OnKick(o.Kick)
	c.OnOnline(o.KickAll)
	return o
}

// Deliverer makes attempts at the legs of a kind.
type Deliverer struct {
	// one attempt; it returns the path of the acknowledged store
	Try func(context.Context, store.Leg) (ident.Path, error)
	// in the transaction that drops an acknowledged leg; nil: nothing
	Done func(*store.Tx, store.Leg)
	// Denied does not change: the leg has failed
	DeniedForGood bool
}

// Register says how the legs of a kind are delivered, before run.
func (o *Outbox) Register(kind store.LegKind, d Deliverer) { o.table[kind] = d }

// Run starts workers for what waits, and returns when ctx has ended and they have.
func (o *Outbox) Run(ctx context.Context) error {
	o.mu.Lock()
	o.ctx = ctx
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.ctx = nil
		o.mu.Unlock()
		o.wg.Wait()
	}()
	if err := o.kickWaiting(); err != nil {
		return err
	}
	select {
	case err := <-o.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *Outbox) kickWaiting() error {
	var peers []ident.PeerKey
	err := o.core.View(func(tx *store.Tx) error {
		peers = tx.LegPeers()
		return nil
	})
	for _, p := range append(peers, o.core.Me.Key()) {
		o.Kick(p)
	}
	return err
}

// Kick makes the worker of a mailbox look for legs now.
func (o *Outbox) Kick(peer ident.PeerKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx == nil {
		return
	}
	wake, ok := o.workers[peer]
	if !ok {
		wake = make(chan struct{}, 1)
		o.workers[peer] = wake
		ctx := o.ctx
		o.wg.Go(func() { o.work(ctx, peer, wake) })
		return
	}
	select {
	case wake <- struct{}{}:
	default:
	}
}

// KickAll makes every worker try again at once: the network is back.
func (o *Outbox) KickAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, wake := range o.workers {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// retire ends a worker unless it was kicked since it last looked.
func (o *Outbox) retire(peer ident.PeerKey, wake chan struct{}) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-wake:
		return false
	default:
		delete(o.workers, peer)
		return true
	}
}

func (o *Outbox) fail(err error) {
	select {
	case o.failed <- err:
	default:
	}
}

// work sends the legs of one mailbox until none is left.
func (o *Outbox) work(ctx context.Context, peer ident.PeerKey, wake chan struct{}) {
	delay := time.Duration(0)
	for ctx.Err() == nil {
		leg, ok, at, err := o.next(peer)
		if err != nil {
			o.fail(err)
			return
		}
		switch {
		case ok:
			err = o.deliver(ctx, leg)
		case peer == o.core.Me.Key():
			ok, err = o.push(ctx)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			if errors.Is(err, fault.Internal) || errors.Is(err, fault.Corrupt) {
				o.core.Log.Error("outbox leg failed", "error", err)
			}
			delay = core.NextDelay(delay, err)
			o.pause(ctx, wake, delay)
		case ok:
			delay = 0
		case at > 0:
			o.pause(ctx, wake, time.Duration(at-o.core.NowMS())*time.Millisecond)
		default:
			if o.retire(peer, wake) {
				return
			}
		}
	}
}

func (o *Outbox) next(peer ident.PeerKey) (leg store.Leg, ok bool, at int64, err error) {
	now := o.core.NowMS()
	err = o.core.View(func(tx *store.Tx) error {
		leg, ok, at = tx.NextLeg(peer, now)
		return nil
	})
	return leg, ok, at, err
}

// pause waits for d, a kick or the end.
func (o *Outbox) pause(ctx context.Context, wake chan struct{}, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// legDone removes an acknowledged leg. Losing this in a power cut repeats the same bytes, which changes
// nothing.
func (c *Outbox) legDone(leg store.Leg, path ident.Path) error {
	return c.core.UpdateLazy(func(tx *store.Tx, a *core.Batch) error {
		tx.DropLeg(leg.ID)
		a.Then(c.Gone.Fire)
		if done := c.table[leg.Kind].Done; done != nil {
			done(tx, leg)
		}
		if leg.Kind != store.LegMessage && leg.Kind != store.LegCopy && leg.Kind != store.LegGroup {
			return nil
		}
		m, ok := tx.MessageOf(c.core.Me, leg.Message)
		note := leg.Kind == store.LegCopy && ok && m.Conversation == c.core.Me.String()
		if ok && (leg.Kind != store.LegCopy || note) && m.Replicas == 0 {
			// The recipient's receipt may have overtaken this.
			if m.Replicas = c.core.Majority(leg.Peer); m.State < store.StateStored {
				m.State, m.StoredAt, m.Cause = store.StateStored, a.Now.UnixMilli(), ""
			}
			if !note {
				m.Path = path
			}
			tx.SaveMessage(&m)
			a.Tell(core.Fact{Kind: core.FactState, Row: &m})
		}
		due := a.Now.Add(core.Spread(c.core.Pace.CopyMin, c.core.Pace.CopyMax)).UnixMilli()
		if leg.Kind == store.LegMessage && tx.ReleaseLegs(leg.Message, store.LegCopy, due) {
			a.Kick(c.core.Me)
		}
		return nil
	})
}

// legFailed gives up on a leg that can never be delivered.
func (c *Outbox) legFailed(leg store.Leg, cause error) error {
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		tx.DropLeg(leg.ID)
		a.Then(c.Gone.Fire)
		a.Kick(c.core.Me)
		if leg.Kind == store.LegMessage || leg.Kind == store.LegGroup {
			c.noteAttempt(tx, a, leg, store.StateFailed, cause)
			tx.DropHeld(leg.Message)
		}
		return nil
	})
}

// legDelayed records why an attempt failed and returns the cause, for the worker's back-off.
func (c *Outbox) legDelayed(leg store.Leg, cause error) error {
	err := c.core.UpdateLazy(func(tx *store.Tx, a *core.Batch) error {
		tx.DelayLeg(leg.ID, leg.Due)
		if leg.Kind != store.LegMessage && leg.Kind != store.LegGroup {
			return nil
		}
		c.noteAttempt(tx, a, leg, store.StateQueued, cause)
		tx.ReleaseLegs(leg.Message, store.LegCopy, a.Now.Add(copyPatience).UnixMilli())
		return nil
	})
	if err != nil {
		return err
	}
	return cause
}

func (c *Outbox) noteAttempt(tx *store.Tx, a *core.Batch, leg store.Leg, state store.State, cause error) {
	m, ok := tx.MessageOf(c.core.Me, leg.Message)
	if !ok || m.State >= store.StateStored {
		return
	}
	m.State, m.Cause = state, causeText(cause)
	if state == store.StateFailed && m.MailboxSeq != 0 {
		// it came back from the group's mailbox: only the acknowledgement was lost
		m.State, m.StoredAt, m.Cause = store.StateStored, a.Now.UnixMilli(), ""
	}
	tx.SaveMessage(&m)
	a.Tell(core.Fact{Kind: core.FactState, Row: &m})
}
