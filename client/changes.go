package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Reactions, edits, deletions: bodies that change a message. Each is kept under the message's author and ID and applied
// when both are there, so it does not matter which comes first. docs/formats.md, section 10.3, has the rules.

// Ref names a message: an ID counts for its author only.
type Ref struct {
	Author ident.AccountID
	ID     ident.MessageID
}

// Ref returns the name of m.
func (m *Message) Ref() Ref { return Ref{m.From, m.ID} }

// said is who changed something, where and when.
type said struct {
	by           ident.AccountID
	conversation string
	stamp        store.Stamp
	group        *group // as it was at that place in its log; nil: a direct conversation
}

// moderates reports whether who says something may change what others wrote.
func (s *said) moderates() bool {
	if s.group == nil || s.group.state == nil {
		return false
	}
	m := s.group.state.Member(s.by)
	return m != nil && m.Role >= groups.Moderator
}

// maxAheadMS is how far a time that somebody else wrote may be past the node's.
const maxAheadMS = 10 * 60_000

// capped is a time that somebody else wrote, as every device takes it.
func capped(at, storedAt int64) int64 { return min(at, storedAt+maxAheadMS) }

func (a *applied) reaction(tx *store.Tx, s said, r *bodyv1.Reaction) {
	ref := Ref{ident.AccountID(r.GetAuthor()), ident.MessageID(r.GetMessageId())}
	if !tx.React(store.Reaction{Message: ref.ID, Author: ref.Author, Sender: s.by, Emoji: r.GetEmoji(), Conversation: s.conversation,
		Stamp: s.stamp, Removed: r.GetRemove()}) {
		return
	}
	if m, ok := tx.MessageOf(ref.Author, ref.ID); ok && m.Conversation == s.conversation && !m.Deleted {
		a.updated(tx, m)
	}
}

// edit takes in what replaces the text of a message of the same author. raw is the whole body.
func (a *applied) edit(tx *store.Tx, s said, e *bodyv1.Edit, raw []byte) {
	a.change(tx, s, store.ChangeEdit, Ref{s.by, ident.MessageID(e.GetMessageId())}, raw)
}

func (a *applied) deletion(tx *store.Tx, s said, d *bodyv1.Deletion) {
	for _, id := range d.GetMessageIds() {
		a.change(tx, s, store.ChangeDelete, Ref{s.by, ident.MessageID(id)}, nil)
	}
	for _, m := range d.GetMessages() {
		if author := ident.AccountID(m.GetAuthor()); author == s.by || s.moderates() {
			a.change(tx, s, store.ChangeDelete, Ref{author, ident.MessageID(m.GetMessageId())}, nil)
		}
	}
}

// removal takes in what another own device removed for this account alone.
func (a *applied) removal(tx *store.Tx, s said, r *bodyv1.Removal) {
	for _, m := range r.GetMessages() {
		a.change(tx, s, store.ChangeRemoval, Ref{ident.AccountID(m.GetAuthor()), ident.MessageID(m.GetMessageId())}, nil)
	}
}

func (a *applied) change(tx *store.Tx, s said, kind store.ChangeKind, ref Ref, body []byte) {
	c := store.Change{Message: ref.ID, Author: ref.Author, Kind: kind, Conversation: s.conversation, Stamp: s.stamp, Body: body}
	if a.addChange(tx, c) {
		a.settle(tx, ref)
	}
}

// addChange keeps a change. What is said in another conversation than the message's does not count, nor take the place of
// what does.
func (a *applied) addChange(tx *store.Tx, c store.Change) bool {
	if m, ok := tx.MessageOf(c.Author, c.Message); ok && m.Conversation != c.Conversation {
		return false
	}
	return tx.AddChange(c, a.now.UnixMilli())
}

// settle brings a message that is there in step with its changes.
func (a *applied) settle(tx *store.Tx, ref Ref) {
	m, ok := tx.MessageOf(ref.Author, ref.ID)
	if !ok {
		return
	}
	was := m
	if !a.c.changed(tx, &m) {
		tx.RemoveMessage(&m)
		m.Deleted, m.Text, m.Body = true, "", nil
		a.updated(tx, m)
		return
	}
	if m.Deleted == was.Deleted && bytes.Equal(m.Body, was.Body) {
		return
	}
	tx.SaveMessage(&m)
	tx.SetText(m.Seq, m.Text, m.Body)
	tx.SetMentioned(m.Seq, m.Mentioned)
	a.updated(tx, m)
}

// changed applies to m what is known to change it. It returns false if the account removed m.
func (c *Client) changed(tx *store.Tx, m *store.Message) bool {
	for _, ch := range tx.Changes(m.ID, m.Sender) {
		switch {
		case ch.Conversation != m.Conversation:
		case ch.Kind == store.ChangeRemoval:
			return false
		case ch.Kind == store.ChangeDelete:
			m.Deleted, m.HandedOut, m.Text, m.Body = true, true, "", nil
		case ch.Kind == store.ChangeEdit:
			if body, ok := decodeBody(ch.Body); ok && !m.Deleted {
				m.Edited, m.Text, m.Body = true, body.GetEdit().GetText().GetText(), ch.Body
				m.Mentioned = mentions(body.GetEdit().GetText(), c.me)
			}
		}
	}
	return true
}

