package closed

import (
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/ident"
)

// Spare returns the spare keys of a group that the documents have, and the generation that the first are of.
func (c *Groups) Spare(id ident.GroupID) (b []byte, generation uint32) {
	c.core.View(func(*store.Tx) error {
		b, _ = c.core.Docs.Get(devicesync.GroupSpare, string(id[:]))
		if all := c.spares(id); len(all) > 0 {
			generation = all[0].Generation()
		}
		return nil
	})
	return b, generation
}

// SetSpare writes spare keys into the documents.
func (c *Groups) SetSpare(id ident.GroupID, b []byte) error {
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		if err := c.core.Docs.Set(c.core.NowMS(), devicesync.GroupSpare, string(id[:]), b); err != nil {
			return err
		}
		return c.core.SaveDocuments(tx)
	})
}

// WriteSpareAgain is what a device does that has not heard of later generations.
func (c *Groups) WriteSpareAgain(id ident.GroupID, generation uint32, b []byte) error {
	return c.core.Update(func(_ *store.Tx, _ *core.Batch) error { return c.writeSpare(id, generation, b) })
}
