package client

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/outbox"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Outgoing is a message to send.
type Outgoing struct {
	ID      ident.MessageID  // zero: drawn at random; sending the same ID twice sends once
	Text    string           // at most MaxText bytes
	ReplyTo *ident.MessageID // the message this one answers
	Expire  *Timer           // nil: the conversation's timer

	// whom the text names, at most MaxMentions: they notice it even if the conversation is muted
	Mentions []ident.AccountID
}

// Sent is a message as Send left it: durable, not yet on its way.
type Sent struct {
	ID           ident.MessageID
	Conversation string
	QueuedAt     time.Time
	Existed      bool // the ID was sent before; nothing was queued
}

// Receipt is how far a message of ours has come.
type Receipt struct {
	ID           ident.MessageID
	Conversation string
	State        State
	Path         ident.Path // of the circuit that carried the acknowledged store; zero for notes to self
	Replicas     int        // replicas that have it on disk at least
	Queued       time.Time
	Stored       time.Time // zero: not yet
	Delivered    time.Time
	Read         time.Time
	Cause        error // StateFailed: why; StateQueued: what the last attempt met, if any
}

// Send writes m into the durable outbox and returns; it approves the peer. With the own account as peer it is
// a note to self. Errors: Invalid (limits), NotFound (no account can have that ID, or the group is not
// known), Denied (this device was revoked, or the account is no member of the group).
func (c *Client) Send(ctx context.Context, peer ident.Peer, m Outgoing) (Sent, error) {
	if err := ctx.Err(); err != nil {
		return Sent{}, err
	}
	if err := ctx.Err(); err != nil {
		return Sent{}, err
	}
	if err := c.checkOutgoing(peer, &m); err != nil {
		return Sent{}, err
	}
	var sent Sent
	err := c.core.Update(func(tx *store.Tx, a *core.Batch) (err error) {
		a.Kick(peer)
		sent, err = c.queue(tx, a, peer, m)
		return err
	})
	if err != nil {
		return Sent{}, err
	}
	return sent, nil
}

func (c *Client) checkOutgoing(peer ident.Peer, m *Outgoing) error {
	if err := c.checkWrite("send message", peer); err != nil {
		return err
	}
	if m.Expire != nil {
		if err := (*conv.Timer)(m.Expire).Check(); err != nil {
			return err
		}
	}
	switch {
	case m.Text == "":
		return fault.New(fault.Invalid, "send message", "it is empty")
	case len(m.Text) > content.MaxText:
		return fault.New(fault.Invalid, "send message", "text of %d bytes, want at most %d", len(m.Text),
			content.MaxText)
	case !utf8.ValidString(m.Text):
		return fault.New(fault.Invalid, "send message", "the text is not UTF-8")
	}
	if err := checkMentions(m); err != nil {
		return err
	}
	if m.ID == (ident.MessageID{}) {
		rand.Read(m.ID[:])
	}
	return nil
}

// queue writes a message and its legs.
func (c *Client) queue(tx *store.Tx, a *core.Batch, to ident.Peer, m Outgoing) (sent Sent, err error) {
	if id, ok := to.(ident.GroupID); ok {
		s, err := c.groups.Queue(tx, a, id, conv.Outgoing{ID: m.ID, Text: m.Text, ReplyTo: m.ReplyTo,
			Expire: (*conv.Timer)(m.Expire), Mentions: m.Mentions})
		return Sent(s), err
	}
	peer, ms := ident.AccountID(to.Key()), a.Now.UnixMilli()
	p, err := c.people.Get(tx, peer)
	if err != nil {
		return sent, err
	}
	if c.people.Contested(&p.Peer) {
		return sent, people.ErrContested(peer)
	}
	body, err := c.composeText(tx, &p, m)
	if err != nil {
		return sent, err
	}
	row := store.Message{ID: m.ID, Sender: c.core.Me, Conversation: peer.String(), Mine: true,
		Text: m.Text, Body: body,
		SentAt: ms, ReceivedAt: ms, ReplyTo: m.ReplyTo, HandedOut: true, State: store.StateQueued}
	self := peer == c.core.Me
	if self && !c.core.Keys.ManyDevices() {
		row.State, row.StoredAt = store.StateStored, ms // nobody else to tell: on this disk is all there is
	}
	sent = Sent{ID: m.ID, Conversation: row.Conversation, QueuedAt: a.Now}
	c.rows.SetExpiry(&row, c.rows.ExpireOf(peer, (*conv.Timer)(m.Expire)), ms)
	if !tx.AddMessage(&row) {
		s, err := c.rows.SentBefore(tx, m.ID)
		return Sent(s), err
	}
	if !self {
		if err := c.queueFirstLeg(tx, &p, store.Leg{Kind: store.LegMessage, Peer: peer.Key(), Message: m.ID,
			SentAt: ms, Body: body}, a.Now); err != nil {
			return sent, err
		}
		dirty, err := c.people.Approve(tx, &p, ms)
		if err != nil {
			return sent, err
		}
		if dirty {
			a.Kick(c.core.Me)
		}
	}
	c.rows.EndDraft(tx, row.Conversation, ms)
	if c.core.Keys.ManyDevices() {
		c.rows.QueueCopy(tx, peer.Key(), p.Certs, m.ID, ms, body, self)
		a.Kick(c.core.Me)
	}
	c.people.Save(tx, p)
	c.rows.Queued(a, &row)
	return sent, tx.Err()
}

