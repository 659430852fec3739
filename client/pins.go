package client

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Pin keeps the message at hand for everybody in its conversation. In a group moderators and admins do.
// Errors: NotFound (no such message), Invalid (a deleted one), Denied (a plain member, or somebody blocked).
func (h MessageHandle) Pin(ctx context.Context) (Message, error) { return h.pin(ctx, &bodyv1.Pin{}) }

// Unpin lets the message go. Errors: as for Pin.
func (h MessageHandle) Unpin(ctx context.Context) (Message, error) {
	return h.pin(ctx, &bodyv1.Pin{Remove: true})
}

func (h MessageHandle) pin(ctx context.Context, p *bodyv1.Pin) (Message, error) {
	return h.change(ctx, "pin", func(s *conv.Said, m store.Message) (*bodyv1.Body, error) {
		peer, err := ident.ParsePeer(m.Conversation)
		if err != nil {
			return nil, err
		}
		if id, direct := peer.(ident.AccountID); direct && h.c.people.Blocked(id) {
			return nil, errBlocked("pin message", id)
		}
		switch {
		case s.InGroup && !s.Moderates:
			return nil, fault.New(fault.Denied, "pin "+m.ID.Short(),
				"moderators and admins of the group pin messages")
		case !p.Remove && (m.Deleted || m.Notice):
			return nil, fault.New(fault.Invalid, "pin "+m.ID.Short(),
				"the message was deleted, or nobody wrote it")
		}
		p.Message = conv.Refs(conv.Ref(h.ref))[0]
		return &bodyv1.Body{Kind: &bodyv1.Body_Pin{Pin: p}}, nil
	})
}

// Pinned returns the messages of the conversation that are pinned, the one that was pinned last first.
func (h ConversationHandle) Pinned(ctx context.Context) (out []Message, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, peer := h.c, h.peer
	if err := c.checkPeer(peer); err != nil {
		return nil, err
	}
	err = c.core.View(func(tx *store.Tx) error {
		for _, m := range tx.Pinned(peer.String()) {
			out = append(out, c.message(tx, m))
		}
		return tx.Err()
	})
	return out, err
}
