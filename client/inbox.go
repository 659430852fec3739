package client

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

const (
	// maxBatch bounds how many envelopes one transaction takes in.
	maxBatch = 128
	// verifyTimeout bounds the look-up of a sender's certificates; the message is kept unverified after it.
	verifyTimeout = 5 * time.Second
)

// cursorKey is the sequence number up to which the own mailbox has been taken in. It lies in the same transaction as
// what it counts, and is the only truth about what was received.
const cursorKey = "cursor"

var ownNamespaces = []envelope.Namespace{envelope.Inbox, envelope.Sync, envelope.Certs}

// inboxLoop keeps a subscription to the own mailbox, from the cursor on disk, until ctx ends.
func (c *Client) inboxLoop(ctx context.Context) error {
	delay := time.Duration(0)
	c.wentOffline(nil)
	for ctx.Err() == nil {
		live, err := c.subscribeOnce(ctx)
		var broken *storeError
		if errors.As(err, &broken) {
			return broken.cause
		}
		if ctx.Err() != nil {
			break
		}
		if live {
			delay = 0
		}
		c.wentOffline(err)
		if errors.Is(err, fault.Stale) || errors.Is(err, fault.Denied) || errors.Is(err, fault.Unauthenticated) {
			// The account may have gone on to another generation; if it went on without us, that is for good.
			if cerr := c.catchUpOwn(ctx, headOf(err)); cerr != nil {
				err = cerr
			} else {
				delay = 0
			}
			if _, _, revoked := c.keys.summary(); revoked {
				c.link.give(errRevoked("receive"))
				<-ctx.Done()
				break
			}
		}
		delay = min(nextDelay(delay, err), 10*time.Second)
		c.sleep(ctx, delay)
	}
	return ctx.Err()
}

// sleep waits for d or the end of ctx.
func (c *Client) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// storeError marks a failure of the local store, which ends Run: everything else is tried again.
type storeError struct{ cause error }

func (e *storeError) Error() string { return e.cause.Error() }
func (e *storeError) Unwrap() error { return e.cause }