// queueFirstLeg adds the leg to the recipient, sealed at once if everything needed is at hand: then the
// message leaves with the one commit that makes it durable.
func (c *Client) queueFirstLeg(tx *store.Tx, p *people.Person, leg store.Leg, now time.Time) error {
	if p.Sealable(now) {
		blob, err := c.people.SealFor(p, account.Outgoing{ID: leg.Message, SentAt: leg.SentAt,
			Body: leg.Body}, now)
		switch {
		case err == nil:
			leg.Sealed, leg.Certs = blob, p.CertsHead
		case errors.Is(err, fault.Invalid), errors.Is(err, fault.Denied):
			return err
		}
	}
	tx.AddLeg(&leg)
	return nil
}

// composeText encodes a text message, with what the recipient does not know of our profile yet.
func (c *Client) composeText(tx *store.Tx, p *people.Person, m Outgoing) ([]byte, error) {
	text := &bodyv1.Text{Text: m.Text, Mentions: content.MentionBytes(m.Mentions)}
	if m.ReplyTo != nil {
		q, err := c.quote(tx, p.Account, *m.ReplyTo)
		if err != nil {
			return nil, err
		}
		text.Quote = q
	}
	b := &bodyv1.Body{Kind: &bodyv1.Body_Text{Text: text}, Expire: c.rows.ExpireOf(p.Account,
		(*conv.Timer)(m.Expire))}
	c.people.TellProfile(tx, p, b)
	out, err := proto.Marshal(b)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "encode message", err)
	}
	return out, nil
}

func (c *Client) quote(tx *store.Tx, peer ident.AccountID, id ident.MessageID) (*bodyv1.Quote, error) {
	for _, author := range []ident.AccountID{peer, c.core.Me} {
		if m, ok := tx.MessageOf(author, id); ok && m.Conversation == peer.String() {
			return &bodyv1.Quote{MessageId: id[:], Author: author[:], Excerpt: content.Excerpt(m.Text)}, nil
		}
	}
	return nil, fault.New(fault.NotFound, "reply to "+id.Short(), "no such message in the conversation")
}

// Receipt returns how far a message of ours has come.
func (c *Client) Receipt(ctx context.Context, id ident.MessageID) (r Receipt, err error) {
	if err := ctx.Err(); err != nil {
		return r, err
	}
	err = c.core.View(func(tx *store.Tx) error {
		m, ok := tx.MessageOf(c.core.Me, id)
		if !ok {
			return fault.New(fault.NotFound, "find message "+id.Short(), "not sent from this account")
		}
		r = receiptOf(m)
		return nil
	})
	return r, err
}

func receiptOf(m store.Message) Receipt {
	r := Receipt{ID: m.ID, Conversation: m.Conversation, State: State(m.State), Path: m.Path,
		Replicas: m.Replicas, Queued: core.FromMS(m.SentAt),
		Stored: core.FromMS(m.StoredAt), Delivered: core.FromMS(m.DeliveredAt), Read: core.FromMS(m.ReadAt)}
	if kind, text, ok := strings.Cut(m.Cause, "\x00"); ok && m.State != store.StateStored {
		r.Cause = fault.New(outbox.CauseKind(kind), "", "%s", text)
	}
	return r
}

// Wait returns once message id has come as far as state. Errors: the cause if the message failed; Unavailable
// as soon as the cluster proves to be out of reach, or when ctx ends while the last attempt met that (the
// message stays queued); ctx's error otherwise. The Receipt is filled in either way.
func (c *Client) Wait(ctx context.Context, id ident.MessageID, state State) (Receipt, error) {
	sub := c.Events()
	defer sub.Close()
	for {
		r, err := c.Receipt(context.WithoutCancel(ctx), id) // filled in even if ctx is over
		if err != nil {
			return r, err
		}
		switch {
		case r.State == StateFailed:
			return r, r.Cause
		case r.State >= state:
			return r, nil
		}
		changed := c.core.Link.Changed.Watch()
		if _, cause := c.core.Link.Get(); cause != nil && r.State == StateQueued {
			return r, cause
		}
		if err := sub.nextOf(ctx, func(e Event) bool { return e.Kind == EventState && e.Receipt.ID == id },
			changed); err != nil {
			if r, rerr := c.Receipt(context.WithoutCancel(ctx), id); rerr == nil && r.Cause != nil {
				return r, r.Cause
			}
			return r, err
		}
	}
}

// Limits of a message. Larger things are attachments.
const (
	MaxText     = content.MaxText     // bytes of a text
	MaxMentions = content.MaxMentions // accounts that a text names
)