// addMessage adds a row as its changes, the conversation's clearing and its timer want it. It returns false if there is
// nothing to add.
func (c *Client) addMessage(tx *store.Tx, m *store.Message, expire *bodyv1.Timer, now int64) bool {
	if c.isCleared(m) || !c.setExpiry(m, expire, now) || !c.changed(tx, m) {
		return false
	}
	return tx.AddMessage(m)
}

// React puts an emoji of ours on a message, or takes it off. Errors: NotFound (no such message), Invalid.
func (c *Client) React(ctx context.Context, ref Ref, emoji string, remove bool) (Message, error) {
	if emoji == "" || len(emoji) > maxEmoji || !utf8.ValidString(emoji) {
		return Message{}, fault.New(fault.Invalid, "react", "an emoji has 1 to %d bytes", maxEmoji)
	}
	return c.changeMessage(ctx, "react to", ref, func(s *said, m store.Message) (*bodyv1.Body, error) {
		if m.Deleted || m.Notice {
			return nil, fault.New(fault.Invalid, "react to "+m.ID.Short(), "the message was deleted, or nobody wrote it")
		}
		return &bodyv1.Body{Kind: &bodyv1.Body_Reaction{Reaction: &bodyv1.Reaction{
			MessageId: ref.ID[:], Author: ref.Author[:], Emoji: emoji, Remove: remove}}}, nil
	})
}

