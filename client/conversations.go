package client

import (
	"context"
	"encoding/hex"
	"sort"
	"time"

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

// Forever is how long MuteConversation mutes at most.
var Forever = time.UnixMilli(253_402_300_799_999)

// Conversations returns the conversation list: pinned ones first, then newest first, without those that are hidden.
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
	err = c.p.db.View(func(tx *store.Tx) error {
		listed := map[string]bool{}
		for _, r := range tx.Conversations(c.readUpTo) {
			out, listed[r.ID] = append(out, c.conversation(tx, r)), true
		}
		// A device that was linked or restored knows conversations whose messages it does not have.
		for _, subject := range c.docs.Subjects(devicesync.Conversations) {
			if id := hex.EncodeToString([]byte(subject)); !listed[id] && len(subject) == len(ident.AccountID{}) {
				out, listed[id] = append(out, c.conversation(tx, store.ConversationRow{ID: id})), true
			}
		}
		for _, id := range tx.GroupIDs() {
			if !listed[id.String()] && c.isOpenGroup(tx, id) {
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

// Conversation returns the conversation with an account or a group, hidden or not. Errors: NotFound.
func (c *Client) Conversation(ctx context.Context, peer ident.Peer) (Conversation, error) {
	all, err := c.AllConversations(ctx)
	if err != nil {
		return Conversation{}, err
	}
	for _, v := range all {
		if v.ID == peer.String() {
			return v, nil
		}
	}
	return Conversation{}, fault.New(fault.NotFound, "find conversation", "there is none with %s", peer.Short())
}

// readUpTo is the sequence number in the own mailbox up to which a conversation is read.
func (c *Client) readUpTo(conversation string) uint64 {
	return c.docs.Number(devicesync.ConvReadUpTo, subjectOf(conversation))
}

// subjectOfPeer is the subject of a peer's conversation in its document.
func subjectOfPeer(peer ident.Peer) string {
	key := peer.Key()
	return string(key[:])
}

// subjectOf is the subject of a conversation in its document.
func subjectOf(conversation string) string {
	b, err := hex.DecodeString(conversation)
	if err != nil {
		return ""
	}
	return string(b)
}

func (c *Client) conversation(tx *store.Tx, r store.ConversationRow) Conversation {
	subject := subjectOf(r.ID)
	out := Conversation{ID: r.ID, Type: "direct", Unread: r.Unread, Mentions: r.Mentions, LastAt: fromMS(r.Last.ReceivedAt), LastText: c.textOf(tx, &r.Last), Request: r.Last.Request,
		Pinned: c.isTrue(devicesync.ConvPinned, subject), Archived: c.isTrue(devicesync.ConvArchived, subject),
		Marked: c.isTrue(devicesync.ConvUnread, subject), MutedUntil: fromMS(c.millis(devicesync.ConvMuted, subject)),
		StartedAt: fromMS(c.millis(devicesync.ConvStartedAt, subject))}
	if b, ok := c.docs.Get(devicesync.ConvHidden, subject); ok {
		if h, ok := devicesync.UnpackHidden(b); ok {
			out.Hidden = !(r.Last.Mine && r.Last.SentAt > h.At || !r.Last.Mine && r.Last.MailboxSeq > h.Seq)
		}
	}
	out.Draft, _ = tx.Draft(r.ID)
	id, err := ident.ParseAccountID(r.ID)
	if err != nil {
		c.groupConversation(tx, &out)
		return out
	}
	if id == c.me {
		out.Type = "self"
	}
	out.Name, out.Timer = c.nameOf(tx, id), c.timerOf(id)
	return out
}

func (c *Client) isTrue(f devicesync.Field, subject string) bool {
	b, ok := c.docs.Get(f, subject)
	return ok && devicesync.IsTrue(b)
}

func (c *Client) millis(f devicesync.Field, subject string) int64 {
	b, _ := c.docs.Get(f, subject)
	return int64(devicesync.AsUint(b))
}

// PinConversation keeps a conversation on top of the list, or lets it go.
func (c *Client) PinConversation(ctx context.Context, peer ident.Peer, on bool) error {
	return c.setConversation(peer, devicesync.ConvPinned, devicesync.Bool(on))
}

// ArchiveConversation puts a conversation aside, or takes it back.
func (c *Client) ArchiveConversation(ctx context.Context, peer ident.Peer, on bool) error {
	return c.setConversation(peer, devicesync.ConvArchived, devicesync.Bool(on))
}

// MuteConversation keeps notifications of a conversation quiet until an instant; the zero time ends that.
func (c *Client) MuteConversation(ctx context.Context, peer ident.Peer, until time.Time) error {
	ms := uint64(0)
	if !until.IsZero() {
		ms = uint64(min(max(until.UnixMilli(), 0), Forever.UnixMilli()))
	}
	return c.setConversation(peer, devicesync.ConvMuted, devicesync.Uint(ms))
}

// MarkUnread marks a conversation, which reading it ends.
func (c *Client) MarkUnread(ctx context.Context, peer ident.Peer, on bool) error {
	return c.setConversation(peer, devicesync.ConvUnread, devicesync.Bool(on))
}

// HideConversation leaves a conversation (notes to self, too) out of the list until a later message; false shows it again.
func (c *Client) HideConversation(ctx context.Context, peer ident.Peer, on bool) error {
	var h devicesync.Hidden
	if on {
		err := c.p.db.View(func(tx *store.Tx) error {
			_, sentAt := tx.NewestOf(peer.String())
			h = devicesync.Hidden{At: max(c.nowMS(), sentAt), Seq: c.cursorOf(tx, peer)}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return c.setConversation(peer, devicesync.ConvHidden, h.Pack())
}

func (c *Client) setConversation(peer ident.Peer, f devicesync.Field, value []byte) error {
	return c.changeDocuments("change conversation", peer, func(tx *store.Tx, now int64) error {
		return c.docs.Set(now, f, subjectOfPeer(peer), value)
	})
}

// changeDocuments makes a change of the documents that concerns an account or a group, and lets it leave.
func (c *Client) changeDocuments(op string, peer ident.Peer, f func(tx *store.Tx, now int64) error) error {
	if _, _, revoked := c.keys.summary(); revoked {
		return errRevoked(op)
	}
	if err := c.checkPeer(peer); err != nil {
		return err
	}
	err := c.update(func(tx *store.Tx) error {
		if err := f(tx, c.nowMS()); err != nil {
			return err
		}
		return c.saveDocuments(tx)
	})
	if err != nil {
		return err
	}
	c.out.kick(c.me)
	c.bus.publish(Event{Kind: EventConversation, At: c.net.Now(), Conversation: peer.String()})
	return nil
}

// checkPeer says whether an account or a group can have that ID. Errors: NotFound.
func (c *Client) checkPeer(peer ident.Peer) error {
	switch peer := peer.(type) {
	case ident.AccountID:
		return account.CheckID(peer)
	case ident.GroupID:
		_, err := account.GroupMailboxOf(peer, c.cluster.ID)
		return err
	}
	return fault.New(fault.Invalid, "find peer", "neither an account nor a group")
}

// checkWrite says whether this device may write to an account.
func (c *Client) checkWrite(op string, peer ident.Peer) error {
	if _, _, revoked := c.keys.summary(); revoked {
		return errRevoked(op)
	}
	if err := c.checkPeer(peer); err != nil {
		return err
	}
	id, ok := peer.(ident.AccountID)
	if !ok {
		return nil
	}
	blocked := false
	err := c.p.db.View(func(*store.Tx) error {
		blocked = c.isBlocked(id)
		return nil
	})
	if err == nil && blocked {
		return fault.New(fault.Denied, op, "%s is blocked here: unblock them first", short(id))
	}
	return err
}

// MarkRead marks everything in a conversation as read, on all devices, and tells the sender if they are approved and read
// receipts are on; in a group nobody is told. It returns how many messages were unread.
func (c *Client) MarkRead(ctx context.Context, peer ident.Peer) (n int, err error) {
	kick := false
	err = c.changeDocuments("mark as read", peer, func(tx *store.Tx, now int64) error {
		subject, conversation := subjectOfPeer(peer), peer.String()
		upTo, _ := tx.NewestOf(conversation)
		ids := tx.UnreadIDs(conversation, c.docs.Number(devicesync.ConvReadUpTo, subject), upTo)
		n = len(ids)
		if err := c.docs.Raise(devicesync.ConvReadUpTo, subject, upTo); err != nil {
			return err
		}
		if c.isTrue(devicesync.ConvUnread, subject) {
			if err := c.docs.Set(now, devicesync.ConvUnread, subject, devicesync.Bool(false)); err != nil {
				return err
			}
		}
		if tx.StartTimers(conversation, upTo, now) {
			c.timed.fire()
		}
		id, direct := peer.(ident.AccountID)
		if !direct {
			return nil // nobody is told who reads what in a group
		}
		p, err := c.person(tx, id)
		if err != nil || !p.Approved || c.isBlocked(id) || c.isContested(&p.Peer) || !c.setting(devicesync.SettingReceipts) {
			return err
		}
		kick = n > 0
		return c.queueRead(tx, id, ids, now)
	})
	if err == nil && kick {
		c.out.kick(peer.Key())
	}
	return n, err
}

func (c *Client) queueRead(tx *store.Tx, peer ident.AccountID, ids []ident.MessageID, now int64) error {
	for len(ids) > 0 {
		part := ids[:min(len(ids), maxReceiptIDs)]
		ids = ids[len(part):]
		r := &bodyv1.Receipt{Kind: bodyv1.Receipt_KIND_READ, At: now}
		for i := range part {
			r.MessageIds = append(r.MessageIds, part[i][:])
		}
		due := time.UnixMilli(now).Add(spread(c.pace.receiptMin, c.pace.receiptMax))
		if err := c.queueQuiet(tx, peer, &bodyv1.Body{Kind: &bodyv1.Body_Receipt{Receipt: r}}, due); err != nil {
			return err
		}
	}
	return nil
}

// ClearConversation removes all messages of a conversation that are there now from all devices of this account.
func (c *Client) ClearConversation(ctx context.Context, peer ident.Peer) error {
	return c.changeDocuments("clear conversation", peer, func(tx *store.Tx, now int64) error {
		return c.clear(tx, peer, now)
	})
}

// DeleteConversation clears a conversation and takes it out of the list, with its marks, until there is a later message.
func (c *Client) DeleteConversation(ctx context.Context, peer ident.Peer) error {
	return c.changeDocuments("delete conversation", peer, func(tx *store.Tx, now int64) error {
		if err := c.clear(tx, peer, now); err != nil {
			return err
		}
		return c.docs.Remove(now, devicesync.Conversations, subjectOfPeer(peer))
	})
}

// cursorOf is how far the mailbox was taken in that brings the messages of a conversation: the group's, or the own one.
func (c *Client) cursorOf(tx *store.Tx, peer ident.Peer) uint64 {
	id, ok := peer.(ident.GroupID)
	if !ok {
		return tx.Number(cursorKey)
	}
	g, _ := tx.Group(id)
	return max(g.Cursor, 1) // where an invitation stands that came before anything was read
}

// clear removes what a conversation holds. What is counted is the place in the mailbox, not a time: a message that was
// sent before but comes later is not lost.
func (c *Client) clear(tx *store.Tx, peer ident.Peer, now int64) error {
	subject := subjectOfPeer(peer)
	_, sentAt := tx.NewestOf(peer.String())
	if err := c.docs.Raise(devicesync.ConvClearedSeq, subject, c.cursorOf(tx, peer)); err != nil {
		return err
	}
	if err := c.docs.Raise(devicesync.ConvClearedAt, subject, uint64(max(now, sentAt))); err != nil {
		return err
	}
	tx.SetDraft(peer.String(), "", max(now, sentAt))
	c.applyClearing(tx, peer.String())
	return tx.Err()
}

func (c *Client) applyClearing(tx *store.Tx, conversation string) {
	subject := subjectOf(conversation)
	seq, at := c.docs.Number(devicesync.ConvClearedSeq, subject), c.docs.Number(devicesync.ConvClearedAt, subject)
	if seq > 0 || at > 0 {
		tx.Clear(conversation, seq, int64(at))
	}
}

// isCleared reports whether a message belongs to what was cleared in its conversation.
func (c *Client) isCleared(m *store.Message) bool {
	subject := subjectOf(m.Conversation)
	if m.Mine {
		return m.SentAt <= int64(c.docs.Number(devicesync.ConvClearedAt, subject))
	}
	return m.MailboxSeq != 0 && m.MailboxSeq <= c.docs.Number(devicesync.ConvClearedSeq, subject)
}

// conversationMerged brings messages in step with what another device did to their conversation.
func (a *applied) conversationMerged(tx *store.Tx, conversation string) {
	a.c.applyClearing(tx, conversation)
	if tx.StartTimers(conversation, a.c.readUpTo(conversation), a.now.UnixMilli()) {
		a.c.timed.fire()
	}
	a.conversationChanged(conversation)
}

func (a *applied) conversationChanged(conversation string) {
	a.events = append(a.events, Event{Kind: EventConversation, At: a.now, Conversation: conversation})
}

// tellAccepted lets somebody whose request was accepted know our profile.
func (c *Client) tellAccepted(tx *store.Tx, p *person, now int64) error {
	body := &bodyv1.Body{Kind: &bodyv1.Body_RequestResponse{RequestResponse: &bodyv1.RequestResponse{Accepted: true}}}
	c.tellProfile(tx, p, body)
	return c.queueQuiet(tx, p.Account, body, time.UnixMilli(now).Add(spread(c.pace.receiptMin, c.pace.receiptMax)))
}
