package client

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// ConversationHandle is the conversation with an account or a group, to act on. What is changed is the same
// on all devices. Errors of its methods, besides those that they name: NotFound (no account or group can have
// that ID), Denied (this device was revoked).
type ConversationHandle struct {
	c    *Client
	peer ident.Peer
}

// Conversation returns the handle of the conversation with an account or a group, known or not.
func (c *Client) Conversation(peer ident.Peer) ConversationHandle { return ConversationHandle{c, peer} }

// Get returns what the list of conversations shows of it, hidden or not. Errors: NotFound.
func (h ConversationHandle) Get(ctx context.Context) (out Conversation, err error) {
	if err := ctx.Err(); err != nil {
		return out, err
	}
	found := false
	err = h.c.core.View(func(tx *store.Tx) error {
		out, found = h.c.conversationOf(tx, h.peer)
		return tx.Err()
	})
	if err == nil && !found {
		err = fault.New(fault.NotFound, "find conversation", "there is none with %s", h.peer.Short())
	}
	return out, err
}

// Pin keeps the conversation on top of the list.
func (h ConversationHandle) Pin(ctx context.Context) error {
	return h.set(ctx, devicesync.ConvPinned, devicesync.Bool(true))
}

// Unpin lets it go.
func (h ConversationHandle) Unpin(ctx context.Context) error {
	return h.set(ctx, devicesync.ConvPinned, devicesync.Bool(false))
}

// Archive puts the conversation into the archive.
func (h ConversationHandle) Archive(ctx context.Context) error {
	return h.set(ctx, devicesync.ConvArchived, devicesync.Bool(true))
}

// Unarchive takes it back.
func (h ConversationHandle) Unarchive(ctx context.Context) error {
	return h.set(ctx, devicesync.ConvArchived, devicesync.Bool(false))
}

// Mute keeps notifications of the conversation quiet until an instant, Forever at most; the zero time ends
// that.
func (h ConversationHandle) Mute(ctx context.Context, until time.Time) error {
	ms := uint64(0)
	if !until.IsZero() {
		ms = uint64(min(max(until.UnixMilli(), 0), forever))
	}
	return h.set(ctx, devicesync.ConvMuted, devicesync.Uint(ms))
}

// MarkUnread marks the conversation, which reading it ends.
func (h ConversationHandle) MarkUnread(ctx context.Context) error {
	return h.set(ctx, devicesync.ConvUnread, devicesync.Bool(true))
}

// Unmark takes the mark away.
func (h ConversationHandle) Unmark(ctx context.Context) error {
	return h.set(ctx, devicesync.ConvUnread, devicesync.Bool(false))
}

// Hide leaves the conversation (notes to self, too) out of the list until a later message.
func (h ConversationHandle) Hide(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var hidden devicesync.Hidden
	err := h.c.core.View(func(tx *store.Tx) error {
		_, sentAt := tx.NewestOf(h.peer.String())
		hidden = devicesync.Hidden{At: max(h.c.core.NowMS(), sentAt), Seq: h.c.cursorOf(tx, h.peer)}
		return nil
	})
	if err != nil {
		return err
	}
	return h.set(ctx, devicesync.ConvHidden, hidden.Pack())
}

// Show puts a hidden conversation back into the list.
func (h ConversationHandle) Show(ctx context.Context) error {
	return h.set(ctx, devicesync.ConvHidden, devicesync.Hidden{}.Pack())
}

func (h ConversationHandle) set(ctx context.Context, f devicesync.Field, value []byte) error {
	return h.c.changeDocuments(ctx, "change conversation", h.peer, func(tx *store.Tx, _ *core.Batch,
		now int64) error {
		return h.c.core.Docs.Set(now, f, conv.SubjectOfPeer(h.peer), value)
	})
}

// MarkRead marks everything in the conversation as read, on all devices, and tells the sender if they are
// approved and read receipts are on; in a group nobody is told. It returns how many messages were unread.
func (h ConversationHandle) MarkRead(ctx context.Context) (n int, err error) {
	c, peer := h.c, h.peer
	err = c.changeDocuments(ctx, "mark as read", peer, func(tx *store.Tx, a *core.Batch, now int64) error {
		subject, conversation := conv.SubjectOfPeer(peer), peer.String()
		upTo, _ := tx.NewestOf(conversation)
		ids := tx.UnreadIDs(conversation, c.core.Docs.Number(devicesync.ConvReadUpTo, subject), upTo)
		n = len(ids)
		if err := c.core.Docs.Raise(devicesync.ConvReadUpTo, subject, upTo); err != nil {
			return err
		}
		if c.core.IsTrue(devicesync.ConvUnread, subject) {
			if err := c.core.Docs.Set(now, devicesync.ConvUnread, subject,
				devicesync.Bool(false)); err != nil {
				return err
			}
		}
		if tx.StartTimers(conversation, upTo, now) {
			a.Then(c.rows.Timed.Fire)
		}
		id, direct := peer.(ident.AccountID)
		if !direct {
			return nil // nobody is told who reads what in a group
		}
		p, err := c.people.Get(tx, id)
		if err != nil || !p.Approved || c.people.Blocked(id) || c.people.Contested(&p.Peer) ||
			!c.core.Setting(devicesync.SettingReceipts) {
			return err
		}
		if n > 0 {
			a.Kick(id)
		}
		return c.queueRead(tx, id, ids, now)
	})
	return n, err
}

// Clear removes all messages of the conversation that are there now from all devices of this account.
func (h ConversationHandle) Clear(ctx context.Context) error {
	c, peer := h.c, h.peer
	return c.changeDocuments(ctx, "clear conversation", peer, func(tx *store.Tx, _ *core.Batch,
		now int64) error {
		return c.clear(tx, peer, now)
	})
}

// Delete clears the conversation and takes it out of the list, with its marks, until there is a later
// message.
func (h ConversationHandle) Delete(ctx context.Context) error {
	c, peer := h.c, h.peer
	return c.changeDocuments(ctx, "delete conversation", peer, func(tx *store.Tx, _ *core.Batch,
		now int64) error {
		if err := c.clear(tx, peer, now); err != nil {
			return err
		}
		return c.core.Docs.Remove(now, devicesync.Conversations, conv.SubjectOfPeer(peer))
	})
}
