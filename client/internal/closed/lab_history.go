package closed

import (
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
)

// EmptyGroup is LoseGroup, and drops what was written in the group, as a device does that is set up anew.
func (c *Groups) EmptyGroup(id ident.GroupID) {
	c.LoseGroup(id)
	c.core.Commit(func(tx *store.Tx, _ *core.Batch) error {
		tx.Exec("DELETE FROM messages WHERE conversation = ?", id.String())
		tx.Exec("DELETE FROM seen")
		return tx.Err()
	})
}
