package closed

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
)

// ForgeInvitation sends an invitation to a group of which this account knows the ID, and nothing else.
func (c *Groups) ForgeInvitation(ctx context.Context, id ident.GroupID, to ident.AccountID) error {
	own, err := c.Create(ctx, Info{}, Shared)
	if err != nil {
		return err
	}
	if _, err := c.MakeLink(ctx, own.ID, c.core.Net.Now().Add(time.Hour), 1, 0); err != nil {
		return err
	}
	err = c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		g, err := c.get(tx, own.ID)
		if err != nil {
			return err
		}
		link := tx.GroupLinks(own.ID)[0]
		in, err := g.state.Invitation(link.Serial, link.Seed)
		if err != nil {
			return err
		}
		in.Group, in.HeadIndex = id, 1<<40
		return c.sendInvitation(tx, a, to, in)
	})
	return err
}

// WantReturn queues what lets a member in again, as if it had asked for it.
func (c *Groups) WantReturn(id ident.GroupID, account ident.AccountID) error {
	keys, err := groups.NewKeys(cryptoRand)
	if err != nil {
		return err
	}
	err = c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		g, err := c.get(tx, id)
		if err != nil {
			return err
		}
		remove, add, err := g.state.OpenReturn(account, groups.NewReturn(id, account, keys, nil))
		if err != nil {
			return err
		}
		for _, ch := range []groups.Change{remove, add} {
			if _, err := c.want(tx, id, wantChange(ch)); err != nil {
				return err
			}
		}
		return nil
	})
	c.kick(id)
	return err
}
