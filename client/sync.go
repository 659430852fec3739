package client

import (
	"context"
)

// SyncToHeads returns once everything that lay in the account's mailbox, and in those of its groups, when it
// was called is fetched, opened and taken in. It needs Run.
func (c *Client) SyncToHeads(ctx context.Context) error {
	if err := c.core.WaitOnline(ctx); err != nil {
		return err
	}
	if err := c.in.Sync(ctx); err != nil {
		return err
	}
	c.groups.TakeHandovers(ctx)
	return c.groups.CatchUpAll(ctx)
}
