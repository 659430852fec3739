package client

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/ident"
)

// ShareDocuments returns once every change of the documents is stored.
func (c *Client) ShareDocuments(ctx context.Context) error { return c.shareDocuments(ctx) }

// Spare returns the spare keys of a group that the documents have, and the generation that the first are of.
func (c *Client) Spare(id ident.GroupID) (b []byte, generation uint32) {
	c.p.db.View(func(*store.Tx) error {
		b, _ = c.docs.Get(devicesync.GroupSpare, string(id[:]))
		if all := c.spares(id); len(all) > 0 {
			generation = all[0].Generation()
		}
		return nil
	})
	return b, generation
}

// SetSpare writes spare keys into the documents.
func (c *Client) SetSpare(id ident.GroupID, b []byte) error {
	defer c.out.kick(c.me)
	return c.update(func(tx *store.Tx) error {
		if err := c.docs.Set(c.nowMS(), devicesync.GroupSpare, string(id[:]), b); err != nil {
			return err
		}
		return c.saveDocuments(tx)
	})
}

// WriteSpareAgain is what a device does that has not heard of later generations.
func (c *Client) WriteSpareAgain(id ident.GroupID, generation uint32, b []byte) error {
	return c.update(func(*store.Tx) error { return c.writeSpare(id, generation, b) })
}