// Edit replaces the text of a message of ours, for everyone. Errors: NotFound, Invalid (limits, a deleted message),
// Denied (somebody else's message).
func (c *Client) Edit(ctx context.Context, ref Ref, text string) (Message, error) {
	if text == "" || len(text) > MaxText || !utf8.ValidString(text) {
		return Message{}, fault.New(fault.Invalid, "edit message", "want 1 to %d bytes of UTF-8", MaxText)
	}
	return c.changeMessage(ctx, "edit", ref, func(s *said, m store.Message) (*bodyv1.Body, error) {
		switch {
		case !m.Mine:
			return nil, fault.New(fault.Denied, "edit "+m.ID.Short(), "it is somebody else's message")
		case m.Deleted:
			return nil, fault.New(fault.Invalid, "edit "+m.ID.Short(), "the message was deleted")
		}
		old := new(bodyv1.Text)
		if body, ok := decodeBody(m.Body); ok {
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
		return &bodyv1.Body{Kind: &bodyv1.Body_Edit{Edit: &bodyv1.Edit{MessageId: ref.ID[:], Text: old}}}, nil
	})
}

// Delete removes a message from all devices of this account; forEveryone from those of its readers too, where a mark stays:
// our own, and in a group that we moderate anybody's. Errors: NotFound, Denied (somebody else's message for everyone).
func (c *Client) Delete(ctx context.Context, ref Ref, forEveryone bool) (Message, error) {
	return c.changeMessage(ctx, "delete", ref, func(s *said, m store.Message) (*bodyv1.Body, error) {
		if !forEveryone {
			return &bodyv1.Body{Kind: &bodyv1.Body_Removal{Removal: &bodyv1.Removal{Messages: refs(ref)}}}, nil
		}
		if m.Notice {
			return nil, fault.New(fault.Denied, "delete "+m.ID.Short()+" for everyone", "it says what happened to the group: delete it here alone")
		}
		if !m.Mine && !s.moderates() {
			return nil, fault.New(fault.Denied, "delete "+m.ID.Short()+" for everyone", "it is somebody else's message")
		}
		if !m.Mine {
			return &bodyv1.Body{Kind: &bodyv1.Body_Deletion{Deletion: &bodyv1.Deletion{Messages: refs(ref)}}}, nil
		}
		return &bodyv1.Body{Kind: &bodyv1.Body_Deletion{Deletion: &bodyv1.Deletion{MessageIds: [][]byte{ref.ID[:]}}}}, nil
	})
}

func refs(r Ref) []*bodyv1.MessageRef {
	return []*bodyv1.MessageRef{{MessageId: r.ID[:], Author: r.Author[:]}}
}

// changeMessage makes a change of a message, here and in the outbox, and returns the message after it.
func (c *Client) changeMessage(ctx context.Context, op string, ref Ref, make func(*said, store.Message) (*bodyv1.Body, error)) (out Message, err error) {
	if err := ctx.Err(); err != nil {
		return out, err
	}
	if _, _, revoked := c.keys.summary(); revoked {
		return out, errRevoked(op + " message")
	}
	a := c.newApplied()
	err = c.update(func(tx *store.Tx) error {
		m, ok := tx.MessageOf(ref.Author, ref.ID)
		if !ok {
			return fault.New(fault.NotFound, op+" "+ref.ID.Short(), "no such message")
		}
		peer, err := ident.ParsePeer(m.Conversation)
		if err != nil {
			return fault.New(fault.Invalid, op+" "+ref.ID.Short(), "not in a conversation of this version")
		}
		s := said{by: c.me, conversation: m.Conversation, stamp: store.Stamp{At: c.stampAfter(tx, ref)}}
		if s.group, err = c.groupOf(tx, peer); err != nil {
			return err
		}
		body, err := make(&s, m)
		if err != nil {
			return err
		}
		rand.Read(s.stamp.Change[:])
		raw, err := c.queueChange(tx, peer, s.stamp, body)
		if err != nil {
			return err
		}
		if body.GetDeletion() != nil && s.moderates() {
			c.queueErase(tx, s.group, &m)
		}
		a.said(tx, s, body, raw)
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
	if peer, perr := ident.ParsePeer(out.Conversation); perr == nil {
		a.kick = append(a.kick, peer.Key())
	}
	a.kick = append(a.kick, c.me)
	a.publish()
	return out, nil
}

// stampAfter is now, or just after the newest change of a message: what is done later counts, whatever the clock says.
func (c *Client) stampAfter(tx *store.Tx, ref Ref) int64 {
	at := c.nowMS()
	for _, ch := range tx.Changes(ref.ID, ref.Author) {
		at = max(at, ch.At+1)
	}
	return max(at, tx.NewestReaction(ref.ID, ref.Author)+1)
}

// said applies a body that changes something else than a conversation's rows; it reports whether body is one.
func (a *applied) said(tx *store.Tx, s said, body *bodyv1.Body, raw []byte) bool {
	switch k := body.GetKind().(type) {
	case *bodyv1.Body_Reaction:
		a.reaction(tx, s, k.Reaction)
	case *bodyv1.Body_Edit:
		a.edit(tx, s, k.Edit, raw)
	case *bodyv1.Body_Deletion:
		a.deletion(tx, s, k.Deletion)
	case *bodyv1.Body_Removal:
		if s.by == a.c.me {
			a.removal(tx, s, k.Removal)
		}
	case *bodyv1.Body_Pin:
		a.pin(tx, s, k.Pin)
	case *bodyv1.Body_Timer:
		if s.group == nil { // a group's timer is part of its state
			a.timer(tx, s, k.Timer)
		}
	default:
		return false
	}
	return true
}

// queueChange writes the legs of a body that is no row of a conversation, and returns its bytes. A removal stays among
// own devices.
func (c *Client) queueChange(tx *store.Tx, to ident.Peer, stamp store.Stamp, body *bodyv1.Body) ([]byte, error) {
	if id, ok := to.(ident.GroupID); ok {
		return c.queueGroupChange(tx, id, stamp, body)
	}
	peer := ident.AccountID(to.Key())
	p, err := c.person(tx, peer)
	if err != nil {
		return nil, err
	}
	told := p.ToldAt
	own := peer == c.me || body.GetRemoval() != nil
	if !own && c.isContested(&p.Peer) {
		return nil, errContested(peer)
	}
	if !own {
		c.tellProfile(tx, &p, body)
	}
	raw, err := proto.Marshal(body)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "encode message", err)
	}
	if !own {
		leg := store.Leg{Kind: store.LegMessage, Peer: peer.Key(), Message: stamp.Change, SentAt: stamp.At, Body: raw}
		if err := c.queueFirstLeg(tx, &p, leg, c.net.Now()); err != nil {
			return nil, err
		}
	}
	if c.keys.manyDevices() {
		c.queueCopy(tx, peer, p.chain, stamp.Change, stamp.At, raw, own)
	}
	if told != p.ToldAt || !own {
		c.savePerson(tx, p)
	}
	return raw, nil
}

// queueQuiet writes a leg to a peer that own devices need no copy of: what it says is in the documents.
func (c *Client) queueQuiet(tx *store.Tx, peer ident.AccountID, body *bodyv1.Body, due time.Time) error {
	raw, err := proto.Marshal(body)
	if err != nil {
		return fault.Wrap(fault.Internal, "encode message", err)
	}
	leg := store.Leg{Kind: store.LegReceipt, Peer: peer.Key(), SentAt: c.nowMS(), Body: raw, Due: due.UnixMilli()}
	rand.Read(leg.Message[:])
	tx.AddLeg(&leg)
	return tx.Err()
}

// tellProfile adds to a body what the recipient does not know of our profile yet.
func (c *Client) tellProfile(tx *store.Tx, p *person, b *bodyv1.Body) {
	if name, at := c.profileName(), int64(tx.Number("profile_changed")); name != "" && p.ToldAt < at && p.Account != c.me {
		b.Profile = &bodyv1.Profile{Name: name, ChangedAt: at}
		p.ToldAt = at
	}
}
