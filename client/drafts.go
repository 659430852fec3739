package client

import (
	"context"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// SetDraft keeps the text that is being written to an account or a group ("": none) and tells own devices. The newest counts; what
// is sent in the conversation ends it. A draft is never restored: it travels under the day's key only.
func (c *Client) SetDraft(ctx context.Context, peer ident.Peer, text string) error {
	if _, _, revoked := c.keys.summary(); revoked {
		return errRevoked("keep draft")
	}
	if err := c.checkPeer(peer); err != nil {
		return err
	}
	if len(text) > MaxText || !utf8.ValidString(text) {
		return fault.New(fault.Invalid, "keep draft", "want at most %d bytes of UTF-8", MaxText)
	}
	many, key := c.keys.manyDevices(), peer.Key()
	err := c.update(func(tx *store.Tx) error {
		old, at := tx.Draft(peer.String())
		if old == text {
			return nil
		}
		at = max(at+1, c.nowMS())
		tx.SetDraft(peer.String(), text, at)
		if !many {
			return nil
		}
		raw, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_Draft{Draft: &bodyv1.Draft{Conversation: peer.String(), Text: text, ChangedAt: at}}})
		if err != nil {
			return fault.Wrap(fault.Internal, "encode draft", err)
		}
		leg := store.Leg{Kind: store.LegDraft, Peer: c.me.Key(), Message: ident.MessageID(key[1:17]), SentAt: at, Body: raw}
		tx.DropDraftLegs(leg.Message)
		tx.AddLeg(&leg)
		return nil
	})
	if err == nil && many {
		c.out.kick(c.me)
	}
	return err
}

// draft takes in a draft of another own device.
func (a *applied) draft(tx *store.Tx, b []byte, storedAt int64) error {
	body, ok := decodeBody(b)
	d := body.GetDraft()
	if !ok || d == nil || len(d.GetText()) > MaxText {
		return nil
	}
	if _, err := ident.ParsePeer(d.GetConversation()); err != nil {
		return nil
	}
	if tx.SetDraft(d.GetConversation(), d.GetText(), capped(d.GetChangedAt(), storedAt)) {
		a.conversationChanged(d.GetConversation())
	}
	return tx.Err()
}

// endDraft forgets what was being written when something was sent.
func (c *Client) endDraft(tx *store.Tx, conversation string, sentAt int64) {
	if text, at := tx.Draft(conversation); text != "" && at <= sentAt {
		tx.SetDraft(conversation, "", sentAt)
	}
}
