package client

import (
	"context"
	"encoding/hex"
	"slices"
	"sort"
	"time"

	"github.com/starling-swarm/starling/client/internal/closed"
	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Conversation is one row of the conversation list.
type Conversation struct {
	ID         string // account or group ID
	Type       string // "direct", "group" or "self"
	Name       string
	Unread     int
	Mentions   int  // unread messages that name this account; they count in a muted conversation, too
	Marked     bool // marked unread by the user
	LastAt     time.Time
	LastText   string
	Request    bool
	Pinned     bool
	Archived   bool
	Hidden     bool
	MutedUntil time.Time
	StartedAt  time.Time
	Timer      Timer
	Draft      string
	Status     GroupStatus // of a group
}

// forever is the last millisecond of the year 9999.
const forever = 253_402_300_799_999

// Forever is as long as a conversation can be muted.
func Forever() time.Time { return time.UnixMilli(forever) }

// Conversations returns the conversation list: pinned ones first, then newest first, without those that are
// hidden.
func (c *Client) Conversations(ctx context.Context) ([]Conversation, error) {
	all, err := c.AllConversations(ctx)
	out := all[:0]
	for _, v := range all {
		if !v.Hidden {
			out = append(out, v)
		}
	}
	return out, err
}

// AllConversations is Conversations with the hidden ones.
func (c *Client) AllConversations(ctx context.Context) (out []Conversation, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = c.core.View(func(tx *store.Tx) error {
		listed := map[string]bool{}
		for _, r := range tx.Conversations(c.rows.ReadUpTo) {
			out, listed[r.ID] = append(out, c.conversation(tx, r)), true
		}
		// A device that was linked or restored knows conversations whose messages it does not have.
		for _, subject := range c.core.Docs.Subjects(devicesync.Conversations) {
			if id := hex.EncodeToString([]byte(subject)); !listed[id] &&
				len(subject) == len(ident.AccountID{}) {
				out, listed[id] = append(out, c.conversation(tx, store.ConversationRow{ID: id})), true
			}
		}
		for _, id := range tx.GroupIDs() {
			if !listed[id.String()] && c.groups.IsOpen(tx, id) {
				out = append(out, c.conversation(tx, store.ConversationRow{ID: id.String()}))
			}
		}
		return tx.Err()
	})
	sort.SliceStable(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		if a.Pinned != b.Pinned {
			return a.Pinned
		}
		return a.lastAt().After(b.lastAt())
	})
	return out, err
}

// lastAt is when something last happened in a conversation.
func (v *Conversation) lastAt() time.Time {
	if v.LastAt.IsZero() {
		return v.StartedAt
	}
	return v.LastAt
}

// conversationOf is one row of the list of conversations; false: it is not in the list.
func (c *Client) conversationOf(tx *store.Tx, peer ident.Peer) (Conversation, bool) {
	id := peer.String()
	row, ok := tx.Conversation(id, c.rows.ReadUpTo(id))
	switch peer := peer.(type) {
	case ident.AccountID:
		ok = ok || slices.Contains(c.core.Docs.Subjects(devicesync.Conversations), conv.SubjectOfPeer(peer))
	case ident.GroupID:
		ok = ok || c.groups.IsOpen(tx, peer)
	}
	row.ID = id
	return c.conversation(tx, row), ok
}

func (c *Client) conversation(tx *store.Tx, r store.ConversationRow) Conversation {
	subject := conv.SubjectOf(r.ID)
	out := Conversation{ID: r.ID, Type: "direct", Unread: r.Unread, Mentions: r.Mentions,
		LastAt: core.FromMS(r.Last.ReceivedAt), LastText: c.rows.TextOf(tx, &r.Last), Request: r.Last.Request,
		Pinned: c.core.IsTrue(devicesync.ConvPinned,
			subject), Archived: c.core.IsTrue(devicesync.ConvArchived, subject),
		Marked: c.core.IsTrue(devicesync.ConvUnread,
			subject), MutedUntil: core.FromMS(c.core.Millis(devicesync.ConvMuted, subject)),
		StartedAt: core.FromMS(c.core.Millis(devicesync.ConvStartedAt, subject))}
	if b, ok := c.core.Docs.Get(devicesync.ConvHidden, subject); ok {
		if h, ok := devicesync.UnpackHidden(b); ok {
			out.Hidden = !(r.Last.Mine && r.Last.SentAt > h.At || !r.Last.Mine && r.Last.MailboxSeq > h.Seq)
		}
	}
	out.Draft, _ = tx.Draft(r.ID)
	id, err := ident.ParseAccountID(r.ID)
	if err != nil {
		c.inGroup(tx, &out)
		return out
	}
	if id == c.core.Me {
		out.Type = "self"
	}
	out.Name, out.Timer = c.people.Name(tx, id), Timer(c.rows.TimerOf(id))
	return out
}