// subscribeOnce holds one subscription until it ends. live: it got as far as subscribing.
func (c *Client) subscribeOnce(ctx context.Context) (bool, error) {
	var live atomic.Bool
	key, err := c.keys.authority()
	if err != nil {
		return false, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	queue := make(chan envelope.Envelope, maxBatch)
	done := make(chan error, 1)
	go func() {
		done <- c.takeIn(ctx, queue)
		stop(nil) // what could not be taken in is asked for again, even if nothing else comes
	}()
	build := func() []byte {
		live.Store(true)
		c.wentOnline()
		sub := envelope.Subscribe{Mailbox: c.mailbox, Authority: key.Public(), Namespaces: ownNamespaces, Cursor: c.cursor()}
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
	err = c.net.Subscribe(ctx, c.mailbox, build, signWith(key), handle)
	close(queue)
	if terr := <-done; terr != nil {
		return live.Load(), terr
	}
	return live.Load(), err
}

func (c *Client) cursor() (n uint64) {
	c.p.db.View(func(tx *store.Tx) error {
		n = tx.Number(cursorKey)
		return nil
	})
	return n
}

// takeIn takes in envelopes until queue is closed: all that wait make one transaction.
func (c *Client) takeIn(ctx context.Context, queue <-chan envelope.Envelope) error {
	return drain(queue, func(batch []envelope.Envelope) error { return c.takeBatch(ctx, batch) })
}

// drain hands on what comes through queue until it is closed, all that waits at once.
func drain(queue <-chan envelope.Envelope, take func([]envelope.Envelope) error) error {
	for first := range queue {
		batch := []envelope.Envelope{first}
	more:
		for len(batch) < maxBatch {
			select {
			case e, ok := <-queue:
				if !ok {
					break more
				}
				batch = append(batch, e)
			default:
				break more
			}
		}
		if err := take(batch); err != nil {
			return err
		}
	}
	return nil
}

// takeBatch takes in envelopes in order. A certificate ends a stretch: what follows it may be sealed to the
// generation that it begins.
func (c *Client) takeBatch(ctx context.Context, batch []envelope.Envelope) error {
	return inStretches(ctx, batch, envelope.Certs, c.takeStretch, c.takeCert)
}

// inStretches hands over a batch in its order: each envelope of the namespace last alone, and what lies between two together.
func inStretches(ctx context.Context, batch []envelope.Envelope, last envelope.Namespace,
	stretch func(context.Context, []envelope.Envelope) error, alone func(context.Context, envelope.Envelope) error) error {
	start := 0
	for i, e := range batch {
		if e.Namespace != last {
			continue
		}
		if err := stretch(ctx, batch[start:i]); err != nil {
			return err
		}
		if err := alone(ctx, e); err != nil {
			return err
		}
		start = i + 1
	}
	return stretch(ctx, batch[start:])
}

// takeCert adopts the generation of a certificate that was pushed.
func (c *Client) takeCert(ctx context.Context, e envelope.Envelope) error {
	known := false
	c.keys.read(func(s *account.State) { known = s.CertsHead() >= e.Seq })
	if !known {
		if err := c.catchUpOwn(ctx, e.Seq); err != nil {
			return err
		}
	}
	return c.commit(func(tx *store.Tx) error {
		tx.Advance(cursorKey, e.Seq)
		return nil
	})
}

// commit runs a transaction of the receiving side; its failure ends Run.
func (c *Client) commit(f func(*store.Tx) error) error {
	if err := c.updateLazy(f); err != nil {
		return &storeError{err}
	}
	c.moved.fire()
	return nil
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
func (c *Client) takeStretch(ctx context.Context, envs []envelope.Envelope) error {
	if len(envs) == 0 {
		return nil
	}
	c.advance()
	all := make([]opened, 0, len(envs))
	cursor := c.cursor()
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
	a := c.newApplied()
	err := c.commit(func(tx *store.Tx) error {
		for i := range all {
			if err := a.apply(tx, &all[i]); err != nil {
				return err
			}
		}
		a.queueReceipts(tx)
		tx.Advance(cursorKey, all[len(all)-1].env.Seq)
		return nil
	})
	if err != nil {
		return err
	}
	a.publish()
	return nil
}

// open decrypts one envelope.
func (c *Client) open(e envelope.Envelope) opened {
	o := opened{env: e}
	switch {
	case e.Namespace == envelope.Inbox:
		o.in, o.err = c.openInbox(e)
	case e.Namespace == envelope.Sync && e.Expiry == 0:
		c.keys.read(func(s *account.State) { o.doc, o.err = s.OpenDocument(e.Body) })
	case e.Namespace == envelope.Sync:
		c.keys.read(func(s *account.State) { o.kind, o.copy, o.err = s.OpenCopy(e.Body) })
	}
	return o
}

func (c *Client) openInbox(e envelope.Envelope) (in *account.Incoming, err error) {
	// The sender's name is inside of the envelope, so chains are looked up from within Open; the store's lock comes
	// before the keyring's everywhere.
	err = c.p.db.View(func(tx *store.Tx) (err error) {
		c.keys.read(func(s *account.State) {
			in, err = s.Open(e, func(id ident.AccountID) *account.Chain {
				p, perr := c.person(tx, id)
				if perr != nil {
					return nil
				}
				return p.chain
			})
		})
		return err
	})
	return in, err
}

// worthVerifying reports whether a message's sender is unknown to us but somebody we have to do with.
func (c *Client) worthVerifying(in *account.Incoming) bool {
	if in == nil || in.Verified || in.Link != nil {
		return false
	}
	p, err := c.lookup(in.Sender)
	return err == nil && (p.Approved || p.Named)
}

// openVerified fetches the sender's certificates and opens the envelope again. If they cannot be had now, the message
// is kept unverified: the cursor never waits for somebody else's mailbox.
func (c *Client) openVerified(ctx context.Context, o opened) opened {
	ctx, stop := context.WithTimeout(ctx, verifyTimeout)
	defer stop()
	if err := c.fetchPerson(ctx, o.in.Sender, 0); err != nil {
		return o
	}
	return c.open(o.env)
}

// SyncToHeads returns once everything that lay in the account's mailbox, and in those of its groups, when it was called is
// fetched, opened and taken in. It needs Run.
func (c *Client) SyncToHeads(ctx context.Context) error {
	if err := c.WaitOnline(ctx); err != nil {
		return err
	}
	if err := c.syncOwn(ctx); err != nil {
		return err
	}
	c.takeHandovers(ctx)
	return c.groups.catchUpAll(ctx)
}

// syncOwn is SyncToHeads for the account's own mailbox.
func (c *Client) syncOwn(ctx context.Context) error {
	for {
		key, err := c.keys.authority()
		if err != nil {
			return err
		}
		at := c.cursor()
		// One envelope after the cursor tells whether the head is reached; it must be taken in before asking again. The
		// delete removes nothing, but as a write it goes through the swarm's leader: a lagging replica does not know the
		// head.
		r := &envelope.Request{Mailbox: c.mailbox, Ops: []envelope.Op{
			envelope.DeleteBefore{Namespace: envelope.Sync, Before: 0},
			envelope.Retrieve{Namespaces: ownNamespaces, After: at, MaxCount: 1},
		}}
		resp, _, err := c.request(ctx, PurposeInbox, r, key)
		if errors.Is(err, fault.Stale) || errors.Is(err, fault.Denied) {
			if err := c.catchUpOwn(ctx, headOf(err)); err != nil {
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
			_, err := c.mergeSnapshot(ctx, nil)
			return err
		}
		if err := c.waitCursor(ctx, found[0].Seq); err != nil {
			return err
		}
	}
}

// waitCursor returns once the cursor has reached seq.
func (c *Client) waitCursor(ctx context.Context, seq uint64) error {
	for {
		moved := c.moved.watch()
		if c.cursor() >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
