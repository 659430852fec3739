package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// The sync documents (contacts, profile, settings) live in core.Core.Docs, which is only touched inside a
// transaction of the store: the store's lock serialises it, and SaveDocuments writes what changed in the same
// transaction.

// setName names the account. Only inside a transaction.
func (c *Client) setName(tx *store.Tx, name string, now int64) error {
	if err := c.core.Docs.Set(now, devicesync.ProfileName, "", devicesync.Text(name)); err != nil {
		return err
	}
	tx.SetNumber(store.MetaProfileChanged, uint64(c.core.Docs.ChangedAt(devicesync.ProfileName, "")))
	return c.core.SaveDocuments(tx)
}

// pushDocuments stores one delta of what waits to be shared. It reports whether there was anything. Dirty
// entries are on disk and stay dirty until the store is acknowledged; a delta that was stored twice changes
// nothing.
func (c *Client) pushDocuments(ctx context.Context) (pushed bool, err error) {
	var delta []byte
	err = c.core.View(func(*store.Tx) error {
		delta = c.core.Docs.Delta()
		return nil
	})
	if err != nil || delta == nil {
		return false, err
	}
	ctx, stop := context.WithTimeout(ctx, core.LegTimeout)
	defer stop()
	var body []byte
	resp, err := c.core.OwnRequestRetry(ctx, func() (*envelope.Request, error) {
		var err error
		c.core.Keys.Read(func(s *account.State) { body, err = s.SealDocument(rand.Reader, delta) })
		return &envelope.Request{Ops: []envelope.Op{envelope.Store{Namespace: envelope.Sync, Body: body}}},
			err
	})
	if err != nil {
		return false, err
	}
	err = c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		if err := c.core.Docs.Acked(delta, resp.Clock); err != nil {
			return err
		}
		tx.AddDelta(c.deltaOf(resp.Results[0].Seq, body, resp.Clock))
		if n, size := tx.CountDeltas(); n >= c.core.Pace.SnapshotDeltas || size >= c.core.Pace.SnapshotBytes {
			c.records.wake()
		}
		return c.core.SaveDocuments(tx)
	})
	c.out.Gone.Fire()
	if err == nil {
		c.core.Sleep(ctx, c.core.Pace.Coalesce)
	}
	return true, err
}

// shareDocuments returns once every change of the documents is stored.
func (c *Client) shareDocuments(ctx context.Context) error {
	c.core.Kick(c.core.Me)
	for {
		gone := c.out.Gone.Watch()
		dirty := 0
		err := c.core.View(func(*store.Tx) error {
			dirty = c.core.Docs.Dirty()
			return nil
		})
		if err != nil || dirty == 0 {
			return err
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Client) deltaOf(seq uint64, body []byte, storedAt int64) store.Delta {
	return store.Delta{Seq: seq, StoredAt: storedAt, Hash: envelope.HashOf(c.core.Mailbox, envelope.Sync,
		[envelope.KeySize]byte{}, body), Size: len(body)}
}

// delta takes in another device's changes.
func (c *Client) delta(tx *store.Tx, a *core.Batch, delta []byte, e envelope.Envelope) error {
	touched, err := c.core.Docs.MergeDelta(delta, e.StoredAt)
	if err != nil {
		c.core.Log.Debug("delta dropped", "error", err)
		return nil // malformed: no other device can do anything with it either
	}
	tx.AddDelta(c.deltaOf(e.Seq, e.Body, e.StoredAt))
	return c.merged(tx, a, touched)
}

// merged writes what a merge changed and brings the rest of the store in step with it.
func (c *Client) merged(tx *store.Tx, a *core.Batch, touched []devicesync.Touched) error {
	for _, t := range touched {
		tx.SetNumber(mergedKey(t.Doc), uint64(a.Now.UnixMilli()))
		switch {
		case t.Doc == devicesync.Profile:
			// The same number on all devices, so that contacts take the newest name whoever tells them.
			tx.SetNumber(store.MetaProfileChanged, uint64(c.core.Docs.ChangedAt(devicesync.ProfileName, "")))
			a.Tell(core.Fact{Kind: core.FactAccount, Text: t.Doc.String()})
		case t.Doc == devicesync.Settings:
			a.Tell(core.Fact{Kind: core.FactAccount, Text: t.Doc.String()})
		case t.Doc == devicesync.Conversations && len(t.Subject) == len(ident.AccountID{}):
			c.rows.ConversationMerged(tx, a, hex.EncodeToString([]byte(t.Subject)))
		case t.Doc == devicesync.Groups && len(t.Subject) == len(ident.GroupID{}):
			c.groups.Merged(tx, a, ident.GroupID([]byte(t.Subject)))
		case t.Doc == devicesync.Contacts && len(t.Subject) == len(ident.AccountID{}):
			id := ident.AccountID([]byte(t.Subject))
			p, err := c.people.Get(tx, id)
			if err != nil {
				continue // no account can have that ID
			}
			if con := c.contact(tx, id); con.Approved != p.Approved {
				p.Approved = con.Approved
				c.people.Save(tx, p)
				c.records.wake() // messages that were kept unverified can be looked at now
			}
			a.Tell(core.Fact{Kind: core.FactContact, Contact: &id})
		}
	}
	return c.core.SaveDocuments(tx)
}
