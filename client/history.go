package client

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/client/internal/histories"
	"github.com/starling-swarm/starling/internal/ident"
)

// HistoryTransfer is a history on its way between two devices of the account, or one that has arrived.
type HistoryTransfer struct {
	Device   ident.DeviceID // the other one
	Outgoing bool
	Messages int // that are stored, or taken in
	Total    int
	Done     bool
	MadeAt   time.Time
}

// KeepHistory says that devices which this one lets in get no history from it on their own;
// DeviceHandle.SendHistory still works. It holds until the client is closed.
func (c *Client) KeepHistory(keep bool) { c.histories.Keep(keep) }

// Histories returns the histories that are on their way from or to this device, and those that have arrived.
func (c *Client) Histories(ctx context.Context) (out []HistoryTransfer, err error) {
	all, err := c.histories.List(ctx)
	for _, t := range all {
		out = append(out, HistoryTransfer(t))
	}
	return out, err
}

// WaitHistories returns once every history that is on its way to this device now has been taken in. It needs
// Run; progress comes as events of kind EventHistory. Errors: ctx's.
func (c *Client) WaitHistories(ctx context.Context) error {
	return c.histories.Wait(ctx, histories.Incoming)
}

// WaitHistoriesSent returns once every history that this device sends now is stored. It needs Run. Errors:
// ctx's.
func (c *Client) WaitHistoriesSent(ctx context.Context) error {
	return c.histories.Wait(ctx, histories.Outgoing)
}
