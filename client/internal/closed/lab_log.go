package closed

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
)

// ReadLog reads the log of a group that this account asked to join.
func (c *Groups) ReadLog(ctx context.Context, id ident.GroupID) error {
	var in *groups.Invitation
	err := c.core.View(func(tx *store.Tx) error {
		g, err := c.get(tx, id)
		if err == nil {
			in, err = groups.DecodeInvitation(g.Invitation)
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = c.worker(id).fetchLog(ctx, seedKey{in.ReadKey()}, 0, 0)
	return err
}
