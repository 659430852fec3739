package client

import (
	"context"
	"crypto/rand"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Reactions, edits, deletions: bodies that change a message. Each is kept under the message's author and ID
// and applied when both are there, so it does not matter which comes first. docs/formats.md, section 10.3,
// has the rules.

// Ref names a message: an ID counts for its author only.
type Ref struct {
	Author ident.AccountID
	ID     ident.MessageID
}

// Ref returns the name of m.
func (m *Message) Ref() Ref { return Ref{m.From, m.ID} }

// MessageHandle is one message to act on.
type MessageHandle struct {
	c   *Client
	ref Ref
}

// Message returns the handle of a message, known or not.
func (c *Client) Message(ref Ref) MessageHandle { return MessageHandle{c, ref} }

// React puts an emoji of ours on the message. Errors: NotFound (no such message), Invalid, Denied (this
// device was revoked, or the account is no member of the group).
func (h MessageHandle) React(ctx context.Context, emoji string) (Message, error) {
	return h.react(ctx, &bodyv1.Reaction{Emoji: emoji})
}

// Unreact takes an emoji of ours off the message. Errors: as for React.
func (h MessageHandle) Unreact(ctx context.Context, emoji string) (Message, error) {
	return h.react(ctx, &bodyv1.Reaction{Emoji: emoji, Remove: true})
}

func (h MessageHandle) react(ctx context.Context, r *bodyv1.Reaction) (Message, error) {
	if r.Emoji == "" || len(r.Emoji) > content.MaxEmoji || !utf8.ValidString(r.Emoji) {
		return Message{}, fault.New(fault.Invalid, "react", "an emoji has 1 to %d bytes", content.MaxEmoji)
	}
	r.MessageId, r.Author = h.ref.ID[:], h.ref.Author[:]
	return h.change(ctx, "react to", func(s *conv.Said, m store.Message) (*bodyv1.Body, error) {
		if m.Deleted || m.Notice {
			return nil, fault.New(fault.Invalid, "react to "+m.ID.Short(),
				"the message was deleted, or nobody wrote it")
		}
		return &bodyv1.Body{Kind: &bodyv1.Body_Reaction{Reaction: r}}, nil
	})
}

// Edit replaces the text of a message of ours, for everyone. Errors: NotFound, Invalid (limits, a deleted
// message), Denied (somebody else's message).
func (h MessageHandle) Edit(ctx context.Context, text string) (Message, error) {
	if text == "" || len(text) > content.MaxText || !utf8.ValidString(text) {
		return Message{}, fault.New(fault.Invalid, "edit message", "want 1 to %d bytes of UTF-8",
			content.MaxText)
	}
	return h.change(ctx, "edit", func(s *conv.Said, m store.Message) (*bodyv1.Body, error) {
		switch {
		case !m.Mine:
			return nil, fault.New(fault.Denied, "edit "+m.ID.Short(), "it is somebody else's message")
		case m.Deleted:
			return nil, fault.New(fault.Invalid, "edit "+m.ID.Short(), "the message was deleted")
		}
		old := new(bodyv1.Text)
		if body, ok := content.DecodeBody(m.Body); ok {
			switch k := body.GetKind().(type) {
			case *bodyv1.Body_Text:
				old = k.Text
			case *bodyv1.Body_Edit:
				old = k.Edit.GetText()
			default:
				return nil, fault.New(fault.Invalid, "edit "+m.ID.Short(), "only texts can be edited")
			}
		}
		old.Text = text
		return &bodyv1.Body{Kind: &bodyv1.Body_Edit{Edit: &bodyv1.Edit{MessageId: h.ref.ID[:],
			Text: old}}}, nil
	})
}

// Delete removes the message from all devices of this account. Errors: NotFound.
func (h MessageHandle) Delete(ctx context.Context) (Message, error) {
	return h.change(ctx, "delete", func(*conv.Said, store.Message) (*bodyv1.Body, error) {
		return &bodyv1.Body{Kind: &bodyv1.Body_Removal{Removal: &bodyv1.Removal{Messages: conv.Refs(
			conv.Ref(h.ref))}}}, nil
	})
}

// DeleteForEveryone removes the message from the devices of its readers too, where a mark stays: one of ours,
// and in a group that we moderate anybody's. Errors: NotFound, Denied (somebody else's message).
func (h MessageHandle) DeleteForEveryone(ctx context.Context) (Message, error) {
	return h.change(ctx, "delete", func(s *conv.Said, m store.Message) (*bodyv1.Body, error) {
		d := &bodyv1.Deletion{MessageIds: [][]byte{h.ref.ID[:]}}
		switch {
		case m.Notice:
			return nil, fault.New(fault.Denied, "delete "+m.ID.Short()+" for everyone",
				"it says what happened to the group: delete it here alone")
		case !m.Mine && !s.Moderates:
			return nil, fault.New(fault.Denied, "delete "+m.ID.Short()+" for everyone",
				"it is somebody else's message")
		case !m.Mine:
			d = &bodyv1.Deletion{Messages: conv.Refs(conv.Ref(h.ref))}
		}
		return &bodyv1.Body{Kind: &bodyv1.Body_Deletion{Deletion: d}}, nil
	})
}

// change makes a change of the message, here and in the outbox, and returns the message after it.
func (h MessageHandle) change(ctx context.Context, op string,
	make func(*conv.Said, store.Message) (*bodyv1.Body, error)) (out Message, err error) {
	c, ref := h.c, h.ref
	if err := ctx.Err(); err != nil {
		return out, err
	}
	if _, _, revoked := c.core.Keys.Summary(); revoked {
		return out, core.ErrRevoked(op + " message")
	}
	err = c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		m, ok := tx.MessageOf(ref.Author, ref.ID)
		if !ok {
			return fault.New(fault.NotFound, op+" "+ref.ID.Short(), "no such message")
		}
		peer, err := ident.ParsePeer(m.Conversation)
		if err != nil {
			return fault.New(fault.Invalid, op+" "+ref.ID.Short(), "not in a conversation of this version")
		}
		s := conv.Said{By: c.core.Me, Conversation: m.Conversation,
			Stamp: store.Stamp{At: c.rows.StampAfter(tx, conv.Ref(ref))}}
		id, inGroup := peer.(ident.GroupID)
		if inGroup {
			s.InGroup = true
			if s.Moderates, err = c.groups.Moderates(tx, id); err != nil {
				return err
			}
		}
		body, err := make(&s, m)
		if err != nil {
			return err
		}
		rand.Read(s.Stamp.Change[:])
		a.Kick(peer, c.core.Me)
		raw, err := c.queueChange(tx, peer, s.Stamp, body)
		if err != nil {
			return err
		}
		if body.GetDeletion() != nil && s.Moderates {
			c.groups.QueueErase(tx, id, &m)
		}
		c.rows.Said(tx, a, s, body, raw)
		out = c.message(tx, m)
		if now, ok := tx.MessageOf(ref.Author, ref.ID); ok {
			out = c.message(tx, now)
		} else {
			out.Deleted, out.Text, out.Attachments = true, "", nil
		}
		return tx.Err()
	})
	if err != nil {
		return Message{}, err
	}
	return out, nil
}

