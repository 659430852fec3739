package client

import (
	"context"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// SetDraft keeps the text that is being written ("": none) and tells own devices. The newest counts; what is
// sent in the conversation ends it. A draft is never restored: it travels under the day's key only.
func (h ConversationHandle) SetDraft(ctx context.Context, text string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, peer := h.c, h.peer
	if _, _, revoked := c.core.Keys.Summary(); revoked {
		return core.ErrRevoked("keep draft")
	}
	if err := c.checkPeer(peer); err != nil {
		return err
	}
	if len(text) > content.MaxText || !utf8.ValidString(text) {
		return fault.New(fault.Invalid, "keep draft", "want at most %d bytes of UTF-8", content.MaxText)
	}
	many, key := c.core.Keys.ManyDevices(), peer.Key()
	err := c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		old, at := tx.Draft(peer.String())
		if old == text {
			return nil
		}
		at = max(at+1, c.core.NowMS())
		tx.SetDraft(peer.String(), text, at)
		if !many {
			return nil
		}
		raw, err := proto.Marshal(
			&bodyv1.Body{Kind: &bodyv1.Body_Draft{Draft: &bodyv1.Draft{Conversation: peer.String(),
				Text: text, ChangedAt: at}}})
		if err != nil {
			return fault.Wrap(fault.Internal, "encode draft", err)
		}
		leg := store.Leg{Kind: store.LegDraft, Peer: c.core.Me.Key(), Message: ident.MessageID(key[1:17]),
			SentAt: at, Body: raw}
		tx.DropDraftLegs(leg.Message)
		tx.AddLeg(&leg)
		return nil
	})
	if err == nil && many {
		c.core.Kick(c.core.Me)
	}
	return err
}
