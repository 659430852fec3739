package conv

import (
	"encoding/hex"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/ident"
)

// Came tells of a new row. One that was deleted before it came is no news.
func (c *Rows) Came(tx *store.Tx, a *core.Batch, m store.Message, quiet bool) {
	kind := core.FactMessage
	if m.Deleted || quiet {
		kind = core.FactUpdate
	}
	a.Tell(core.Fact{Kind: kind, Row: &m})
}

// Updated tells that a message changed.
func (c *Rows) Updated(tx *store.Tx, a *core.Batch, m store.Message) {
	a.Tell(core.Fact{Kind: core.FactUpdate, Row: &m})
}

// ReadUpTo is the sequence number in the own mailbox up to which a conversation is read.
func (c *Rows) ReadUpTo(conversation string) uint64 {
	return c.core.Docs.Number(devicesync.ConvReadUpTo, SubjectOf(conversation))
}

// SubjectOfPeer is the subject of a peer's conversation in its document.
func SubjectOfPeer(peer ident.Peer) string {
	key := peer.Key()
	return string(key[:])
}

// SubjectOf is the subject of a conversation in its document.
func SubjectOf(conversation string) string {
	b, err := hex.DecodeString(conversation)
	if err != nil {
		return ""
	}
	return string(b)
}

// ApplyClearing removes what the document says was cleared in a conversation.
func (c *Rows) ApplyClearing(tx *store.Tx, conversation string) {
	subject := SubjectOf(conversation)
	seq, at := c.core.Docs.Number(devicesync.ConvClearedSeq,
		subject), c.core.Docs.Number(devicesync.ConvClearedAt, subject)
	if seq > 0 || at > 0 {
		tx.Clear(conversation, seq, int64(at))
	}
}

// IsCleared reports whether a message belongs to what was cleared in its conversation.
func (c *Rows) IsCleared(m *store.Message) bool {
	subject := SubjectOf(m.Conversation)
	if m.Mine {
		return m.SentAt <= int64(c.core.Docs.Number(devicesync.ConvClearedAt, subject))
	}
	return m.MailboxSeq != 0 && m.MailboxSeq <= c.core.Docs.Number(devicesync.ConvClearedSeq, subject)
}

// ConversationMerged brings messages in step with what another device did to their conversation.
func (c *Rows) ConversationMerged(tx *store.Tx, a *core.Batch, conversation string) {
	c.ApplyClearing(tx, conversation)
	if tx.StartTimers(conversation, c.ReadUpTo(conversation), a.Now.UnixMilli()) {
		c.Timed.Fire()
	}
	c.ConversationChanged(a, conversation)
}

// ConversationChanged tells that what is known of a conversation changed.
func (c *Rows) ConversationChanged(a *core.Batch, conversation string) {
	a.Tell(core.Fact{Kind: core.FactConversation, Conversation: conversation})
}

// Outgoing is a text to send.
type Outgoing struct {
	ID       ident.MessageID
	Text     string
	ReplyTo  *ident.MessageID
	Expire   *Timer // nil: the conversation's timer
	Mentions []ident.AccountID
}

// Sent is a text that was queued: durable, not yet on its way.
type Sent struct {
	ID           ident.MessageID
	Conversation string
	QueuedAt     time.Time
	Existed      bool // the ID was sent before; nothing was queued
}

// Queued tells of a new message of ours.
func (c *Rows) Queued(a *core.Batch, row *store.Message) {
	a.Tell(core.Fact{Kind: core.FactMessage, Row: row})
	if row.ExpiresAt != 0 {
		a.Then(c.Timed.Fire)
	}
}

// SentBefore says what became of a message of ours whose ID is known.
func (c *Rows) SentBefore(tx *store.Tx, id ident.MessageID) (Sent, error) {
	old, _ := tx.MessageOf(c.core.Me, id)
	return Sent{ID: id, Conversation: old.Conversation, QueuedAt: core.FromMS(old.SentAt),
		Existed: true}, tx.Err()
}

// QueueCopy adds the leg that tells own devices of a sent message. It waits for the first leg, so that a node
// that hosts both mailboxes cannot pair the two by time; a note to self has no other leg.
func (c *Rows) QueueCopy(tx *store.Tx, to ident.PeerKey, chain *account.Chain, id ident.MessageID,
	sentAt int64, body []byte, self bool) {
	cp := account.SentCopy{To: to, ID: id, SentAt: sentAt, Certs: chain, Body: body}
	due := store.Held
	if self {
		due = sentAt
	}
	tx.AddLeg(&store.Leg{Kind: store.LegCopy, Peer: c.core.Me.Key(), Message: id, SentAt: sentAt,
		Body: cp.Encode(), Due: due})
}
