package client

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
)

// ReadLog reads the log of a group that this account asked to join.
func (c *Client) ReadLog(ctx context.Context, id ident.GroupID) error {
	var in *groups.Invitation
	err := c.p.db.View(func(tx *store.Tx) error {
		g, err := c.group(tx, id)
		if err == nil {
			in, err = groups.DecodeInvitation(g.Invitation)
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = c.groups.worker(id).fetchLog(ctx, seedKey{in.ReadKey()}, 0, 0)
	return err
}
