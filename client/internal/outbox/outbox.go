// Package outbox is what leaves this device: one durable leg for every envelope that is to be stored somewhere, delivered
// until a majority of the mailbox's swarm has it on disk or it is clear that it never will.
//
// Legs to one mailbox leave first in, first out, one in flight. What a leg carries is delivered by the Deliverer of its
// kind; the rooms register theirs. The package owns the rows of legs, and how far messages of ours have come.
package outbox

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/inbox"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

const (
	copyTTL = 30 * 24 * 3600

	// A copy that waits for its message leaves anyway when the message has been failing for this long: neither leg
	// may get lost behind the other.
	copyPatience = 30 * time.Second
)

// Outbox runs one worker for every mailbox that legs go to. A worker ends when nothing is left for its mailbox.
type Outbox struct {
	core   *core.Core
	people *people.People
	push   func(context.Context) (bool, error) // stores a delta of the documents; false: nothing waits to be shared
	table  map[store.LegKind]Deliverer

	mu      sync.Mutex
	ctx     context.Context                 // nil: not running
	workers map[ident.PeerKey]chan struct{} // by account or group
	wg      sync.WaitGroup

	Gone   core.Broadcast // a leg went
	failed chan error     // a failure of the local store, which ends Run
}

// New makes an Outbox. push stores what waits to be shared of the documents, which leave from the account's own worker.
func New(c *core.Core, p *people.People, in *inbox.Inbox, push func(context.Context) (bool, error)) *Outbox {
	o := &Outbox{core: c, people: p, push: push, workers: map[ident.PeerKey]chan struct{}{}, failed: make(chan error, 1),
		table: map[store.LegKind]Deliverer{}}
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
	Try           func(context.Context, store.Leg) (ident.Path, error) // one attempt; it returns the path of the acknowledged store
	Done          func(*store.Tx, store.Leg)                           // in the transaction that drops an acknowledged leg; nil: nothing
	DeniedForGood bool                                                 // Denied does not change: the leg has failed
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

// deliver makes one attempt at a leg and records how it went.
func (c *Outbox) deliver(ctx context.Context, leg store.Leg) error {
	ctx, stop := context.WithTimeout(ctx, core.LegTimeout)
	defer stop()
	var path ident.Path
	var err error
	d, ok := c.table[leg.Kind]
	if ok {
		path, err = d.Try(ctx, leg)
	} else {
		err = fault.New(fault.Invalid, "deliver leg", "kind %d is of another version", leg.Kind)
	}
	switch {
	case err == nil:
		return c.legDone(leg, path)
	case errors.Is(err, fault.Invalid), errors.Is(err, fault.NotFound), d.DeniedForGood && errors.Is(err, fault.Denied):
		return c.legFailed(leg, err)
	}
	return c.legDelayed(leg, err)
}

// deliverInbox stores a message in somebody's inbox. A store that meets a newer certificate than it was sealed for is
// sealed again under the same message ID.
func (c *Outbox) deliverInbox(ctx context.Context, leg store.Leg) (path ident.Path, err error) {
	minSeq := uint64(0)
	if core.Outlived(leg, c.core.Net.Now()) {
		leg.Sealed = nil
	}
	for range 4 {
		if leg.Sealed == nil {
			if err := c.sealLeg(ctx, &leg, minSeq); err != nil {
				return path, err
			}
		}
		p, err := c.people.Lookup(ident.AccountID(leg.Peer))
		if err != nil {
			return path, err
		}
		put := envelope.Store{Namespace: envelope.Inbox, TTL: people.InboxTTL, IfCerts: &leg.Certs, Body: leg.Sealed}
		c.core.Admit(p.Mailbox, &put)
		_, path, err = c.core.Request(ctx, core.PurposeSend, &envelope.Request{Mailbox: p.Mailbox, Ops: []envelope.Op{put}}, nil)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Stale {
			return path, err
		}
		leg.Sealed, minSeq = nil, f.Head
		if err := c.people.Fetch(ctx, ident.AccountID(leg.Peer), minSeq); err != nil {
			return path, err
		}
	}
	return path, fault.New(fault.Unavailable, "send message "+leg.Message.Short(), "the recipient's keys keep changing")
}

// sealLeg seals a leg with the recipient's newest day key, which it fetches if need be, and keeps the bytes for
// retries. With no valid day key the leg stays as it is.
func (c *Outbox) sealLeg(ctx context.Context, leg *store.Leg, minSeq uint64) error {
	for fetched := false; ; fetched = true {
		now := c.core.Net.Now()
		p, err := c.people.Lookup(ident.AccountID(leg.Peer))
		if err != nil {
			return err
		}
		if fetched || p.Sealable(now) {
			done, err := c.trySeal(leg, now)
			if done || err != nil || fetched {
				return err
			}
		}
		if err := c.people.Fetch(ctx, ident.AccountID(leg.Peer), minSeq); err != nil {
			return err
		}
	}
}

// trySeal seals and keeps the bytes. done is false, without an error, if newer records should be fetched first; a
// second failure is for good.
func (c *Outbox) trySeal(leg *store.Leg, now time.Time) (done bool, err error) {
	err = c.core.UpdateLazy(func(tx *store.Tx, _ *core.Batch) error {
		p, err := c.people.Get(tx, ident.AccountID(leg.Peer))
		if err != nil {
			return err
		}
		if c.people.Contested(&p.Peer) {
			return people.ErrContested(ident.AccountID(leg.Peer))
		}
		if p.Certs == nil || p.DayKey == nil {
			return errNoDayKey(ident.AccountID(leg.Peer))
		}
		blob, err := c.people.SealFor(&p, account.Outgoing{ID: leg.Message, SentAt: leg.SentAt, Body: leg.Body}, now)
		if err != nil {
			if errors.Is(err, fault.Stale) {
				return errNoDayKey(ident.AccountID(leg.Peer))
			}
			return err
		}
		leg.Sealed, leg.Certs = blob, p.CertsHead
		tx.SealLeg(leg.ID, blob, p.CertsHead)
		c.people.Save(tx, p)
		return nil
	})
	return err == nil, err
}

func errNoDayKey(peer ident.AccountID) error {
	return fault.New(fault.Unavailable, "send to "+core.Short(peer),
		"the account has no valid day key: none of its devices was online for two weeks; the message stays queued")
}

// DeliverOwn stores a copy or an announcement in the account's own mailbox.
func (c *Outbox) DeliverOwn(ctx context.Context, leg store.Leg) (path ident.Path, err error) {
	if core.Outlived(leg, c.core.Net.Now()) {
		leg.Sealed = nil
	}
	for range 4 {
		if leg.Sealed == nil {
			if err := c.sealOwn(&leg); err != nil {
				return path, err
			}
		}
		put := envelope.Store{Namespace: envelope.Sync, TTL: copyTTL, Body: leg.Sealed}
		_, path, err = c.core.OwnRequest(ctx, &envelope.Request{Ops: []envelope.Op{put}})
		if !errors.Is(err, fault.Stale) && !errors.Is(err, fault.Denied) {
			return path, err
		}
		// The account went on to another generation: its other devices may not read what was sealed under this one.
		if err := c.core.CatchUpOwn(ctx, core.HeadOf(err)); err != nil {
			return path, err
		}
		leg.Sealed = nil
	}
	return path, err
}

// sealOwn seals a leg for own devices and keeps the bytes for retries.
func (c *Outbox) sealOwn(leg *store.Leg) error {
	now := c.core.Net.Now()
	var err error
	switch leg.Kind {
	case store.LegFetched:
		c.core.Keys.Read(func(s *account.State) { leg.Sealed, err = s.SealFetched(rand.Reader, leg.SentAt, now) })
	case store.LegAnnounce:
		err = c.core.Keys.Change(func(s *account.State) (err error) {
			leg.Sealed, err = s.Announcement(rand.Reader, now)
			return err
		})
	case store.LegGroupCopy:
		c.core.Keys.Read(func(s *account.State) { leg.Sealed, err = s.SealCopy(rand.Reader, account.CopyGroup, leg.Body, now) })
	case store.LegDraft:
		c.core.Keys.Read(func(s *account.State) { leg.Sealed, err = s.SealCopy(rand.Reader, account.CopyDraft, leg.Body, now) })
	default:
		c.core.Keys.Read(func(s *account.State) { leg.Sealed, err = s.SealCopy(rand.Reader, account.CopySent, leg.Body, now) })
	}
	if err != nil {
		return err
	}
	return c.core.UpdateLazy(func(tx *store.Tx, _ *core.Batch) error {
		tx.SealLeg(leg.ID, leg.Sealed, 0)
		return nil
	})
}

// legDone removes an acknowledged leg. Losing this in a power cut repeats the same bytes, which changes nothing.
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
	if state == store.StateFailed && m.MailboxSeq != 0 { // it came back from the group's mailbox: only the acknowledgement was lost
		m.State, m.StoredAt, m.Cause = store.StateStored, a.Now.UnixMilli(), ""
	}
	tx.SaveMessage(&m)
	a.Tell(core.Fact{Kind: core.FactState, Row: &m})
}
