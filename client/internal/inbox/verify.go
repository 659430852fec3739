package inbox

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/envelope"
)

// VerifyKept looks again at messages whose sender was unknown and has been approved since.
func (c *Inbox) VerifyKept(ctx context.Context) error {
	var kept []envelope.Envelope
	err := c.core.View(func(tx *store.Tx) error {
		for _, sender := range tx.UnverifiedSenders() {
			for _, b := range tx.Unverified(sender) {
				if e, err := envelope.DecodeEnvelope(b); err == nil {
					kept = append(kept, e)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range kept {
		if err := c.verifyOne(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (c *Inbox) verifyOne(ctx context.Context, e envelope.Envelope) error {
	o := c.open(e)
	if c.worthVerifying(o.in) {
		if err := c.people.Fetch(ctx, o.in.Sender, 0); err != nil && !core.IsGone(err) {
			return err
		}
		o = c.open(e)
	}
	if o.err == nil && o.in != nil && !o.in.Verified {
		return nil // still not known: it stays as it is
	}
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		tx.DropUnverified(e.Seq)
		if o.err != nil {
			return nil // forged, or too old to be opened again: the row stays marked as unverified
		}
		if err := c.apply(tx, a, &o); err != nil {
			return err
		}
		c.queueReceipts(tx, a)
		return nil
	})
}
