package closed

import (
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// GroupMail counts the messages in a group's mailbox, as its leader has them: a write that is refused goes
// with the read.
func (c *Groups) GroupMail(t TB, id ident.GroupID) int {
	t.Helper()
	var key seedKey
	err := c.core.View(func(tx *store.Tx) error {
		g, err := c.get(tx, id)
		if err == nil {
			key = seedKey{g.state.ReadKey()}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	mailbox, err := c.core.MailboxOf(id.Key())
	if err != nil {
		t.Fatal(err)
	}
	r := &envelope.Request{Mailbox: mailbox, Mode: envelope.Each, Ops: []envelope.Op{
		envelope.DeleteBefore{Namespace: envelope.GroupNotice, Before: 0},
		envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.GroupMail}},
	}}
	resp, _, err := c.core.Request(t.Context(), core.PurposeInbox, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return len(resp.Results[1].Envelopes)
}
