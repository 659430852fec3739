package client

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/store"
)

// Idle returns once nothing is due within the next seconds: every leg is acknowledged, no document waits to
// be shared, and nothing is wanted of a group. It needs Run.
func (c *Client) Idle(ctx context.Context) error {
	for {
		gone, moved := c.out.Gone.Watch(), c.groups.Moved.Watch()
		busy := 0
		err := c.core.View(func(tx *store.Tx) error {
			busy = tx.CountLegs(store.Held) + c.core.Docs.Dirty() + tx.CountGroupChanges()
			return nil
		})
		if err != nil || busy == 0 {
			return err
		}
		select {
		case <-gone:
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
