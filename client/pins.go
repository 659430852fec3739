package client

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// PinMessage keeps a message at hand for everybody in the conversation, or lets it go. In a group moderators and admins do.
// Errors: NotFound (no such message in that conversation), Invalid (a deleted one), Denied (a plain member).
func (c *Client) PinMessage(ctx context.Context, peer ident.Peer, ref Ref, on bool) (Message, error) {
	if err := c.checkWrite("pin message", peer); err != nil {
		return Message{}, err
	}
	return c.changeMessage(ctx, "pin", ref, func(s *said, m store.Message) (*bodyv1.Body, error) {
		switch {
		case m.Conversation != peer.String():
			return nil, fault.New(fault.NotFound, "pin "+m.ID.Short(), "it is in another conversation")
		case s.group != nil && !s.moderates():
			return nil, fault.New(fault.Denied, "pin "+m.ID.Short(), "moderators and admins of the group pin messages")
		case on && (m.Deleted || m.Notice):
			return nil, fault.New(fault.Invalid, "pin "+m.ID.Short(), "the message was deleted, or nobody wrote it")
		}
		return &bodyv1.Body{Kind: &bodyv1.Body_Pin{Pin: &bodyv1.Pin{Message: refs(ref)[0], Remove: !on}}}, nil
	})
}

// Pinned returns the messages of a conversation that are pinned, the one that was pinned last first.
func (c *Client) Pinned(ctx context.Context, peer ident.Peer) (out []Message, err error) {
	if err := c.checkPeer(peer); err != nil {
		return nil, err
	}
	err = c.p.db.View(func(tx *store.Tx) error {
		for _, m := range tx.Pinned(peer.String()) {
			out = append(out, c.message(tx, m))
		}
		return tx.Err()
	})
	return out, err
}

// pin takes in that somebody pinned a message or let it go. Strangers pin nothing.
func (a *applied) pin(tx *store.Tx, s said, p *bodyv1.Pin) {
	if s.group != nil && !s.moderates() {
		return
	}
	if peer, err := ident.ParseAccountID(s.conversation); err == nil && s.by != a.c.me {
		if p, err := a.c.person(tx, peer); err != nil || !p.Approved {
			return
		}
	}
	ref := Ref{ident.AccountID(p.GetMessage().GetAuthor()), ident.MessageID(p.GetMessage().GetMessageId())}
	c := store.Change{Message: ref.ID, Author: ref.Author, Kind: store.ChangePin, Conversation: s.conversation, Stamp: s.stamp}
	if !p.GetRemove() {
		c.Body = []byte{1}
	}
	if !a.addChange(tx, c) {
		return
	}
	a.conversationChanged(s.conversation)
	if m, ok := tx.MessageOf(ref.Author, ref.ID); ok && m.Conversation == s.conversation {
		a.updated(tx, m)
	}
}
