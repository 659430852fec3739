package closed

import (
	"errors"
	"time"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// groupMessage takes in what a member wrote. g is the group at that place in its log. An error is one of the
// store.
func (c *Groups) groupMessage(tx *store.Tx, a *core.Batch, g *group, m *groups.Message,
	env envelope.Envelope) error {
	if !tx.Seen(m.Sender, m.ID, a.Now.UnixMilli()) {
		return tx.Err() // stored twice, or by somebody who replays it
	}
	body, ok := content.DecodeBody(m.Body)
	if !ok {
		return tx.Err()
	}
	verified, err := c.verifyMember(tx, a, g, m.Sender)
	if err != nil {
		c.core.Log.Debug("group message dropped", "error", err)
		return tx.Err()
	}
	moderation := body.GetDeletion() != nil || body.GetPin() != nil
	if c.people.Blocked(m.Sender) && !moderation {
		return tx.Err()
	}
	if p, err := c.people.Get(tx, m.Sender); err == nil {
		switch name := body.GetProfile().GetName(); {
		case verified:
			c.people.LearnProfile(tx, a, &p, body.GetProfile())
		case p.Name == "" && name != "": // better than none, until the account itself says so
			p.Name = name
			c.people.Save(tx, p)
		}
	}
	s := conv.Said{By: m.Sender, Conversation: g.ID.String(), Stamp: store.Stamp{At: content.Capped(m.SentAt,
		env.StoredAt), Change: m.ID}, InGroup: true, Moderates: g.moderatedBy(m.Sender)}
	if c.rows.Said(tx, a, s, body, m.Body) {
		return tx.Err()
	}
	switch body.GetKind().(type) {
	case *bodyv1.Body_Receipt, *bodyv1.Body_Typing, *bodyv1.Body_RequestResponse, *bodyv1.Body_Draft,
		*bodyv1.Body_Notice, *bodyv1.Body_Contest,
		*bodyv1.Body_GroupInvitation, *bodyv1.Body_GroupReturn:
		// These have no meaning in a group.
	case nil: // a newcomer's name
	default:
		c.groupRow(tx, a, g, s, body, m.Body, env, verified)
	}
	return tx.Err()
}

// verifyMember reports whether a member's account answers for what the member signs. An error means that it
// does not: the member is somebody else.
func (c *Groups) verifyMember(tx *store.Tx, a *core.Batch, g *group,
	id ident.AccountID) (verified bool, err error) {
	m := g.state.Member(id)
	if id == c.core.Me {
		return true, nil
	}
	if m == nil {
		return false, nil // not there any more
	}
	err = c.checkGroupCredential(tx, g.ID, m)
	if errors.Is(err, fault.Denied) {
		return false, err
	}
	return err == nil, nil
}

// groupRow adds a message to the conversation, or says where one of ours lies that this device sent.
func (c *Groups) groupRow(tx *store.Tx, a *core.Batch, g *group, s conv.Said, body *bodyv1.Body, raw []byte,
	env envelope.Envelope, verified bool) {
	own := s.By == c.core.Me
	hash := envelope.HashOf(c.groupMailbox(a, g.ID), env.Namespace, env.Key, env.Body)
	m := store.Message{ID: s.Stamp.Change, Sender: s.By, Conversation: s.Conversation, Mine: own,
		Unverified: !verified, Text: body.GetText().GetText(),
		Body: raw, SentAt: s.Stamp.At, ReceivedAt: a.Now.UnixMilli(), ReplyTo: content.ReplyTo(body),
		HandedOut: own, MailboxSeq: env.Seq, Envelope: hash[:],
		Mentioned: content.Mentions(body.GetText(), c.core.Me)}
	if own {
		m.State, m.StoredAt = store.StateStored, env.StoredAt
		if old, ok := tx.MessageOf(s.By, m.ID); ok {
			c.ownPlaced(tx, a, g, old, &m, body.GetExpire())
			return
		}
		c.rows.EndDraft(tx, m.Conversation, m.SentAt)
	}
	if c.rows.AddMessage(tx, a, &m, g.expire(body.GetExpire())) {
		c.rows.Came(tx, a, m, false)
	}
}

// ownPlaced takes in that a message which this device sent lies in the group's mailbox. What is still queued
// waits for its acknowledgement, which brings the path; the leg is tried until it comes.
func (c *Groups) ownPlaced(tx *store.Tx, a *core.Batch, g *group, old store.Message, m *store.Message,
	expire *bodyv1.Timer) {
	if old.Conversation != m.Conversation {
		return
	}
	old.MailboxSeq, old.Envelope = m.MailboxSeq, m.Envelope
	c.rows.SetExpiry(&old, g.expire(expire), a.Now.UnixMilli())
	tx.SetPlace(&old)
	if old.ExpiresAt != 0 {
		a.Then(c.rows.Timed.Fire)
	}
	if old.State != store.StateFailed {
		return
	}
	old.State, old.StoredAt, old.Cause = m.State, m.StoredAt, ""
	tx.SaveMessage(&old)
	a.Tell(core.Fact{Kind: core.FactState, Row: &old})
}

func (c *Groups) groupMailbox(a *core.Batch, id ident.GroupID) ident.MailboxID {
	m, err := account.GroupMailboxOf(id, c.core.Cluster.ID)
	if err != nil {
		return ident.MailboxID{} // it had none, then nothing came from it
	}
	return m
}

// groupVerified takes in that the certificates of a member have come and answer for it: what was kept
// unverified is theirs.
func (c *Groups) groupVerified(tx *store.Tx, a *core.Batch, g *group, id ident.AccountID) error {
	if tx.VerifySender(g.ID.String(), id) {
		c.rows.ConversationChanged(a, g.ID.String())
	}
	return tx.Err()
}

// IsOpen reports whether a group without messages belongs into the list of conversations: the user has not
// cleared it away.
func (c *Groups) IsOpen(tx *store.Tx, id ident.GroupID) bool {
	g, err := c.get(tx, id)
	if err != nil {
		return false
	}
	live := g.lives() || Status(g.Status) == Invited
	return live && c.core.Docs.Number(devicesync.ConvClearedAt, string(id[:])) == 0
}

// Heading is what a list of conversations shows of a group.
type Heading struct {
	Name   string
	Status Status
	Timer  conv.Timer
	Since  time.Time
}

// Heading returns what a list of conversations shows of a group. Errors: NotFound.
func (c *Groups) Heading(tx *store.Tx, id ident.GroupID) (h Heading, err error) {
	g, err := c.get(tx, id)
	if err != nil {
		return h, err
	}
	return Heading{Name: g.Name, Status: Status(g.Status), Timer: conv.TimerOfSeconds(g.timer()),
		Since: core.FromMS(g.Since)}, nil
}
