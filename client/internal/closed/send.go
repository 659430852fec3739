package closed

import (
	"context"
	"crypto/rand"
	"errors"

	"google.golang.org/protobuf/proto"

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

// A message to a group is one leg of the outbox: sealed with the group's keys, stored under the key that this
// member writes with. Own devices find it in the group's mailbox, as everybody does, so there are no copies;
// nobody acknowledges it but the nodes.

// mailTTL is how long messages of groups lie in their mailbox, in seconds.
const mailTTL = 30 * 24 * 3600

// Moderates reports whether the own account may change what others wrote in a group. What one that is not
// known any more left behind can still be removed here.
func (c *Groups) Moderates(tx *store.Tx, id ident.GroupID) (bool, error) {
	g, err := c.get(tx, id)
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil && g.moderatedBy(c.core.Me), err
}

// moderatedBy reports whether a member may change what others wrote.
func (g *group) moderatedBy(id ident.AccountID) bool {
	if g.state == nil {
		return false
	}
	m := g.state.Member(id)
	return m != nil && m.Role >= groups.Moderator
}

// mayWrite says whether the own account is a member, or will be one.
func (g *group) mayWrite(op string) error {
	switch Status(g.Status) {
	case Joined, Waiting, Returning:
		return nil
	case Invited:
		return fault.New(fault.Denied, op, "the invitation to the group is not answered yet: accept it first")
	}
	return fault.New(fault.Denied, op, "this account is no member of the group")
}

// opens reports whether the own account has the group's keys.
func (g *group) opens() bool { return g.state != nil && Status(g.Status) == Joined }

// timer returns how many seconds a message in the group lives, 0 for good.
func (g *group) timer() uint32 {
	if g.state == nil {
		return 0
	}
	return min(g.state.Info().Timer, devicesync.MaxTimer)
}

// expire is the timer that counts for a message in the group: its own one, but never later than the group's.
func (g *group) expire(own *bodyv1.Timer) *bodyv1.Timer {
	limit := g.timer()
	if s := own.GetSeconds(); limit == 0 || own.GetMode() == bodyv1.Timer_MODE_AFTER_SEND &&
		s > 0 && s <= limit {
		return own
	}
	return &bodyv1.Timer{Mode: bodyv1.Timer_MODE_AFTER_SEND, Seconds: limit}
}

// Queue writes a message to a group and its leg.
func (c *Groups) Queue(tx *store.Tx, a *core.Batch, id ident.GroupID,
	m conv.Outgoing) (sent conv.Sent, err error) {
	g, err := c.get(tx, id)
	if err != nil {
		return sent, err
	}
	if err := g.mayWrite("send message"); err != nil {
		return sent, err
	}
	text := &bodyv1.Text{Text: m.Text, Mentions: content.MentionBytes(m.Mentions)}
	if m.ReplyTo != nil {
		if text.Quote, err = c.groupQuote(tx, id, *m.ReplyTo); err != nil {
			return sent, err
		}
	}
	var expire *bodyv1.Timer
	if m.Expire != nil && m.Expire.After > 0 {
		expire = m.Expire.Body()
	}
	body := &bodyv1.Body{Kind: &bodyv1.Body_Text{Text: text}, Expire: g.expire(expire)}
	c.tellGroup(tx, id, body)
	raw, err := proto.Marshal(body)
	if err != nil {
		return sent, fault.Wrap(fault.Internal, "encode message", err)
	}
	ms := a.Now.UnixMilli()
	row := store.Message{ID: m.ID, Sender: c.core.Me, Conversation: id.String(), Mine: true,
		Text: m.Text, Body: raw,
		SentAt: ms, ReceivedAt: ms, ReplyTo: m.ReplyTo, HandedOut: true, State: store.StateQueued}
	c.rows.SetExpiry(&row, body.GetExpire(), ms)
	if !tx.AddMessage(&row) {
		return c.rows.SentBefore(tx, m.ID)
	}
	if err := c.queueGroupLeg(tx, g, store.Leg{Kind: store.LegGroup, Peer: id.Key(), Message: m.ID,
		SentAt: ms, Body: raw}); err != nil {
		return sent, err
	}
	c.rows.EndDraft(tx, row.Conversation, ms)
	c.turns.hurry(id) // an answer may come
	c.rows.Queued(a, &row)
	return conv.Sent{ID: m.ID, Conversation: row.Conversation, QueuedAt: a.Now}, tx.Err()
}

// groupQuote quotes a message of anybody in the group.
func (c *Groups) groupQuote(tx *store.Tx, id ident.GroupID, of ident.MessageID) (*bodyv1.Quote, error) {
	rows, err := tx.Messages(store.Query{Conversation: id.String(), IDPrefix: of.String(), Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 || rows[0].Notice {
		return nil, fault.New(fault.NotFound, "reply to "+of.Short(), "no such message in the conversation")
	}
	return &bodyv1.Quote{MessageId: of[:], Author: rows[0].Sender[:],
		Excerpt: content.Excerpt(rows[0].Text)}, nil
}

// queueGroupLeg adds a leg to a group, sealed at once if there are keys: then the message leaves with the one
// commit that makes it durable.
func (c *Groups) queueGroupLeg(tx *store.Tx, g *group, leg store.Leg) error {
	if g.opens() {
		s, err := c.sealGroup(tx, g.ID, outgoing{ID: leg.Message, SentAt: leg.SentAt, Body: leg.Body})
		switch {
		case err == nil:
			leg.Sealed, leg.Certs = s.Blob, uint64(s.Generation)
		case errors.Is(err, fault.Invalid):
			return err
		}
	}
	tx.AddLeg(&leg)
	return tx.Err()
}

// QueueChange is queueChange for a group.
func (c *Groups) QueueChange(tx *store.Tx, id ident.GroupID, stamp store.Stamp,
	body *bodyv1.Body) ([]byte, error) {
	own := body.GetRemoval() != nil
	if !own {
		c.tellGroup(tx, id, body)
	}
	raw, err := proto.Marshal(body)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "encode message", err)
	}
	if own {
		if c.core.Keys.ManyDevices() {
			c.rows.QueueCopy(tx, id.Key(), nil, stamp.Change, stamp.At, raw, true)
		}
		return raw, tx.Err()
	}
	g, err := c.get(tx, id)
	if err != nil {
		return nil, err
	}
	if err := g.mayWrite("change message"); err != nil {
		return nil, err
	}
	return raw, c.queueGroupLeg(tx, g, store.Leg{Kind: store.LegGroup, Peer: id.Key(), Message: stamp.Change,
		SentAt: stamp.At, Body: raw})
}

// toldKey names the change of our profile that a group was told last.
func toldKey(id ident.GroupID) string { return "told/" + id.String() }

// tellGroup adds to a body what the group does not know of our profile yet.
func (c *Groups) tellGroup(tx *store.Tx, id ident.GroupID, b *bodyv1.Body) {
	if name, at := c.core.ProfileName(), tx.Number(store.MetaProfileChanged); name != "" &&
		tx.Number(toldKey(id)) < at {
		b.Profile = &bodyv1.Profile{Name: name, ChangedAt: int64(at)}
		tx.SetNumber(toldKey(id), at)
	}
}

// introduced is up to how many members a group may have for a newcomer to say its name at once; in a larger
// one the name comes with the first message.
const introduced = 100

// introduce tells the other members our name.
func (c *Groups) introduce(tx *store.Tx, g *group) error {
	body := new(bodyv1.Body)
	if len(g.state.Members()) <= introduced {
		c.tellGroup(tx, g.ID, body)
	}
	if body.Profile == nil {
		return tx.Err()
	}
	raw, err := proto.Marshal(body)
	if err != nil {
		return fault.Wrap(fault.Internal, "encode profile", err)
	}
	leg := store.Leg{Kind: store.LegGroup, Peer: g.ID.Key(), SentAt: c.core.NowMS(), Body: raw}
	rand.Read(leg.Message[:])
	return c.queueGroupLeg(tx, g, leg)
}

// QueueErase lets a moderator's device take a message off the nodes, too, if it knows where it lies there.
func (c *Groups) QueueErase(tx *store.Tx, id ident.GroupID, m *store.Message) {
	if len(m.Envelope) == len(envelope.Hash{}) {
		tx.AddLeg(&store.Leg{Kind: store.LegErase, Peer: id.Key(), Message: m.ID, SentAt: c.core.NowMS(),
			Body: m.Envelope})
	}
}

// deliver stores a message in a group's mailbox. A store that meets a newer generation waits until the log is
// taken in and is sealed again under the same message ID.
func (c *Groups) deliver(ctx context.Context, leg store.Leg) (path ident.Path, err error) {
	return c.toGroup(ctx, &leg, func(tx *store.Tx, g *group) (envelope.Op, account.Signer, error) {
		if leg.Sealed == nil || leg.Certs != uint64(g.state.Generation()) ||
			core.Outlived(leg, c.core.Net.Now()) {
			s, err := c.sealGroup(tx, g.ID, outgoing{ID: leg.Message, SentAt: leg.SentAt, Body: leg.Body})
			if err != nil {
				return nil, nil, err
			}
			leg.Sealed, leg.Certs = s.Blob, uint64(s.Generation)
			tx.SealLeg(leg.ID, leg.Sealed, leg.Certs)
		}
		generation := g.state.Generation()
		put := envelope.Store{Namespace: envelope.GroupMail, TTL: mailTTL, IfGeneration: &generation,
			Body: leg.Sealed}
		return put, seedKey{g.state.WriteKey()}, nil
	})
}

// deliverErase deletes a message from a group's mailbox, as long as the own account is a moderator.
func (c *Groups) deliverErase(ctx context.Context, leg store.Leg) (path ident.Path, err error) {
	if len(leg.Body) != len(envelope.Hash{}) {
		return path, fault.New(fault.Invalid, "delete from group", "hash of %d bytes", len(leg.Body))
	}
	path, err = c.toGroup(ctx, &leg, func(tx *store.Tx, g *group) (envelope.Op, account.Signer, error) {
		seed, ok := g.state.ModerateKey()
		if !ok {
			return nil, nil, fault.New(fault.Denied, "delete from group", "this account moderates it no more")
		}
		return envelope.Delete{Namespace: envelope.GroupMail,
			Hashes: []envelope.Hash{envelope.Hash(leg.Body)}}, seedKey{seed}, nil
	})
	if errors.Is(err, fault.Denied) || errors.Is(err, fault.NotFound) {
		return path, nil // it is for others to do, or done
	}
	return path, err
}

// toGroup makes a request with the group's newest keys. Errors: Denied (this account is no member),
// Unavailable (it has no keys yet).
func (c *Groups) toGroup(ctx context.Context, leg *store.Leg, build func(*store.Tx, *group) (envelope.Op,
	account.Signer, error)) (path ident.Path, err error) {
	id := ident.GroupID(leg.Peer)
	mailbox, err := account.GroupMailboxOf(id, c.core.Cluster.ID)
	if err != nil {
		return path, err
	}
	for range 8 {
		var op envelope.Op
		var key account.Signer
		var refused error
		err := c.core.UpdateLazy(func(tx *store.Tx, _ *core.Batch) error {
			op, key, refused = c.buildForGroup(tx, id, build)
			return tx.Err()
		})
		if err == nil {
			err = refused
		}
		if err != nil {
			return path, err
		}
		_, path, err = c.core.Request(ctx, core.PurposeSend, &envelope.Request{Mailbox: mailbox,
			Ops: []envelope.Op{op}}, key)
		if !core.Superseded(err) {
			return path, err
		}
		if err := c.catchUp(ctx, id); err != nil {
			return path, err
		}
	}
	return path, fault.New(fault.Unavailable, "send to group "+id.Short(), "its keys keep changing")
}

func (c *Groups) buildForGroup(tx *store.Tx, id ident.GroupID, build func(*store.Tx, *group) (envelope.Op,
	account.Signer, error)) (envelope.Op, account.Signer, error) {
	g, err := c.get(tx, id)
	if err != nil {
		return nil, nil, err
	}
	if err := g.mayWrite("send to group"); err != nil {
		return nil, nil, err
	}
	switch {
	case Status(g.Status) == Waiting:
		return nil, nil, fault.New(fault.Unavailable, "send to group",
			"no admin has let this account in yet; the message stays queued")
	case !g.opens():
		return nil, nil, fault.New(fault.Unavailable, "send to group",
			"this device does not have the group's keys yet; the message stays queued")
	}
	return build(tx, g)
}

// TakeSentCopy takes in what another own device removed from a conversation in a group.
func (c *Groups) TakeSentCopy(tx *store.Tx, a *core.Batch, cp *account.SentCopy, storedAt int64) error {
	if body, ok := content.DecodeBody(cp.Body); ok && body.GetRemoval() != nil {
		id := ident.GroupID(cp.To)
		c.rows.Removal(tx, a, conv.Said{By: c.core.Me, Conversation: id.String(),
			Stamp: store.Stamp{At: content.Capped(cp.SentAt, storedAt), Change: cp.ID}}, body.GetRemoval())
	}
	return tx.Err()
}

// groupTold makes the next message to a group carry our profile again: there is somebody new.
func (c *Groups) groupTold(tx *store.Tx, g *group, b before) {
	for _, m := range g.state.Members() {
		if m.Joined > b.Index && m.Account != c.core.Me {
			tx.SetNumber(toldKey(g.ID), 0)
			return
		}
	}
}
