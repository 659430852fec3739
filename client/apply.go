package client

import (
	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/ident"
)

// sentCopy takes in a message that another own device sent. Whether its recipient is approved, the contacts
// document says: its delta leaves before the copy.
func (c *Client) sentCopy(tx *store.Tx, a *core.Batch, b []byte, storedAt int64) error {
	cp, err := account.DecodeSentCopy(b)
	if err == nil && cp.To[0] == ident.GroupType {
		return c.groups.TakeSentCopy(tx, a, cp, storedAt)
	}
	if err != nil || cp.To[0] != ident.AccountType {
		return nil
	}
	peer := ident.AccountID(cp.To)
	p, err := c.people.Get(tx, peer)
	if err != nil {
		return nil // no account can have that ID
	}
	if p.Certs == nil {
		p.Certs = cp.Certs
	}
	if peer != c.core.Me && !p.Named {
		p.Named = true
		c.records.wake() // messages that were kept unverified can be looked at now
	}
	if peer != c.core.Me {
		c.people.Save(tx, p)
	}
	body, ok := content.DecodeBody(cp.Body)
	if !ok {
		return tx.Err()
	}
	sentAt := content.Capped(cp.SentAt, storedAt)
	s := conv.Said{By: c.core.Me, Conversation: peer.String(), Stamp: store.Stamp{At: sentAt, Change: cp.ID}}
	if c.rows.Said(tx, a, s, body, cp.Body) {
		return tx.Err()
	}
	m := store.Message{ID: cp.ID, Sender: c.core.Me, Conversation: peer.String(), Mine: true,
		Text: body.GetText().GetText(), Body: cp.Body,
		SentAt: sentAt, ReceivedAt: a.Now.UnixMilli(), ReplyTo: content.ReplyTo(body), HandedOut: true,
		State: store.StateStored, StoredAt: a.Now.UnixMilli()}
	c.rows.EndDraft(tx, m.Conversation, sentAt)
	if c.rows.AddMessage(tx, a, &m, body.GetExpire()) {
		c.rows.Came(tx, a, m, false)
	}
	return tx.Err()
}
