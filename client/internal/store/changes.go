package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/ident"
)

// Stamp orders changes of one thing: the newest counts, on every device.
type Stamp struct {
	At     int64 // Unix milliseconds, by the clock of whoever made the change
	Change ident.MessageID
}

// ChangeKind says what a Change does to its message.
type ChangeKind uint8

const (
	ChangeEdit    ChangeKind = 1 // Body replaces the message's
	ChangeDelete  ChangeKind = 2 // for everyone
	ChangeRemoval ChangeKind = 3 // for this account
	ChangePin     ChangeKind = 4 // Body is 1 if it is pinned, empty if not any more
)

// Change is a change of a message, which may not have come yet.
type Change struct {
	Message      ident.MessageID
	Author       ident.AccountID // of the message
	Kind         ChangeKind
	Conversation string
	Stamp
	Body []byte
}

// AddChange keeps c if none of its kind is newer, and reports whether it did. now is when it came, for
// ForgetChanges.
func (tx *Tx) AddChange(c Change, now int64) bool {
	if c.Body == nil {
		c.Body = []byte{}
	}
	return tx.Exec("INSERT INTO changes (message, author, kind, conversation, at, change, body, noted) "+
		"VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (message, author, kind) DO UPDATE "+
		"SET conversation = excluded.conversation, at = excluded.at, change = excluded.change, "+
		"body = excluded.body, noted = excluded.noted WHERE (excluded.at, excluded.change) > (at, change)",
		c.Message[:], c.Author[:], int(c.Kind), c.Conversation, c.At, c.Change[:], c.Body, now) == 1
}

// Changes calls f for the newest change of each kind of a message, by kind.
func (tx *Tx) Changes(message ident.MessageID, author ident.AccountID) (out []Change) {
	tx.Query("SELECT kind, conversation, at, change, body FROM changes WHERE message = ? AND author = ? "+
		"ORDER BY kind", []any{message[:], author[:]},
		func(s *sqlite3.Stmt) bool {
			c := Change{Message: message, Author: author, Kind: ChangeKind(s.ColumnInt(0)),
				Conversation: s.ColumnText(1),
				Stamp:        Stamp{At: s.ColumnInt64(2), Change: ident.MessageID(s.ColumnRawBlob(3))},
				Body:         s.ColumnBlob(4, nil)}
			out = append(out, c)
			return true
		})
	return out
}

// Pinned returns the messages of a conversation that are pinned, the newest pin first.
func (tx *Tx) Pinned(conversation string) (out []Message) {
	tx.Query("SELECT "+messageColumns+
		" FROM messages JOIN (SELECT message, author, at AS pinned_at, change AS pin FROM changes "+
		"WHERE kind = ? AND conversation = ? AND body <> x'')"+
		" ON id = message AND sender = author WHERE conversation = ? AND deleted = 0 ORDER BY pinned_at "+
		"DESC, pin DESC",
		[]any{int(ChangePin), conversation, conversation}, func(s *sqlite3.Stmt) bool {
			out = append(out, scanMessage(s))
			return true
		})
	return out
}

// ForgetChanges drops what was noted before an instant and whose message is not there.
func (tx *Tx) ForgetChanges(before int64) {
	tx.Exec("DELETE FROM changes WHERE noted < ? AND NOT EXISTS (SELECT 1 FROM messages WHERE id = message "+
		"AND sender = author)", before)
}

// Reaction is the newest change of one person's emoji on a message.
type Reaction struct {
	Message      ident.MessageID
	Author       ident.AccountID // of the message
	Sender       ident.AccountID
	Emoji        string
	Conversation string
	Stamp
	Removed bool
}

// React keeps r if no change of the same emoji is newer, and reports whether it did.
func (tx *Tx) React(r Reaction) bool {
	return tx.Exec("INSERT INTO reactions (message, author, sender, emoji, conversation, at, change, "+
		"removed) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (message, author, sender, emoji) DO UPDATE "+
		"SET conversation = excluded.conversation, at = excluded.at, change = excluded.change, "+
		"removed = excluded.removed WHERE (excluded.at, excluded.change) > (at, change)",
		r.Message[:], r.Author[:], r.Sender[:], r.Emoji, r.Conversation, r.At, r.Change[:], r.Removed) == 1
}

// Reactions calls f for every reaction on a message in a conversation.
func (tx *Tx) Reactions(message ident.MessageID, author ident.AccountID, conversation string,
	f func(sender ident.AccountID, emoji string)) {
	tx.Query("SELECT sender, emoji FROM reactions WHERE message = ? AND author = ? AND conversation = ? "+
		"AND removed = 0", []any{message[:], author[:], conversation},
		func(s *sqlite3.Stmt) bool {
			f(ident.AccountID(s.ColumnRawBlob(0)), s.ColumnText(1))
			return true
		})
}

