package client

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
)

// MakeUpGroups invites an account to n groups that do not exist.
func (c *Client) MakeUpGroups(ctx context.Context, own ident.GroupID, to ident.AccountID, n int) (out []ident.GroupID, err error) {
	if _, err := c.GroupLink(ctx, own, c.net.Now().Add(time.Hour), 1, 0); err != nil {
		return nil, err
	}
	for range n {
		a := c.newApplied()
		err := c.update(func(tx *store.Tx) error {
			g, err := c.group(tx, own)
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
			return a.sendInvitation(tx, to, in)
		})
		if err != nil {
			return nil, err
		}
		a.publish()
	}
	return out, nil
}

// GroupWorkers returns once n groups have a worker.
func (c *Client) GroupWorkers(ctx context.Context, n int) error {
	for {
		moved := c.groups.moved.watch()
		c.groups.mu.Lock()
		all := len(c.groups.workers)
		c.groups.mu.Unlock()
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
