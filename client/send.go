package client

import (
	"context"
	"crypto/rand"
	"errors"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

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

	Mentions []ident.AccountID // whom the text names, at most MaxMentions: they notice it even if the conversation is muted
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
	Path         [3]ident.NodeID // of the circuit that carried the acknowledged store; zero for notes to self
	Replicas     int             // replicas that have it on disk at least
	Queued       time.Time
	Stored       time.Time // zero: not yet
	Delivered    time.Time
	Read         time.Time
	Cause        error // StateFailed: why; StateQueued: what the last attempt met, if any
}

// Send writes m into the durable outbox and returns; it approves the peer. With the own account as peer it is a note
// to self. Errors: Invalid (limits), NotFound (no account can have that ID, or the group is not known), Denied (this device
// was revoked, or the account is no member of the group).
func (c *Client) Send(ctx context.Context, peer ident.Peer, m Outgoing) (Sent, error) {
	if err := ctx.Err(); err != nil {
		return Sent{}, err
	}
	if err := c.checkOutgoing(peer, &m); err != nil {
		return Sent{}, err
	}
	now := c.net.Now()
	var sent Sent
	var events []Event
	dirty := false
	err := c.update(func(tx *store.Tx) (err error) {
		sent, events, dirty, err = c.queue(tx, peer, m, now)
		return err
	})
	if err != nil {
		return Sent{}, err
	}
	c.out.kick(peer.Key())
	if dirty || c.keys.manyDevices() {
		c.out.kick(c.me)
	}
	c.bus.publish(events...)
	c.timed.fire()
	return sent, nil
}

