package conv

import (
	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
)

// Draft takes in a draft of another own device.
func (c *Rows) Draft(tx *store.Tx, a *core.Batch, b []byte, storedAt int64) error {
	body, ok := content.DecodeBody(b)
	d := body.GetDraft()
	if !ok || d == nil || len(d.GetText()) > content.MaxText {
		return nil
	}
	if _, err := ident.ParsePeer(d.GetConversation()); err != nil {
		return nil
	}
	if tx.SetDraft(d.GetConversation(), d.GetText(), content.Capped(d.GetChangedAt(), storedAt)) {
		c.ConversationChanged(a, d.GetConversation())
	}
	return tx.Err()
}

// EndDraft forgets what was being written when something was sent.
func (c *Rows) EndDraft(tx *store.Tx, conversation string, sentAt int64) {
	if text, at := tx.Draft(conversation); text != "" && at <= sentAt {
		tx.SetDraft(conversation, "", max(sentAt, at+1)) // also if both were in one millisecond
	}
}