// inGroup fills in what a conversation in a group has of its group.
func (c *Client) inGroup(tx *store.Tx, v *Conversation) {
	v.Type = "group"
	id, err := ident.ParseGroupID(v.ID)
	if err != nil {
		return
	}
	h, err := c.groups.Heading(tx, id)
	if err != nil {
		return
	}
	v.Name, v.Status, v.Request, v.Timer = h.Name, GroupStatus(h.Status), h.Status == closed.Invited,
		Timer(h.Timer)
	if v.StartedAt.IsZero() {
		v.StartedAt = h.Since
	}
}

// changeDocuments makes a change of the documents that concerns an account or a group, and lets it leave.
func (c *Client) changeDocuments(ctx context.Context, op string, peer ident.Peer,
	f func(tx *store.Tx, a *core.Batch, now int64) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, _, revoked := c.core.Keys.Summary(); revoked {
		return core.ErrRevoked(op)
	}
	if err := c.checkPeer(peer); err != nil {
		return err
	}
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		if err := f(tx, a, a.Now.UnixMilli()); err != nil {
			return err
		}
		c.rows.ConversationChanged(a, peer.String())
		return c.core.SaveDocuments(tx)
	})
}

// checkPeer says whether an account or a group can have that ID. Errors: NotFound.
func (c *Client) checkPeer(peer ident.Peer) error {
	switch peer := peer.(type) {
	case ident.AccountID:
		return account.CheckID(peer)
	case ident.GroupID:
		_, err := account.GroupMailboxOf(peer, c.core.Cluster.ID)
		return err
	}
	return fault.New(fault.Invalid, "find peer", "neither an account nor a group")
}

// checkWrite says whether this device may write to an account.
func (c *Client) checkWrite(op string, peer ident.Peer) error {
	if _, _, revoked := c.core.Keys.Summary(); revoked {
		return core.ErrRevoked(op)
	}
	if err := c.checkPeer(peer); err != nil {
		return err
	}
	id, ok := peer.(ident.AccountID)
	if !ok {
		return nil
	}
	blocked := false
	err := c.core.View(func(*store.Tx) error {
		blocked = c.people.Blocked(id)
		return nil
	})
	if err == nil && blocked {
		return errBlocked(op, id)
	}
	return err
}

func errBlocked(op string, id ident.AccountID) error {
	return fault.New(fault.Denied, op, "%s is blocked here: unblock them first", core.Short(id))
}

func (c *Client) queueRead(tx *store.Tx, peer ident.AccountID, ids []ident.MessageID, now int64) error {
	for len(ids) > 0 {
		part := ids[:min(len(ids), content.MaxReceiptIDs)]
		ids = ids[len(part):]
		r := &bodyv1.Receipt{Kind: bodyv1.Receipt_KIND_READ, At: now}
		for i := range part {
			r.MessageIds = append(r.MessageIds, part[i][:])
		}
		due := time.UnixMilli(now).Add(core.Spread(c.core.Pace.ReceiptMin, c.core.Pace.ReceiptMax))
		if err := c.queueQuiet(tx, peer, &bodyv1.Body{Kind: &bodyv1.Body_Receipt{Receipt: r}},
			due); err != nil {
			return err
		}
	}
	return nil
}

// cursorOf is how far the mailbox was taken in that brings the messages of a conversation: the group's, or
// the own one.
func (c *Client) cursorOf(tx *store.Tx, peer ident.Peer) uint64 {
	id, ok := peer.(ident.GroupID)
	if !ok {
		return tx.Number(core.CursorKey)
	}
	g, _ := tx.Group(id)
	return max(g.Cursor, 1) // where an invitation stands that came before anything was read
}

// clear removes what a conversation holds. What is counted is the place in the mailbox, not a time: a message
// that was sent before but comes later is not lost.
func (c *Client) clear(tx *store.Tx, peer ident.Peer, now int64) error {
	subject := conv.SubjectOfPeer(peer)
	_, sentAt := tx.NewestOf(peer.String())
	if err := c.core.Docs.Raise(devicesync.ConvClearedSeq, subject, c.cursorOf(tx, peer)); err != nil {
		return err
	}
	if err := c.core.Docs.Raise(devicesync.ConvClearedAt, subject, uint64(max(now, sentAt))); err != nil {
		return err
	}
	tx.SetDraft(peer.String(), "", max(now, sentAt))
	c.rows.ApplyClearing(tx, peer.String())
	return tx.Err()
}

// tellAccepted lets somebody whose request was accepted know our profile.
func (c *Client) tellAccepted(tx *store.Tx, p *people.Person, now int64) error {
	body := &bodyv1.Body{Kind: &bodyv1.Body_RequestResponse{
		RequestResponse: &bodyv1.RequestResponse{Accepted: true}}}
	c.people.TellProfile(tx, p, body)
	return c.queueQuiet(tx, p.Account, body, time.UnixMilli(now).Add(core.Spread(c.core.Pace.ReceiptMin,
		c.core.Pace.ReceiptMax)))
}
