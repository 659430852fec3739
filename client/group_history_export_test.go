package client

import (
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
)

// EmptyGroup is LoseGroup, and drops what was written in the group, as a device does that is set up anew.
func (c *Client) EmptyGroup(id ident.GroupID) {
	c.LoseGroup(id)
	c.commit(func(tx *store.Tx) error {
		tx.Exec("DELETE FROM messages WHERE conversation = ?", id.String())
		tx.Exec("DELETE FROM seen")
		return tx.Err()
	})
}
