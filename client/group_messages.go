package client

import (
	"errors"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// groupMessage takes in what a member wrote. g is the group at that place in its log. An error is one of the store.
func (a *applied) groupMessage(tx *store.Tx, g *group, m *groups.Message, env envelope.Envelope) error {
	if !tx.Seen(m.Sender, m.ID, a.now.UnixMilli()) {
		return tx.Err() // stored twice, or by somebody who replays it
	}
	body, ok := decodeBody(m.Body)
	if !ok {
		return tx.Err()
	}
	verified, err := a.verifyMember(tx, g, m.Sender)
	if err != nil {
		a.c.log.Debug("group message dropped", "error", err)
		return tx.Err()
	}
	moderation := body.GetDeletion() != nil || body.GetPin() != nil
	if a.c.isBlocked(m.Sender) && !moderation {
		return tx.Err()
	}
	if p, err := a.c.person(tx, m.Sender); err == nil {
		switch name := body.GetProfile().GetName(); {
		case verified:
			a.learnProfile(tx, &p, body.GetProfile())
		case p.Name == "" && name != "": // better than none, until the account itself says so
			p.Name = name
			a.c.savePerson(tx, p)
		}
	}
	s := said{by: m.Sender, conversation: g.ID.String(), stamp: store.Stamp{At: capped(m.SentAt, env.StoredAt), Change: m.ID}, group: g}
	if a.said(tx, s, body, m.Body) {
		return tx.Err()
	}
	switch body.GetKind().(type) {
	case *bodyv1.Body_Receipt, *bodyv1.Body_Typing, *bodyv1.Body_RequestResponse, *bodyv1.Body_Draft, *bodyv1.Body_Notice, *bodyv1.Body_Contest,
		*bodyv1.Body_GroupInvitation, *bodyv1.Body_GroupReturn:
		// These have no meaning in a group.
	case nil: // a newcomer's name
	default:
		a.groupRow(tx, s, body, m.Body, env, verified)
	}
	return tx.Err()
}

// verifyMember reports whether a member's account answers for what the member signs. An error means that it does not: the
// member is somebody else.
func (a *applied) verifyMember(tx *store.Tx, g *group, id ident.AccountID) (verified bool, err error) {
	m := g.state.Member(id)
	if id == a.c.me {
		return true, nil
	}
	if m == nil {
		return false, nil // not there any more
	}
	err = a.c.checkGroupCredential(tx, g.ID, m)
	if errors.Is(err, fault.Denied) {
		return false, err
	}
	return err == nil, nil
}

// groupRow adds a message to the conversation, or says where one of ours lies that this device sent.
func (a *applied) groupRow(tx *store.Tx, s said, body *bodyv1.Body, raw []byte, env envelope.Envelope, verified bool) {
	own := s.by == a.c.me
	hash := envelope.HashOf(a.groupMailbox(s.group.ID), env.Namespace, env.Key, env.Body)
	m := store.Message{ID: s.stamp.Change, Sender: s.by, Conversation: s.conversation, Mine: own, Unverified: !verified, Text: body.GetText().GetText(),
		Body: raw, SentAt: s.stamp.At, ReceivedAt: a.now.UnixMilli(), ReplyTo: replyTo(body), HandedOut: own, MailboxSeq: env.Seq, Envelope: hash[:],
		Mentioned: mentions(body.GetText(), a.c.me)}
	if own {
		m.State, m.StoredAt = uint8(StateStored), env.StoredAt
		if old, ok := tx.MessageOf(s.by, m.ID); ok {
			a.ownPlaced(tx, s.group, old, &m, body.GetExpire())
			return
		}
		a.c.endDraft(tx, m.Conversation, m.SentAt)
	}
	if a.c.addMessage(tx, &m, s.group.expire(body.GetExpire()), a.now.UnixMilli()) {
		a.came(tx, m, false)
	}
}

// ownPlaced takes in that a message which this device sent lies in the group's mailbox. What is still queued waits for its
// acknowledgement, which brings the path; the leg is tried until it comes.
func (a *applied) ownPlaced(tx *store.Tx, g *group, old store.Message, m *store.Message, expire *bodyv1.Timer) {
	if old.Conversation != m.Conversation {
		return
	}
	old.MailboxSeq, old.Envelope = m.MailboxSeq, m.Envelope
	a.c.setExpiry(&old, g.expire(expire), a.now.UnixMilli())
	tx.SetPlace(&old)
	if State(old.State) != StateFailed {
		return
	}
	old.State, old.StoredAt, old.Cause = m.State, m.StoredAt, ""
	tx.SaveMessage(&old)
	r := receiptOf(old)
	a.events = append(a.events, Event{Kind: EventState, At: a.now, Receipt: &r})
}

func (a *applied) groupMailbox(id ident.GroupID) ident.MailboxID {
	m, err := account.GroupMailboxOf(id, a.c.cluster.ID)
	if err != nil {
		return ident.MailboxID{} // it had none, then nothing came from it
	}
	return m
}

// groupVerified takes in that the certificates of a member have come and answer for it: what was kept unverified is theirs.
func (a *applied) groupVerified(tx *store.Tx, g *group, id ident.AccountID) error {
	if tx.VerifySender(g.ID.String(), id) {
		a.conversationChanged(g.ID.String())
	}
	return tx.Err()
}

// isOpenGroup reports whether a group without messages belongs into the list of conversations: the user has not cleared it
// away.
func (c *Client) isOpenGroup(tx *store.Tx, id ident.GroupID) bool {
	g, err := c.group(tx, id)
	if err != nil {
		return false
	}
	live := g.lives() || GroupStatus(g.Status) == GroupInvited
	return live && c.docs.Number(devicesync.ConvClearedAt, string(id[:])) == 0
}

// groupConversation fills in what a conversation in a group has of its group.
func (c *Client) groupConversation(tx *store.Tx, v *Conversation) {
	v.Type = "group"
	id, err := ident.ParseGroupID(v.ID)
	if err != nil {
		return
	}
	g, err := c.group(tx, id)
	if err != nil {
		return
	}
	v.Name, v.Status, v.Request = g.Name, GroupStatus(g.Status), GroupStatus(g.Status) == GroupInvited
	v.Timer = timerOfSeconds(g.timer())
	if v.StartedAt.IsZero() {
		v.StartedAt = fromMS(g.Since)
	}
}
