package client

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

const (
	inboxTTL   = 14 * 24 * 3600 // seconds
	copyTTL    = 30 * 24 * 3600
	legTimeout = 20 * time.Second // of one attempt
	backoffMin = 300 * time.Millisecond
	backoffMax = 5 * time.Minute
	// A copy that waits for its message leaves anyway when the message has been failing for this long: neither leg
	// may get lost behind the other.
	copyPatience = 30 * time.Second
)

// outbox runs one worker for every mailbox that legs go to: legs to one mailbox leave first in, first out, one in
// flight. A worker ends when nothing is left for its mailbox.
type outbox struct {
	c       *Client
	mu      sync.Mutex
	ctx     context.Context            // nil: not running
	workers map[[33]byte]chan struct{} // by account or group
	wg      sync.WaitGroup
	gone    broadcast  // a leg went
	failed  chan error // a failure of the local store, which ends Run
}

func (o *outbox) init(c *Client) {
	o.c, o.workers, o.failed = c, map[[33]byte]chan struct{}{}, make(chan error, 1)
}

// run starts workers for what waits, and returns when ctx has ended and they have.
func (o *outbox) run(ctx context.Context) error {
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

func (o *outbox) kickWaiting() error {
	var peers []ident.PeerKey
	err := o.c.p.db.View(func(tx *store.Tx) error {
		peers = tx.LegPeers()
		return nil
	})
	for _, p := range append(peers, o.c.me.Key()) {
		o.kick(p)
	}
	return err
}

// kick makes the worker of a mailbox look for legs now.
func (o *outbox) kick(peer [33]byte) {
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

// kickAll makes every worker try again at once: the network is back.
func (o *outbox) kickAll() {
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
func (o *outbox) retire(peer [33]byte, wake chan struct{}) bool {
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

func (o *outbox) fail(err error) {
	select {
	case o.failed <- err:
	default:
	}
}

// work sends the legs of one mailbox until none is left.
func (o *outbox) work(ctx context.Context, peer [33]byte, wake chan struct{}) {
	delay := time.Duration(0)
	for ctx.Err() == nil {
		leg, ok, at, err := o.next(peer)
		if err != nil {
			o.fail(err)
			return
		}
		switch {
		case ok:
			err = o.c.deliver(ctx, leg)
		case peer == o.c.me:
			ok, err = o.c.pushDocuments(ctx)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			if errors.Is(err, fault.Internal) || errors.Is(err, fault.Corrupt) {
				o.c.log.Error("outbox leg failed", "error", err)
			}
			delay = nextDelay(delay, err)
			o.pause(ctx, wake, delay)
		case ok:
			delay = 0
		case at > 0:
			o.pause(ctx, wake, time.Duration(at-o.c.nowMS())*time.Millisecond)
		default:
			if o.retire(peer, wake) {
				return
			}
		}
	}
}

func (o *outbox) next(peer [33]byte) (leg store.Leg, ok bool, at int64, err error) {
	now := o.c.nowMS()
	err = o.c.p.db.View(func(tx *store.Tx) error {
		leg, ok, at = tx.NextLeg(peer, now)
		return nil
	})
	return leg, ok, at, err
}

// pause waits for d, a kick or the end.
func (o *outbox) pause(ctx context.Context, wake chan struct{}, d time.Duration) {
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

// nextDelay is exponential with jitter, and what the node asked for where it did.
func nextDelay(last time.Duration, err error) time.Duration {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Limited && f.RetryAfter > 0 {
		return f.RetryAfter
	}
	d := min(max(2*last, backoffMin), backoffMax)
	return spread(d/2, d+time.Millisecond)
}

// deliver makes one attempt at a leg and records how it went.
func (c *Client) deliver(ctx context.Context, leg store.Leg) error {
	ctx, stop := context.WithTimeout(ctx, legTimeout)
	defer stop()
	var path [3]ident.NodeID
	var err error
	switch leg.Kind {
	case store.LegMessage, store.LegReceipt:
		path, err = c.deliverInbox(ctx, leg)
	case store.LegGroup:
		path, err = c.deliverGroup(ctx, leg)
	case store.LegErase:
		err = c.deliverErase(ctx, leg)
	default:
		path, err = c.deliverOwn(ctx, leg)
	}
	switch {
	case err == nil:
		return c.legDone(leg, path)
	case errors.Is(err, fault.Invalid), errors.Is(err, fault.NotFound), leg.Kind == store.LegGroup && errors.Is(err, fault.Denied):
		return c.legFailed(leg, err)
	}
	return c.legDelayed(leg, err)
}

// deliverInbox stores a message in somebody's inbox. A store that meets a newer certificate than it was sealed for is
// sealed again under the same message ID.
func (c *Client) deliverInbox(ctx context.Context, leg store.Leg) (path [3]ident.NodeID, err error) {
	minSeq := uint64(0)
	if outlived(leg, c.net.Now()) {
		leg.Sealed = nil
	}
	for range 4 {
		if leg.Sealed == nil {
			if err := c.sealLeg(ctx, &leg, minSeq); err != nil {
				return path, err
			}
		}
		p, err := c.lookup(ident.AccountID(leg.Peer))
		if err != nil {
			return path, err
		}
		put := envelope.Store{Namespace: envelope.Inbox, TTL: inboxTTL, IfCerts: &leg.Certs, Body: leg.Sealed}
		c.admit(p.mailbox, &put)
		_, path, err = c.request(ctx, PurposeSend, &envelope.Request{Mailbox: p.mailbox, Ops: []envelope.Op{put}}, nil)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Stale {
			return path, err
		}
		leg.Sealed, minSeq = nil, f.Head
		if err := c.fetchPerson(ctx, ident.AccountID(leg.Peer), minSeq); err != nil {
			return path, err
		}
	}
	return path, fault.New(fault.Unavailable, "send message "+leg.Message.Short(), "the recipient's keys keep changing")
}

// outlived reports whether the bytes of a leg may be sealed to the key of a day that is over: nobody could open them any
// more. They are sealed again then, under the same message ID.
func outlived(leg store.Leg, now time.Time) bool {
	return leg.Sealed != nil && account.Day(now) > account.Day(time.UnixMilli(leg.SentAt))
}

// sealLeg seals a leg with the recipient's newest day key, which it fetches if need be, and keeps the bytes for
// retries. With no valid day key the leg stays as it is.
func (c *Client) sealLeg(ctx context.Context, leg *store.Leg, minSeq uint64) error {
	for fetched := false; ; fetched = true {
		now := c.net.Now()
		p, err := c.lookup(ident.AccountID(leg.Peer))
		if err != nil {
			return err
		}
		if fetched || p.sealable(now) {
			done, err := c.trySeal(leg, now)
			if done || err != nil || fetched {
				return err
			}
		}
		if err := c.fetchPerson(ctx, ident.AccountID(leg.Peer), minSeq); err != nil {
			return err
		}
	}
}

// trySeal seals and keeps the bytes. done is false, without an error, if newer records should be fetched first; a
// second failure is for good.
func (c *Client) trySeal(leg *store.Leg, now time.Time) (done bool, err error) {
	err = c.updateLazy(func(tx *store.Tx) error {
		p, err := c.person(tx, ident.AccountID(leg.Peer))
		if err != nil {
			return err
		}
		if c.isContested(&p.Peer) {
			return errContested(ident.AccountID(leg.Peer))
		}
		if p.chain == nil || p.record == nil {
			return errNoDayKey(ident.AccountID(leg.Peer))
		}
		blob, err := c.sealFor(&p, account.Outgoing{ID: leg.Message, SentAt: leg.SentAt, Body: leg.Body}, now)
		if err != nil {
			if errors.Is(err, fault.Stale) {
				return errNoDayKey(ident.AccountID(leg.Peer))
			}
			return err
		}
		leg.Sealed, leg.Certs = blob, p.CertsHead
		tx.SealLeg(leg.ID, blob, p.CertsHead)
		c.savePerson(tx, p)
		return nil
	})
	return err == nil, err
}

func errNoDayKey(peer ident.AccountID) error {
	return fault.New(fault.Unavailable, "send to "+short(peer),
		"the account has no valid day key: none of its devices was online for two weeks; the message stays queued")
}

// admit adds the admission that a store without authority needs.
func (c *Client) admit(mailbox ident.MailboxID, put *envelope.Store) {
	var bits uint8
	if d := c.net.Directory(); d != nil {
		bits = d.Params.StampDifficulty
	}
	put.Admission = envelope.SolveStamp(mailbox, envelope.HashOf(mailbox, put.Namespace, put.Key, put.Body), c.nowMS(), bits)
}

// deliverOwn stores a copy or an announcement in the account's own mailbox.
func (c *Client) deliverOwn(ctx context.Context, leg store.Leg) (path [3]ident.NodeID, err error) {
	if outlived(leg, c.net.Now()) {
		leg.Sealed = nil
	}
	for range 4 {
		if leg.Sealed == nil {
			if err := c.sealOwn(&leg); err != nil {
				return path, err
			}
		}
		put := envelope.Store{Namespace: envelope.Sync, TTL: copyTTL, Body: leg.Sealed}
		_, path, err = c.ownRequest(ctx, &envelope.Request{Ops: []envelope.Op{put}})
		if !errors.Is(err, fault.Stale) && !errors.Is(err, fault.Denied) {
			return path, err
		}
		// The account went on to another generation: its other devices may not read what was sealed under this one.
		if err := c.catchUpOwn(ctx, headOf(err)); err != nil {
			return path, err
		}
		leg.Sealed = nil
	}
	return path, err
}

// sealOwn seals a leg for own devices and keeps the bytes for retries.
func (c *Client) sealOwn(leg *store.Leg) error {
	now := c.net.Now()
	var err error
	switch leg.Kind {
	case store.LegFetched:
		c.keys.read(func(s *account.State) { leg.Sealed, err = s.SealFetched(rand.Reader, leg.SentAt, now) })
	case store.LegAnnounce:
		err = c.keys.change(func(s *account.State) (err error) {
			leg.Sealed, err = s.Announcement(rand.Reader, now)
			return err
		})
	case store.LegGroupCopy:
		c.keys.read(func(s *account.State) { leg.Sealed, err = s.SealCopy(rand.Reader, account.CopyGroup, leg.Body, now) })
	case store.LegDraft:
		c.keys.read(func(s *account.State) { leg.Sealed, err = s.SealCopy(rand.Reader, account.CopyDraft, leg.Body, now) })
	default:
		c.keys.read(func(s *account.State) { leg.Sealed, err = s.SealCopy(rand.Reader, account.CopySent, leg.Body, now) })
	}
	if err != nil {
		return err
	}
	return c.p.db.UpdateLazy(func(tx *store.Tx) error {
		tx.SealLeg(leg.ID, leg.Sealed, 0)
		return nil
	})
}

// legDone removes an acknowledged leg. Losing this in a power cut repeats the same bytes, which changes nothing.
func (c *Client) legDone(leg store.Leg, path [3]ident.NodeID) error {
	now := c.net.Now()
	var events []Event
	copied := false
	err := c.p.db.UpdateLazy(func(tx *store.Tx) error {
		tx.DropLeg(leg.ID)
		if leg.Kind == store.LegGroupCopy {
			c.handoverStored(tx, leg.ID)
		}
		if leg.Kind != store.LegMessage && leg.Kind != store.LegCopy && leg.Kind != store.LegGroup {
			return nil
		}
		m, ok := tx.MessageOf(c.me, leg.Message)
		note := leg.Kind == store.LegCopy && ok && m.Conversation == c.me.String()
		if ok && (leg.Kind != store.LegCopy || note) && m.Replicas == 0 {
			// The recipient's receipt may have overtaken this.
			if m.Replicas = c.majority(leg.Peer); State(m.State) < StateStored {
				m.State, m.StoredAt, m.Cause = uint8(StateStored), now.UnixMilli(), ""
			}
			if !note {
				m.Path = path
			}
			tx.SaveMessage(&m)
			r := receiptOf(m)
			events = append(events, Event{Kind: EventState, At: now, Receipt: &r})
		}
		if leg.Kind == store.LegMessage {
			copied = tx.ReleaseLegs(leg.Message, store.LegCopy, now.Add(spread(c.pace.copyMin, c.pace.copyMax)).UnixMilli())
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.bus.publish(events...)
	if copied {
		c.out.kick(c.me)
	}
	c.out.gone.fire()
	return nil
}

// majority is how many replicas of the swarm that holds the mailbox of an account or a group have what it acknowledged, at
// least.
func (c *Client) majority(peer [33]byte) int {
	mailbox, err := c.mailboxOf(peer)
	d := c.net.Directory()
	if err != nil || d == nil {
		return 0
	}
	swarm, ok := d.SwarmOf(mailbox)
	if !ok {
		return 0
	}
	return len(swarm.Replicas)/2 + 1
}

func (c *Client) mailboxOf(peer [33]byte) (ident.MailboxID, error) {
	if peer[0] == ident.GroupType {
		return account.GroupMailboxOf(peer, c.cluster.ID)
	}
	return account.MailboxOf(peer, c.cluster.ID)
}

// legFailed gives up on a leg that can never be delivered.
func (c *Client) legFailed(leg store.Leg, cause error) error {
	var events []Event
	err := c.p.db.Update(func(tx *store.Tx) error {
		tx.DropLeg(leg.ID)
		if leg.Kind == store.LegMessage || leg.Kind == store.LegGroup {
			events = c.noteAttempt(tx, leg, StateFailed, cause)
			tx.DropHeld(leg.Message)
		}
		return nil
	})
	c.bus.publish(events...)
	c.out.gone.fire()
	c.out.kick(c.me)
	return err
}

// legDelayed records why an attempt failed and returns the cause, for the worker's back-off.
func (c *Client) legDelayed(leg store.Leg, cause error) error {
	var events []Event
	err := c.p.db.UpdateLazy(func(tx *store.Tx) error {
		tx.DelayLeg(leg.ID, leg.Due)
		if leg.Kind != store.LegMessage && leg.Kind != store.LegGroup {
			return nil
		}
		events = c.noteAttempt(tx, leg, StateQueued, cause)
		tx.ReleaseLegs(leg.Message, store.LegCopy, c.net.Now().Add(copyPatience).UnixMilli())
		return nil
	})
	if err != nil {
		return err
	}
	c.bus.publish(events...)
	return cause
}

func (c *Client) noteAttempt(tx *store.Tx, leg store.Leg, state State, cause error) []Event {
	m, ok := tx.MessageOf(c.me, leg.Message)
	if !ok || State(m.State) >= StateStored {
		return nil
	}
	m.State, m.Cause = uint8(state), causeText(cause)
	if state == StateFailed && m.MailboxSeq != 0 { // it came back from the group's mailbox: only the acknowledgement was lost
		m.State, m.StoredAt, m.Cause = uint8(StateStored), c.nowMS(), ""
	}
	tx.SaveMessage(&m)
	r := receiptOf(m)
	return []Event{{Kind: EventState, At: c.net.Now(), Receipt: &r}}
}

// Idle returns once nothing is due within the next seconds: every leg is acknowledged, no document waits to be shared, and
// nothing is wanted of a group. It needs Run.
func (c *Client) Idle(ctx context.Context) error {
	for {
		gone, moved := c.out.gone.watch(), c.groups.moved.watch()
		busy := 0
		err := c.p.db.View(func(tx *store.Tx) error {
			busy = tx.CountLegs(store.Held) + c.docs.Dirty() + tx.CountGroupChanges()
			return nil
		})
		if err != nil || busy == 0 {
			return err
		}
		select {
		case <-gone:
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
