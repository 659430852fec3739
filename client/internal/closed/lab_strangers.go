package closed

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
)

// MakeUpGroups invites an account to n groups that do not exist.
func (c *Groups) MakeUpGroups(ctx context.Context, own ident.GroupID, to ident.AccountID,
	n int) (out []ident.GroupID, err error) {
	if _, err := c.MakeLink(ctx, own, c.core.Net.Now().Add(time.Hour), 1, 0); err != nil {
		return nil, err
	}
	for range n {
		err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
			g, err := c.get(tx, own)
			if err != nil {
				return err
			}
			link := tx.GroupLinks(own)[0]
			in, err := g.state.Invitation(link.Serial, link.Seed)
			if err != nil {
				return err
			}
			pub, _, err := ed25519.GenerateKey(cryptoRand)
			if err != nil {
				return err
			}
			copy(in.Group[1:], pub)
			out = append(out, in.Group)
			return c.sendInvitation(tx, a, to, in)
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// GroupWorkers returns once n groups have a worker.
func (c *Groups) GroupWorkers(ctx context.Context, n int) error {
	for {
		moved := c.Moved.Watch()
		c.mu.Lock()
		all := len(c.workers)
		c.mu.Unlock()
		if all == n {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%d groups have workers, want %d: %w", all, n, ctx.Err())
		}
	}
}
