// Package inbox is what comes: the subscription to the account's own mailbox, opening what lies there, and
// handing it, in order and with the cursor in the same transaction, to the room that registered for its kind
// (table.go).
//
// A message is never believed to be of somebody whose certificates are not known; such ones are kept, marked,
// and looked at again (verify.go). The package owns the cursor of the own mailbox and the rows of what is
// kept unverified.
package inbox

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

var ownNamespaces = []envelope.Namespace{envelope.Inbox, envelope.Sync, envelope.Certs}

// Inbox takes in what lies in the account's own mailbox.
type Inbox struct {
	core   *core.Core
	people *people.People
	rows   *conv.Rows
	synced func(context.Context) error
	table  table
}

// New makes an Inbox. synced is called by Sync once the head of the mailbox was reached.
func New(c *core.Core, p *people.People, r *conv.Rows, synced func(context.Context) error) *Inbox {
	in := &Inbox{core: c, people: p, rows: r, synced: synced,
		table: table{mail: map[reflect.Type]MailHandler{},
			unverified: map[reflect.Type]MailHandler{}, copies: map[account.CopyKind]CopyHandler{}}}
	in.table.rest = in.talk
	for _, kind := range ignored {
		in.OnMail(kind, ignore)
	}
	in.OnCopy(account.CopyDraft, r.Draft)
	in.OnCopy(account.CopyAnnounce, func(_ *store.Tx, _ *core.Batch, b []byte, _ int64) error {
		// A forged or stale announcement changes nothing, so its error has nobody to go to.
		if err := c.Keys.Change(func(s *account.State) error { return s.ApplyAnnouncement(b) }); errors.Is(
			err, fault.Internal) {
			return err
		}
		return nil
	})
	return in
}

// Run keeps a subscription to the own mailbox, from the cursor on disk, until ctx ends.
func (c *Inbox) Run(ctx context.Context) error {
	delay := time.Duration(0)
	c.core.WentOffline(nil)
	for ctx.Err() == nil {
		live, err := c.subscribeOnce(ctx)
		var broken *core.StoreError
		if errors.As(err, &broken) {
			return broken.Cause
		}
		if ctx.Err() != nil {
			break
		}
		if live {
			delay = 0
		}
		c.core.WentOffline(err)
		if errors.Is(err, fault.Stale) || errors.Is(err, fault.Denied) ||
			errors.Is(err, fault.Unauthenticated) {
			// The account may have gone on to another generation; if it went on without us, that is for good.
			if cerr := c.core.CatchUpOwn(ctx, core.HeadOf(err)); cerr != nil {
				err = cerr
			} else {
				delay = 0
			}
			if _, _, revoked := c.core.Keys.Summary(); revoked {
				c.core.Link.Give(core.ErrRevoked("receive"))
				<-ctx.Done()
				break
			}
		}
		delay = min(core.NextDelay(delay, err), 10*time.Second)
		c.core.Sleep(ctx, delay)
	}
	return ctx.Err()
}

// subscribeOnce holds one subscription until it ends. live: it got as far as subscribing.
func (c *Inbox) subscribeOnce(ctx context.Context) (bool, error) {
	var live atomic.Bool
	key, err := c.core.Keys.Authority()
	if err != nil {
		return false, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	queue := make(chan envelope.Envelope, core.MaxBatch)
	done := make(chan error, 1)
	go func() {
		done <- c.takeIn(ctx, queue)
		stop(nil) // what could not be taken in is asked for again, even if nothing else comes
	}()
	build := func() []byte {
		live.Store(true)
		c.core.WentOnline()
		sub := envelope.Subscribe{Mailbox: c.core.Mailbox, Authority: key.Public(), Namespaces: ownNamespaces,
			Cursor: c.core.Cursor()}
		return sub.Encode()
	}
	handle := func(e envelope.Envelope) error {
		select {
		case queue <- e:
			return nil
		case err := <-done:
			done <- err
			return err
		}
	}
	err = c.core.Net.Subscribe(ctx, c.core.Mailbox, build, core.SignWith(key), handle)
	close(queue)
	if terr := <-done; terr != nil {
		return live.Load(), terr
	}
	return live.Load(), err
}

// takeIn takes in envelopes until queue is closed: all that wait make one transaction.
func (c *Inbox) takeIn(ctx context.Context, queue <-chan envelope.Envelope) error {
	return core.Drain(queue, func(batch []envelope.Envelope) error { return c.takeBatch(ctx, batch) })
}

// takeBatch takes in envelopes in order. A certificate ends a stretch: what follows it may be sealed to the
// generation that it begins.
func (c *Inbox) takeBatch(ctx context.Context, batch []envelope.Envelope) error {
	return core.InStretches(ctx, batch, envelope.Certs, c.takeStretch, c.takeCert)
}

// takeCert adopts the generation of a certificate that was pushed.
func (c *Inbox) takeCert(ctx context.Context, e envelope.Envelope) error {
	known := false
	c.core.Keys.Read(func(s *account.State) { known = s.CertsHead() >= e.Seq })
	if !known {
		if err := c.core.CatchUpOwn(ctx, e.Seq); err != nil {
			return err
		}
	}
	return c.core.Commit(func(tx *store.Tx, _ *core.Batch) error {
		tx.Advance(core.CursorKey, e.Seq)
		return nil
	})
}

// opened is one envelope after decryption.
type opened struct {
	env  envelope.Envelope
	in   *account.Incoming // of the inbox
	kind account.CopyKind  // of a copy
	copy []byte
	doc  []byte // of a delta
	err  error
}

// takeStretch opens envelopes and applies them in one transaction, publishing what happened right after it.
func (c *Inbox) takeStretch(ctx context.Context, envs []envelope.Envelope) error {
	if len(envs) == 0 {
		return nil
	}
	c.core.Advance()
	all := make([]opened, 0, len(envs))
	cursor := c.core.Cursor()
	for _, e := range envs {
		if e.Seq <= cursor {
			continue // a resumed subscription may repeat what was under way
		}
		o := c.open(e)
		if c.worthVerifying(o.in) {
			o = c.openVerified(ctx, o)
		}
		all = append(all, o)
	}
	if len(all) == 0 {
		return nil
	}
	err := c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		for i := range all {
			if err := c.apply(tx, a, &all[i]); err != nil {
				return err
			}
		}
		c.queueReceipts(tx, a)
		tx.Advance(core.CursorKey, all[len(all)-1].env.Seq)
		return nil
	})
	if err != nil {
		return err
	}
	return nil
}

