package closed

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// DropSlots deletes all slots that a group's mailbox has, with the admin key, and returns once no replica has
// them.
func (c *Groups) DropSlots(ctx context.Context, id ident.GroupID) error {
	var key seedKey
	err := c.core.View(func(tx *store.Tx) error {
		g, err := c.get(tx, id)
		if err == nil {
			seed, _ := g.state.AdminKey()
			key = seedKey{seed}
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, _, err = c.request(ctx, id, key, envelope.DeleteBefore{Namespace: envelope.GroupSlots,
		Before: 1<<63 - 1}); err != nil {
		return err
	}
	mailbox, err := c.core.MailboxOf(id.Key())
	for gone := byte(0); err == nil && gone < 6; gone++ { // a follower applies a write with the next
		put := envelope.Store{Namespace: envelope.GroupNotice, TTL: 60, Body: []byte{gone}}
		if _, _, err = c.request(ctx, id, key, put); err != nil {
			return err
		}
		c.core.Net.Elsewhere(mailbox)
		r := &envelope.Request{Mailbox: mailbox,
			Ops: []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.GroupSlots}}}}
		var resp *envelope.Response
		if resp, _, err = c.core.Request(ctx, core.PurposeInbox, r, key); err == nil &&
			len(resp.Results[0].Envelopes) > 0 {
			gone = 0
		}
	}
	return err
}