// RemoveMessage deletes a row and what hangs on it but changes, which keep the message from coming back.
func (tx *Tx) RemoveMessage(m *Message) {
	tx.Exec("DELETE FROM messages WHERE seq = ?", m.Seq)
	tx.Exec("DELETE FROM reactions WHERE message = ? AND author = ?", m.ID[:], m.Sender[:])
}

// Clear deletes the messages of a conversation: those of others up to a sequence number of the own mailbox,
// our own up to a sent-at instant. It returns how many there were.
func (tx *Tx) Clear(conversation string, seq uint64, sentAt int64) int64 {
	const which = "conversation = ? AND (mine = 0 AND mailbox_seq <= ? OR mine = 1 AND sent_at <= ?)"
	for _, table := range []string{"reactions", "changes"} {
		tx.Exec("DELETE FROM "+table+" WHERE (message, author) IN (SELECT id, sender FROM messages WHERE "+
			which+")", conversation, seq, sentAt)
	}
	return tx.Exec("DELETE FROM messages WHERE "+which, conversation, seq, sentAt)
}

// NewestOf returns the largest sequence number in the own mailbox and the latest sent-at of our own messages
// in a conversation; 0 if there is none.
func (tx *Tx) NewestOf(conversation string) (seq uint64, sentAt int64) {
	tx.Query("SELECT coalesce(max(mailbox_seq), 0), coalesce(max(CASE WHEN mine = 1 THEN sent_at END), 0) "+
		"FROM messages WHERE conversation = ?", []any{conversation},
		func(s *sqlite3.Stmt) bool {
			seq, sentAt = uint64(s.ColumnInt64(0)), s.ColumnInt64(1)
			return false
		})
	return seq, sentAt
}

// UnreadIDs returns the messages of others after one sequence number of the own mailbox and up to another,
// oldest first.
func (tx *Tx) UnreadIDs(conversation string, after, upTo uint64) (out []ident.MessageID) {
	tx.Query("SELECT id FROM messages WHERE conversation = ? AND mine = 0 AND unverified = 0 "+
		"AND notice = 0 AND mailbox_seq > ? AND mailbox_seq <= ? ORDER BY mailbox_seq",
		[]any{conversation, after, upTo}, func(s *sqlite3.Stmt) bool {
			out = append(out, ident.MessageID(s.ColumnRawBlob(0)))
			return true
		})
	return out
}

// StartTimers lets the time of messages run that disappear after they are read.
func (tx *Tx) StartTimers(conversation string, readUpTo uint64, now int64) bool {
	return tx.Exec("UPDATE messages SET expires_at = ? + 1000 * expire_after WHERE conversation = ? "+
		"AND mine = 0 AND mailbox_seq <= ? AND expire_after > 0 AND expires_at = 0",
		now, conversation, readUpTo) > 0
}

// Expired returns the messages whose time is over.
func (tx *Tx) Expired(now int64) (out []Message) {
	tx.Query("SELECT "+messageColumns+" FROM messages WHERE expires_at > 0 AND expires_at <= ?", []any{now},
		func(s *sqlite3.Stmt) bool {
			out = append(out, scanMessage(s))
			return true
		})
	return out
}

// NextExpiry returns when the next message disappears, 0 if none does.
func (tx *Tx) NextExpiry() (at int64) {
	tx.Query("SELECT coalesce(min(expires_at), 0) FROM messages WHERE expires_at > 0", nil,
		func(s *sqlite3.Stmt) bool {
			at = s.ColumnInt64(0)
			return false
		})
	return at
}

// SetDraft keeps the text that is being written in a conversation if it is newer, and reports whether it did.
func (tx *Tx) SetDraft(conversation, text string, at int64) bool {
	return tx.Exec("INSERT INTO drafts (conversation, text, changed_at) VALUES (?,?,?) "+
		"ON CONFLICT (conversation) DO UPDATE SET text = excluded.text, changed_at = excluded.changed_at "+
		"WHERE (excluded.changed_at, excluded.text) > (changed_at, text)",
		conversation, text, at) == 1
}

// Draft returns the text that is being written in a conversation.
func (tx *Tx) Draft(conversation string) (text string, at int64) {
	tx.Query("SELECT text, changed_at FROM drafts WHERE conversation = ?", []any{conversation},
		func(s *sqlite3.Stmt) bool {
			text, at = s.ColumnText(0), s.ColumnInt64(1)
			return false
		})
	return text, at
}

// DropDraftLegs forgets drafts that have not left yet: a newer one follows.
func (tx *Tx) DropDraftLegs(conversation ident.MessageID) {
	tx.Exec("DELETE FROM outbox WHERE kind = ? AND message = ?", int(LegDraft), conversation[:])
}

// NewestReaction returns when the newest reaction on a message was made, 0 if there is none.
func (tx *Tx) NewestReaction(message ident.MessageID, author ident.AccountID) (at int64) {
	tx.Query("SELECT coalesce(max(at), 0) FROM reactions WHERE message = ? AND author = ?",
		[]any{message[:], author[:]}, func(s *sqlite3.Stmt) bool {
			at = s.ColumnInt64(0)
			return false
		})
	return at
}
