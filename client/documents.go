package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// The sync documents (contacts, profile, settings) live in c.docs, which is only touched inside a transaction of the
// store: the store's lock serialises it, and saveDocuments writes what changed in the same transaction.

// coalesce is how long changes after a delta wait for each other: the first leaves at once.
const coalesce = 300 * time.Millisecond

// loadDocuments reads the documents from disk.
func (c *Client) loadDocuments() error {
	r := devicesync.New(c.keys.device())
	return c.p.db.View(func(tx *store.Tx) (err error) {
		tx.Rows(func(key, value []byte) {
			if lerr := r.Load(devicesync.Row{Key: key, Value: value}); err == nil {
				err = lerr
			}
		})
		c.docs = r
		return err
	})
}

// saveDocuments writes the rows that changed. If the transaction fails after this, transact reads the documents anew.
func (c *Client) saveDocuments(tx *store.Tx) error {
	for _, row := range c.docs.Changed() {
		tx.SetRow(row.Key, row.Value)
	}
	return tx.Err()
}

// profileName is the account's name. Only inside a transaction.
func (c *Client) profileName() string {
	b, _ := c.docs.Get(devicesync.ProfileName, "")
	return string(b)
}

// setName names the account. Only inside a transaction.
func (c *Client) setName(tx *store.Tx, name string, now int64) error {
	if err := c.docs.Set(now, devicesync.ProfileName, "", devicesync.Text(name)); err != nil {
		return err
	}
	tx.SetNumber("profile_changed", uint64(c.docs.ChangedAt(devicesync.ProfileName, "")))
	return c.saveDocuments(tx)
}

// pushDocuments stores one delta of what waits to be shared. It reports whether there was anything. Dirty entries are
// on disk and stay dirty until the store is acknowledged; a delta that was stored twice changes nothing.
func (c *Client) pushDocuments(ctx context.Context) (pushed bool, err error) {
	var delta []byte
	err = c.p.db.View(func(*store.Tx) error {
		delta = c.docs.Delta()
		return nil
	})
	if err != nil || delta == nil {
		return false, err
	}
	ctx, stop := context.WithTimeout(ctx, legTimeout)
	defer stop()
	var body []byte
	resp, err := c.ownRequestRetry(ctx, func() (*envelope.Request, error) {
		var err error
		c.keys.read(func(s *account.State) { body, err = s.SealDocument(rand.Reader, delta) })
		return &envelope.Request{Ops: []envelope.Op{envelope.Store{Namespace: envelope.Sync, Body: body}}}, err
	})
	if err != nil {
		return false, err
	}
	err = c.update(func(tx *store.Tx) error {
		if err := c.docs.Acked(delta, resp.Clock); err != nil {
			return err
		}
		tx.AddDelta(c.deltaOf(resp.Results[0].Seq, body, resp.Clock))
		if n, size := tx.CountDeltas(); n >= c.pace.snapshotDeltas || size >= c.pace.snapshotBytes {
			c.records.wake()
		}
		return c.saveDocuments(tx)
	})
	c.out.gone.fire()
	if err == nil {
		c.sleep(ctx, coalesce)
	}
	return true, err
}

// shareDocuments returns once every change of the documents is stored.
func (c *Client) shareDocuments(ctx context.Context) error {
	c.out.kick(c.me)
	for {
		gone := c.out.gone.watch()
		dirty := 0
		err := c.p.db.View(func(*store.Tx) error {
			dirty = c.docs.Dirty()
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
	return store.Delta{Seq: seq, StoredAt: storedAt, Hash: envelope.HashOf(c.mailbox, envelope.Sync, [envelope.KeySize]byte{}, body), Size: len(body)}
}

// delta takes in another device's changes.
func (a *applied) delta(tx *store.Tx, o *opened) error {
	touched, err := a.c.docs.MergeDelta(o.doc, o.env.StoredAt)
	if err != nil {
		a.c.log.Debug("delta dropped", "error", err)
		return nil // malformed: no other device can do anything with it either
	}
	tx.AddDelta(a.c.deltaOf(o.env.Seq, o.env.Body, o.env.StoredAt))
	return a.merged(tx, touched)
}

// merged writes what a merge changed and brings the rest of the store in step with it.
func (a *applied) merged(tx *store.Tx, touched []devicesync.Touched) error {
	for _, t := range touched {
		tx.SetNumber(mergedKey(t.Doc), uint64(a.now.UnixMilli()))
		switch {
		case t.Doc == devicesync.Profile:
			// The same number on all devices, so that contacts take the newest name whoever tells them.
			tx.SetNumber("profile_changed", uint64(a.c.docs.ChangedAt(devicesync.ProfileName, "")))
			a.events = append(a.events, Event{Kind: EventAccount, At: a.now, Text: t.Doc.String()})
		case t.Doc == devicesync.Settings:
			a.events = append(a.events, Event{Kind: EventAccount, At: a.now, Text: t.Doc.String()})
		case t.Doc == devicesync.Conversations && len(t.Subject) == len(ident.AccountID{}):
			a.conversationMerged(tx, hex.EncodeToString([]byte(t.Subject)))
		case t.Doc == devicesync.Groups && len(t.Subject) == len(ident.GroupID{}):
			a.groupMerged(tx, ident.GroupID([]byte(t.Subject)))
		case t.Doc == devicesync.Contacts && len(t.Subject) == len(ident.AccountID{}):
			id := ident.AccountID([]byte(t.Subject))
			p, err := a.c.person(tx, id)
			if err != nil {
				continue // no account can have that ID
			}
			if con := a.c.contact(tx, id); con.Approved != p.Approved {
				p.Approved = con.Approved
				a.c.savePerson(tx, p)
				a.c.records.wake() // messages that were kept unverified can be looked at now
			}
			a.events = append(a.events, Event{Kind: EventContact, At: a.now, Contact: &id})
		}
	}
	return a.c.saveDocuments(tx)
}
