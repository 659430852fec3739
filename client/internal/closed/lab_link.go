package closed

import (
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
)

// LinkSeeds returns how many links of a group this device keeps the seeds of.
func (c *Groups) LinkSeeds(id ident.GroupID) (n int) {
	_ = c.core.View(func(tx *store.Tx) error {
		n = len(tx.GroupLinks(id))
		return nil
	})
	return n
}
