package inbox

import (
	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// ignored are bodies that say nothing in a direct conversation: an answer to a request tells nothing but the
// profile; drafts come from own devices only, and notices from the logs of groups.
var ignored = []any{(*bodyv1.Body_RequestResponse)(nil), (*bodyv1.Body_Draft)(nil),
	(*bodyv1.Body_Notice)(nil)}

// ignore takes in a body that says nothing.
func ignore(tx *store.Tx, _ *core.Batch, _ *Mail) error { return tx.Err() }

// talk takes in what belongs in the conversation with the sender: changes of other messages, text, voice, and
// what only a later version can show.
func (c *Inbox) talk(tx *store.Tx, a *core.Batch, in *Mail) error {
	p, body, env := in.From, in.Body, in.Envelope
	s := conv.Said{By: in.Sender, Conversation: in.Sender.String(),
		Stamp: store.Stamp{At: content.Capped(in.SentAt, env.StoredAt), Change: in.ID}}
	if c.rows.Said(tx, a, s, body, in.Incoming.Body) {
		return tx.Err()
	}
	m := store.Message{ID: in.ID, Sender: in.Sender, Conversation: in.Sender.String(), Request: !p.Approved &&
		in.Sender != c.core.Me,
		Unverified: !in.Verified, Text: body.GetText().GetText(), Body: in.Incoming.Body,
		SentAt:     content.Capped(in.SentAt, env.StoredAt),
		ReceivedAt: a.Now.UnixMilli(), ReplyTo: content.ReplyTo(body), MailboxSeq: env.Seq,
		Mentioned: content.Mentions(body.GetText(), c.core.Me)}
	quiet := m.Request && !c.core.Setting(devicesync.SettingRequests)
	m.HandedOut = quiet
	if !c.rows.AddMessage(tx, a, &m, body.GetExpire()) {
		old, ok := tx.MessageOf(in.Sender, in.ID)
		if !ok || !old.Unverified || !in.Verified {
			return tx.Err()
		}
		// The verified message replaces what was kept under its name.
		old.Unverified, old.Request = false, m.Request
		tx.SaveMessage(&old)
		tx.SetText(old.Seq, m.Text, m.Body)
		old.Text, old.Body = m.Text, m.Body
		m = old
		c.rows.Settle(tx, a, conv.Ref{Author: m.Sender, ID: m.ID})
	}
	c.rows.Came(tx, a, m, quiet)
	if p.Approved && in.Verified {
		a.Delivered(in.Sender, in.ID)
	}
	return tx.Err()
}
