package conv

import (
	"bytes"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Ref names a message: an ID counts for its author only.
type Ref struct {
	Author ident.AccountID
	ID     ident.MessageID
}

// Said is who changed something, where and when.
type Said struct {
	By           ident.AccountID
	Conversation string
	Stamp        store.Stamp
	InGroup      bool // not a direct conversation
	Moderates    bool // who says it may change what others wrote
}

func (c *Rows) reaction(tx *store.Tx, a *core.Batch, s Said, r *bodyv1.Reaction) {
	ref := Ref{ident.AccountID(r.GetAuthor()), ident.MessageID(r.GetMessageId())}
	if !tx.React(store.Reaction{Message: ref.ID, Author: ref.Author, Sender: s.By, Emoji: r.GetEmoji(),
		Conversation: s.Conversation,
		Stamp:        s.Stamp, Removed: r.GetRemove()}) {
		return
	}
	if m, ok := tx.MessageOf(ref.Author, ref.ID); ok && m.Conversation == s.Conversation && !m.Deleted {
		c.Updated(tx, a, m)
	}
}

// edit takes in what replaces the text of a message of the same author. raw is the whole body.
func (c *Rows) edit(tx *store.Tx, a *core.Batch, s Said, e *bodyv1.Edit, raw []byte) {
	c.change(tx, a, s, store.ChangeEdit, Ref{s.By, ident.MessageID(e.GetMessageId())}, raw)
}

func (c *Rows) deletion(tx *store.Tx, a *core.Batch, s Said, d *bodyv1.Deletion) {
	for _, id := range d.GetMessageIds() {
		c.change(tx, a, s, store.ChangeDelete, Ref{s.By, ident.MessageID(id)}, nil)
	}
	for _, m := range d.GetMessages() {
		if author := ident.AccountID(m.GetAuthor()); author == s.By || s.Moderates {
			c.change(tx, a, s, store.ChangeDelete, Ref{author, ident.MessageID(m.GetMessageId())}, nil)
		}
	}
}

// Removal takes in what another own device removed for this account alone.
func (c *Rows) Removal(tx *store.Tx, a *core.Batch, s Said, r *bodyv1.Removal) {
	for _, m := range r.GetMessages() {
		c.change(tx, a, s, store.ChangeRemoval, Ref{ident.AccountID(m.GetAuthor()),
			ident.MessageID(m.GetMessageId())}, nil)
	}
}

func (c *Rows) change(tx *store.Tx, a *core.Batch, s Said, kind store.ChangeKind, ref Ref, body []byte) {
	ch := store.Change{Message: ref.ID, Author: ref.Author, Kind: kind, Conversation: s.Conversation,
		Stamp: s.Stamp, Body: body}
	if c.addChange(tx, a, ch) {
		c.Settle(tx, a, ref)
	}
}

// addChange keeps a change. What is said in another conversation than the message's does not count, nor take
// the place of what does.
func (c *Rows) addChange(tx *store.Tx, a *core.Batch, ch store.Change) bool {
	if m, ok := tx.MessageOf(ch.Author, ch.Message); ok && m.Conversation != ch.Conversation {
		return false
	}
	return tx.AddChange(ch, a.Now.UnixMilli())
}

// Settle brings a message that is there in step with its changes.
func (c *Rows) Settle(tx *store.Tx, a *core.Batch, ref Ref) {
	m, ok := tx.MessageOf(ref.Author, ref.ID)
	if !ok {
		return
	}
	was := m
	if !c.Changed(tx, &m) {
		tx.RemoveMessage(&m)
		m.Deleted, m.Text, m.Body = true, "", nil
		c.Updated(tx, a, m)
		return
	}
	if m.Deleted == was.Deleted && bytes.Equal(m.Body, was.Body) {
		return
	}
	tx.SaveMessage(&m)
	tx.SetText(m.Seq, m.Text, m.Body)
	tx.SetMentioned(m.Seq, m.Mentioned)
	c.Updated(tx, a, m)
}

// Changed applies to m what is known to change it. It returns false if the account removed m.
func (c *Rows) Changed(tx *store.Tx, m *store.Message) bool {
	for _, ch := range tx.Changes(m.ID, m.Sender) {
		switch {
		case ch.Conversation != m.Conversation:
		case ch.Kind == store.ChangeRemoval:
			return false
		case ch.Kind == store.ChangeDelete:
			m.Deleted, m.HandedOut, m.Text, m.Body = true, true, "", nil
		case ch.Kind == store.ChangeEdit:
			if body, ok := content.DecodeBody(ch.Body); ok && !m.Deleted {
				m.Edited, m.Text, m.Body = true, body.GetEdit().GetText().GetText(), ch.Body
				m.Mentioned = content.Mentions(body.GetEdit().GetText(), c.core.Me)
			}
		}
	}
	return true
}

// AddMessage adds a row as its changes, the conversation's clearing and its timer want it. It returns false
// if there is nothing to add.
func (c *Rows) AddMessage(tx *store.Tx, a *core.Batch, m *store.Message, expire *bodyv1.Timer) bool {
	if c.IsCleared(m) || !c.SetExpiry(m, expire, a.Now.UnixMilli()) || !c.Changed(tx, m) ||
		!tx.AddMessage(m) {
		return false
	}
	if m.ExpiresAt != 0 {
		a.Then(c.Timed.Fire)
	}
	return true
}

// Refs is a message as a body names it.
func Refs(r Ref) []*bodyv1.MessageRef {
	return []*bodyv1.MessageRef{{MessageId: r.ID[:], Author: r.Author[:]}}
}

// StampAfter is now, or just after the newest change of a message: what is done later counts, whatever the
// clock says.
func (c *Rows) StampAfter(tx *store.Tx, ref Ref) int64 {
	at := c.core.NowMS()
	for _, ch := range tx.Changes(ref.ID, ref.Author) {
		at = max(at, ch.At+1)
	}
	return max(at, tx.NewestReaction(ref.ID, ref.Author)+1)
}

// Said applies a body that changes something else than a conversation's rows; it reports whether body is one.
func (c *Rows) Said(tx *store.Tx, a *core.Batch, s Said, body *bodyv1.Body, raw []byte) bool {
	switch k := body.GetKind().(type) {
	case *bodyv1.Body_Reaction:
		c.reaction(tx, a, s, k.Reaction)
	case *bodyv1.Body_Edit:
		c.edit(tx, a, s, k.Edit, raw)
	case *bodyv1.Body_Deletion:
		c.deletion(tx, a, s, k.Deletion)
	case *bodyv1.Body_Removal:
		if s.By == c.core.Me {
			c.Removal(tx, a, s, k.Removal)
		}
	case *bodyv1.Body_Pin:
		c.pin(tx, a, s, k.Pin)
	case *bodyv1.Body_Timer:
		if !s.InGroup { // a group's timer is part of its state
			c.Timer(tx, a, s, k.Timer)
		}
	default:
		return false
	}
	return true
}

// pin takes in that somebody pinned a message or let it go. Strangers pin nothing.
func (c *Rows) pin(tx *store.Tx, a *core.Batch, s Said, p *bodyv1.Pin) {
	if s.InGroup && !s.Moderates {
		return
	}
	if peer, err := ident.ParseAccountID(s.Conversation); err == nil && s.By != c.core.Me {
		if p, err := c.people.Get(tx, peer); err != nil || !p.Approved {
			return
		}
	}
	ref := Ref{ident.AccountID(p.GetMessage().GetAuthor()), ident.MessageID(p.GetMessage().GetMessageId())}
	ch := store.Change{Message: ref.ID, Author: ref.Author, Kind: store.ChangePin,
		Conversation: s.Conversation, Stamp: s.Stamp}
	if !p.GetRemove() {
		ch.Body = []byte{1}
	}
	if !c.addChange(tx, a, ch) {
		return
	}
	c.ConversationChanged(a, s.Conversation)
	if m, ok := tx.MessageOf(ref.Author, ref.ID); ok && m.Conversation == s.Conversation {
		c.Updated(tx, a, m)
	}
}