func (c *Client) checkOutgoing(peer ident.Peer, m *Outgoing) error {
	if err := c.checkWrite("send message", peer); err != nil {
		return err
	}
	if m.Expire != nil {
		if err := m.Expire.check(); err != nil {
			return err
		}
	}
	switch {
	case m.Text == "":
		return fault.New(fault.Invalid, "send message", "it is empty")
	case len(m.Text) > MaxText:
		return fault.New(fault.Invalid, "send message", "text of %d bytes, want at most %d", len(m.Text), MaxText)
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
func (c *Client) queue(tx *store.Tx, to ident.Peer, m Outgoing, now time.Time) (sent Sent, events []Event, dirty bool, err error) {
	if id, ok := to.(ident.GroupID); ok {
		sent, events, err = c.queueGroup(tx, id, m, now)
		return sent, events, false, err
	}
	peer, ms := ident.AccountID(to.Key()), now.UnixMilli()
	p, err := c.person(tx, peer)
	if err != nil {
		return sent, nil, false, err
	}
	if c.isContested(&p.Peer) {
		return sent, nil, false, errContested(peer)
	}
	body, err := c.composeText(tx, &p, m)
	if err != nil {
		return sent, nil, false, err
	}
	row := store.Message{ID: m.ID, Sender: c.me, Conversation: peer.String(), Mine: true, Text: m.Text, Body: body,
		SentAt: ms, ReceivedAt: ms, ReplyTo: m.ReplyTo, HandedOut: true, State: uint8(StateQueued)}
	self := peer == c.me
	if self && !c.keys.manyDevices() {
		row.State, row.StoredAt = uint8(StateStored), ms // nobody else to tell: on this disk is all there is
	}
	sent = Sent{ID: m.ID, Conversation: row.Conversation, QueuedAt: now}
	c.setExpiry(&row, c.expireOf(peer, m.Expire), ms)
	if !tx.AddMessage(&row) {
		sent, err = c.sentBefore(tx, m.ID)
		return sent, nil, false, err
	}
	if !self {
		if err := c.queueFirstLeg(tx, &p, store.Leg{Kind: store.LegMessage, Peer: peer.Key(), Message: m.ID, SentAt: ms, Body: body}, now); err != nil {
			return sent, nil, false, err
		}
		if dirty, err = c.approve(tx, &p, ms); err != nil {
			return sent, nil, false, err
		}
	}
	c.endDraft(tx, row.Conversation, ms)
	if c.keys.manyDevices() {
		c.queueCopy(tx, peer, p.chain, m.ID, ms, body, self)
	}
	c.savePerson(tx, p)
	msg := c.message(tx, row)
	return sent, []Event{{Kind: EventMessage, At: now, Message: &msg}}, dirty, tx.Err()
}

// sentBefore says what became of a message of ours whose ID is known.
func (c *Client) sentBefore(tx *store.Tx, id ident.MessageID) (Sent, error) {
	old, _ := tx.MessageOf(c.me, id)
	return Sent{ID: id, Conversation: old.Conversation, QueuedAt: fromMS(old.SentAt), Existed: true}, tx.Err()
}

// queueFirstLeg adds the leg to the recipient, sealed at once if everything needed is at hand: then the message
// leaves with the one commit that makes it durable.
func (c *Client) queueFirstLeg(tx *store.Tx, p *person, leg store.Leg, now time.Time) error {
	if p.sealable(now) {
		blob, err := c.sealFor(p, account.Outgoing{ID: leg.Message, SentAt: leg.SentAt, Body: leg.Body}, now)
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

// queueCopy adds the leg that tells own devices of a sent message. It waits for the first leg, so that a node that
// hosts both mailboxes cannot pair the two by time; a note to self has no other leg.
func (c *Client) queueCopy(tx *store.Tx, to [33]byte, chain *account.Chain, id ident.MessageID, sentAt int64, body []byte, self bool) {
	cp := account.SentCopy{To: to, ID: id, SentAt: sentAt, Certs: chain, Body: body}
	due := store.Held
	if self {
		due = sentAt
	}
	tx.AddLeg(&store.Leg{Kind: store.LegCopy, Peer: c.me.Key(), Message: id, SentAt: sentAt, Body: cp.Encode(), Due: due})
}

// composeText encodes a text message, with what the recipient does not know of our profile yet.
func (c *Client) composeText(tx *store.Tx, p *person, m Outgoing) ([]byte, error) {
	text := &bodyv1.Text{Text: m.Text, Mentions: mentionBytes(m.Mentions)}
	if m.ReplyTo != nil {
		q, err := c.quote(tx, p.Account, *m.ReplyTo)
		if err != nil {
			return nil, err
		}
		text.Quote = q
	}
	b := &bodyv1.Body{Kind: &bodyv1.Body_Text{Text: text}, Expire: c.expireOf(p.Account, m.Expire)}
	c.tellProfile(tx, p, b)
	out, err := proto.Marshal(b)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "encode message", err)
	}
	return out, nil
}

// maxExcerpt is how many bytes of a quoted message travel with the answer.
const maxExcerpt = 200

func (c *Client) quote(tx *store.Tx, peer ident.AccountID, id ident.MessageID) (*bodyv1.Quote, error) {
	for _, author := range []ident.AccountID{peer, c.me} {
		if m, ok := tx.MessageOf(author, id); ok && m.Conversation == peer.String() {
			return &bodyv1.Quote{MessageId: id[:], Author: author[:], Excerpt: excerpt(m.Text)}, nil
		}
	}
	return nil, fault.New(fault.NotFound, "reply to "+id.Short(), "no such message in the conversation")
}

// excerpt cuts s at a character boundary.
func excerpt(s string) string {
	if len(s) <= maxExcerpt {
		return s
	}
	return strings.ToValidUTF8(s[:maxExcerpt], "")
}

// Receipt returns how far a message of ours has come.
func (c *Client) Receipt(ctx context.Context, id ident.MessageID) (r Receipt, err error) {
	err = c.p.db.View(func(tx *store.Tx) error {
		m, ok := tx.MessageOf(c.me, id)
		if !ok {
			return fault.New(fault.NotFound, "find message "+id.Short(), "not sent from this account")
		}
		r = receiptOf(m)
		return nil
	})
	return r, err
}

func receiptOf(m store.Message) Receipt {
	r := Receipt{ID: m.ID, Conversation: m.Conversation, State: State(m.State), Path: m.Path, Replicas: m.Replicas, Queued: fromMS(m.SentAt),
		Stored: fromMS(m.StoredAt), Delivered: fromMS(m.DeliveredAt), Read: fromMS(m.ReadAt)}
	if kind, text, ok := strings.Cut(m.Cause, "\x00"); ok && m.State != uint8(StateStored) {
		r.Cause = fault.New(causeKind(kind), "", "%s", text)
	}
	return r
}

// causeText keeps why a message waits or failed as kind NUL text, so that Receipt.Cause has its kind again.
func causeText(err error) string {
	return string(rune('0'+fault.KindOf(err))) + "\x00" + err.Error()
}

func causeKind(s string) fault.Kind {
	if len(s) == 1 && fault.Kind(s[0]-'0').Valid() {
		return fault.Kind(s[0] - '0')
	}
	return fault.Internal
}

// Wait returns once message id has come as far as state. Errors: the cause if the message failed; Unavailable as soon
// as the cluster proves to be out of reach, or when ctx ends while the last attempt met that (the message stays
// queued); ctx's error otherwise. The Receipt is filled in either way.
func (c *Client) Wait(ctx context.Context, id ident.MessageID, state State) (Receipt, error) {
	sub := c.Events()
	defer sub.Close()
	for {
		r, err := c.Receipt(ctx, id)
		if err != nil {
			return r, err
		}
		switch {
		case r.State == StateFailed:
			return r, r.Cause
		case r.State >= state:
			return r, nil
		}
		changed := c.link.changed.watch()
		if _, cause := c.link.get(); cause != nil && r.State == StateQueued {
			return r, cause
		}
		if err := c.nextFor(ctx, sub, id, changed); err != nil {
			if r, rerr := c.Receipt(context.WithoutCancel(ctx), id); rerr == nil && r.Cause != nil {
				return r, r.Cause
			}
			return r, err
		}
	}
}

// nextFor returns at the next event that says something about message id, or when changed is closed.
func (c *Client) nextFor(ctx context.Context, sub *Subscription, id ident.MessageID, changed <-chan struct{}) error {
	for {
		e, ok, err := sub.take()
		switch {
		case errors.Is(err, fault.Limited):
			return nil // events were dropped: the store is read anew
		case err != nil:
			return err
		case ok && e.Kind == EventState && e.Receipt.ID == id:
			return nil
		case ok:
			continue
		}
		select {
		case <-sub.wake:
		case <-changed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// spread draws a time between lo and hi.
func spread(lo, hi time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(hi-lo)))
	if err != nil {
		return lo
	}
	return lo + time.Duration(n.Int64())
}