// queueChange writes the legs of a body that is no row of a conversation, and returns its bytes. A removal
// stays among own devices.
func (c *Client) queueChange(tx *store.Tx, to ident.Peer, stamp store.Stamp,
	body *bodyv1.Body) ([]byte, error) {
	if id, ok := to.(ident.GroupID); ok {
		return c.groups.QueueChange(tx, id, stamp, body)
	}
	peer := ident.AccountID(to.Key())
	p, err := c.people.Get(tx, peer)
	if err != nil {
		return nil, err
	}
	told := p.ToldAt
	own := peer == c.core.Me || body.GetRemoval() != nil
	if !own && c.people.Contested(&p.Peer) {
		return nil, people.ErrContested(peer)
	}
	if !own {
		c.people.TellProfile(tx, &p, body)
	}
	raw, err := proto.Marshal(body)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "encode message", err)
	}
	if !own {
		leg := store.Leg{Kind: store.LegMessage, Peer: peer.Key(), Message: stamp.Change,
			SentAt: stamp.At, Body: raw}
		if err := c.queueFirstLeg(tx, &p, leg, c.core.Net.Now()); err != nil {
			return nil, err
		}
	}
	if c.core.Keys.ManyDevices() {
		c.rows.QueueCopy(tx, peer.Key(), p.Certs, stamp.Change, stamp.At, raw, own)
	}
	if told != p.ToldAt || !own {
		c.people.Save(tx, p)
	}
	return raw, nil
}

// queueQuiet writes a leg to a peer that own devices need no copy of: what it says is in the documents.
func (c *Client) queueQuiet(tx *store.Tx, peer ident.AccountID, body *bodyv1.Body, due time.Time) error {
	raw, err := proto.Marshal(body)
	if err != nil {
		return fault.Wrap(fault.Internal, "encode message", err)
	}
	leg := store.Leg{Kind: store.LegReceipt, Peer: peer.Key(), SentAt: c.core.NowMS(), Body: raw,
		Due: due.UnixMilli()}
	rand.Read(leg.Message[:])
	tx.AddLeg(&leg)
	return tx.Err()
}