// open decrypts one envelope.
func (c *Inbox) open(e envelope.Envelope) opened {
	o := opened{env: e}
	switch {
	case e.Namespace == envelope.Inbox:
		o.in, o.err = c.openInbox(e)
	case e.Namespace == envelope.Sync && e.Expiry == 0:
		c.core.Keys.Read(func(s *account.State) { o.doc, o.err = s.OpenDocument(e.Body) })
	case e.Namespace == envelope.Sync:
		c.core.Keys.Read(func(s *account.State) { o.kind, o.copy, o.err = s.OpenCopy(e.Body) })
	}
	return o
}

func (c *Inbox) openInbox(e envelope.Envelope) (in *account.Incoming, err error) {
	// The sender's name is inside of the envelope, so chains are looked up from within Open; the store's lock
	// comes before the keyring's everywhere.
	err = c.core.View(func(tx *store.Tx) (err error) {
		c.core.Keys.Read(func(s *account.State) {
			in, err = s.Open(e, func(id ident.AccountID) *account.Chain {
				p, perr := c.people.Get(tx, id)
				if perr != nil {
					return nil
				}
				return p.Certs
			})
		})
		return err
	})
	return in, err
}

// worthVerifying reports whether a message's sender is unknown to us but somebody we have to do with.
func (c *Inbox) worthVerifying(in *account.Incoming) bool {
	if in == nil || in.Verified || in.Link != nil {
		return false
	}
	p, err := c.people.Lookup(in.Sender)
	return err == nil && (p.Approved || p.Named)
}

// openVerified fetches the sender's certificates and opens the envelope again. If they cannot be had now, the
// message is kept unverified: the cursor never waits for somebody else's mailbox.
func (c *Inbox) openVerified(ctx context.Context, o opened) opened {
	ctx, stop := context.WithTimeout(ctx, people.VerifyTimeout)
	defer stop()
	if err := c.people.Fetch(ctx, o.in.Sender, 0); err != nil {
		return o
	}
	return c.open(o.env)
}

// syncOwn is SyncToHeads for the account's own mailbox.
func (c *Inbox) Sync(ctx context.Context) error {
	for {
		key, err := c.core.Keys.Authority()
		if err != nil {
			return err
		}
		at := c.core.Cursor()
		// One envelope after the cursor tells whether the head is reached; it must be taken in before asking
		// again. The delete removes nothing, but as a write it goes through the swarm's leader: a lagging
		// replica does not know the head.
		r := &envelope.Request{Mailbox: c.core.Mailbox, Ops: []envelope.Op{
			envelope.DeleteBefore{Namespace: envelope.Sync, Before: 0},
			envelope.Retrieve{Namespaces: ownNamespaces, After: at, MaxCount: 1},
		}}
		resp, _, err := c.core.Request(ctx, core.PurposeInbox, r, key)
		if errors.Is(err, fault.Stale) || errors.Is(err, fault.Denied) {
			if err := c.core.CatchUpOwn(ctx, core.HeadOf(err)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		found := resp.Results[1].Envelopes
		if len(found) == 0 {
			// A snapshot may contain deltas that were deleted while this device was away.
			return c.synced(ctx)
		}
		if err := c.waitCursor(ctx, found[0].Seq); err != nil {
			return err
		}
	}
}

// waitCursor returns once the cursor has reached seq.
func (c *Inbox) waitCursor(ctx context.Context, seq uint64) error {
	for {
		moved := c.core.Moved.Watch()
		if c.core.Cursor() >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
