package outbox

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

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
	case errors.Is(err, fault.Invalid), errors.Is(err, fault.NotFound), d.DeniedForGood &&
		errors.Is(err, fault.Denied):
		return c.legFailed(leg, err)
	}
	return c.legDelayed(leg, err)
}

// deliverInbox stores a message in somebody's inbox. A store that meets a newer certificate than it was
// sealed for is sealed again under the same message ID.
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
		put := envelope.Store{Namespace: envelope.Inbox, TTL: people.InboxTTL, IfCerts: &leg.Certs,
			Body: leg.Sealed}
		c.core.Admit(p.Mailbox, &put)
		_, path, err = c.core.Request(ctx, core.PurposeSend, &envelope.Request{Mailbox: p.Mailbox,
			Ops: []envelope.Op{put}}, nil)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Stale {
			return path, err
		}
		leg.Sealed, minSeq = nil, f.Head
		if err := c.people.Fetch(ctx, ident.AccountID(leg.Peer), minSeq); err != nil {
			return path, err
		}
	}
	return path, fault.New(fault.Unavailable, "send message "+leg.Message.Short(),
		"the recipient's keys keep changing")
}

// sealLeg seals a leg with the recipient's newest day key, which it fetches if need be, and keeps the bytes
// for retries. With no valid day key the leg stays as it is.
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

// trySeal seals and keeps the bytes. done is false, without an error, if newer records should be fetched
// first; a second failure is for good.
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
		blob, err := c.people.SealFor(&p, account.Outgoing{ID: leg.Message, SentAt: leg.SentAt,
			Body: leg.Body}, now)
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
		"the account has no valid day key: none of its devices was online for two weeks; the message stays "+
			"queued")
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
		// The account went on to another generation: its other devices may not read what was sealed under
		// this one.
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
		c.core.Keys.Read(func(s *account.State) {
			leg.Sealed, err = s.SealFetched(rand.Reader,
				leg.SentAt, now)
		})
	case store.LegAnnounce:
		err = c.core.Keys.Change(func(s *account.State) (err error) {
			leg.Sealed, err = s.Announcement(rand.Reader, now)
			return err
		})
	case store.LegGroupCopy:
		c.core.Keys.Read(func(s *account.State) {
			leg.Sealed, err = s.SealCopy(rand.Reader, account.CopyGroup,
				leg.Body, now)
		})
	case store.LegDraft:
		c.core.Keys.Read(func(s *account.State) {
			leg.Sealed, err = s.SealCopy(rand.Reader, account.CopyDraft,
				leg.Body, now)
		})
	default:
		c.core.Keys.Read(func(s *account.State) {
			leg.Sealed, err = s.SealCopy(rand.Reader, account.CopySent,
				leg.Body, now)
		})
	}
	if err != nil {
		return err
	}
	return c.core.UpdateLazy(func(tx *store.Tx, _ *core.Batch) error {
		tx.SealLeg(leg.ID, leg.Sealed, 0)
		return nil
	})
}
