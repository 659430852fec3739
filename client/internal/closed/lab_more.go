package closed

import (
	"context"
	"crypto/rand"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// SayInGroup stores a message in a group's mailbox at once, past the outbox.
func (c *Groups) SayInGroup(ctx context.Context, id ident.GroupID, body []byte) error {
	m := outgoing{SentAt: c.core.NowMS(), Body: body}
	rand.Read(m.ID[:])
	var out sealed
	err := c.core.View(func(tx *store.Tx) (err error) {
		out, err = c.sealGroup(tx, id, m)
		return err
	})
	if err != nil {
		return err
	}
	_, _, err = c.request(ctx, id, out.Write, envelope.Store{Namespace: envelope.GroupMail, TTL: 3600,
		IfGeneration: &out.Generation, Body: out.Blob})
	return err
}

// GroupReadKey returns the seed of the key that reads a group's mailbox now; ReadGroup tries to read messages
// with one.
func (c *Groups) GroupReadKey(id ident.GroupID) (seed private.Key) {
	c.core.View(func(tx *store.Tx) error {
		if g, err := c.get(tx, id); err == nil {
			seed = g.state.ReadKey()
		}
		return nil
	})
	return seed
}

// ReadGroup is described at GroupReadKey.
func (c *Groups) ReadGroup(ctx context.Context, id ident.GroupID, seed private.Key) error {
	_, _, err := c.request(ctx, id, seedKey{seed},
		envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.GroupMail}})
	return err
}

// HasGroupKeys reports whether any secret of a group is in the store.
func (c *Groups) HasGroupKeys(id ident.GroupID) (has bool) {
	c.core.View(func(tx *store.Tx) error {
		g, _ := tx.Group(id)
		has = tx.GroupState(id) != nil || g.Keys != nil
		return nil
	})
	return has
}

// RepeatInvitation sends what the links of a group hold to an account, as an invitation.
func (c *Groups) RepeatInvitation(ctx context.Context, id ident.GroupID, to ident.AccountID) error {
	err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		g, err := c.get(tx, id)
		if err != nil {
			return err
		}
		for _, i := range g.state.Invites() {
			for _, l := range tx.GroupLinks(id) {
				if l.Serial != i.Serial {
					continue
				}
				in, err := g.state.Invitation(i.Serial, l.Seed)
				if err != nil {
					return err
				}
				if err := c.sendInvitation(tx, a, to, in); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return err
}
