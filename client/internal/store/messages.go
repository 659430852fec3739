package store

import (
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// State is how far a message of ours has come. The numbers are on disk.
type State uint8

// The states of messages.
const (
	StateReceived  State = 0 // a message of somebody else
	StateQueued    State = 1
	StateStored    State = 2
	StateDelivered State = 3
	StateRead      State = 4
	StateFailed    State = 5
)

// Message is one row of the messages. Times are Unix milliseconds, 0: not yet.
type Message struct {
	Seq          int64
	ID           ident.MessageID
	Sender       ident.AccountID
	Conversation string
	Mine         bool
	Request      bool
	Unverified   bool
	Text         string
	Body         []byte
	SentAt       int64
	ReceivedAt   int64
	Edited       bool
	Deleted      bool
	ReplyTo      *ident.MessageID
	HandedOut    bool
	State        State
	Cause        string
	StoredAt     int64
	DeliveredAt  int64
	ReadAt       int64
	Path         ident.Path
	Replicas     int
	MailboxSeq   uint64 // of messages of others; 0 for our own
	ExpiresAt    int64
	ExpireAfter  uint32 // seconds, from when it is read
	Envelope     []byte // hash of the envelope in a group's mailbox; nil: not known
	Notice       bool   // made on this device of a group's log
	Mentioned    bool   // the text names this account
}

const messageColumns = "seq, id, sender, conversation, mine, request, unverified, text, body, sent_at, " +
	"received_at, edited, deleted, reply_to, handed_out, state, cause, stored_at, delivered_at, read_at, " +
	"path, replicas, mailbox_seq, expires_at, expire_after, envelope, notice, mentioned"

func scanMessage(s *sqlite3.Stmt) (m Message) {
	m.Seq = s.ColumnInt64(0)
	copy(m.ID[:], s.ColumnRawBlob(1))
	copy(m.Sender[:], s.ColumnRawBlob(2))
	m.Conversation, m.Mine, m.Request, m.Unverified = s.ColumnText(3), s.ColumnBool(4),
		s.ColumnBool(5), s.ColumnBool(6)
	m.Text, m.Body, m.SentAt, m.ReceivedAt = s.ColumnText(7), s.ColumnBlob(8,
		nil), s.ColumnInt64(9), s.ColumnInt64(10)
	m.Edited, m.Deleted = s.ColumnBool(11), s.ColumnBool(12)
	if b := s.ColumnRawBlob(13); len(b) == 16 {
		m.ReplyTo = (*ident.MessageID)(append([]byte(nil), b...))
	}
	m.HandedOut, m.State, m.Cause = s.ColumnBool(14), State(s.ColumnInt(15)), s.ColumnText(16)
	m.StoredAt, m.DeliveredAt, m.ReadAt = s.ColumnInt64(17), s.ColumnInt64(18), s.ColumnInt64(19)
	if b := s.ColumnRawBlob(20); len(b) == 96 {
		for i := range m.Path {
			copy(m.Path[i][:], b[32*i:])
		}
	}
	m.Replicas, m.MailboxSeq, m.ExpiresAt, m.ExpireAfter = s.ColumnInt(21), uint64(s.ColumnInt64(22)),
		s.ColumnInt64(23), uint32(s.ColumnInt64(24))
	m.Envelope, m.Notice, m.Mentioned = column(s, 25), s.ColumnBool(26), s.ColumnBool(27)
	return m
}

func pathBlob(p ident.Path) any {
	if p == (ident.Path{}) {
		return nil
	}
	b := make([]byte, 0, 96)
	for _, n := range p {
		b = append(b, n[:]...)
	}
	return b
}

// AddMessage inserts m and sets its Seq. It returns false, and changes nothing, if sender and ID are known.
func (tx *Tx) AddMessage(m *Message) bool {
	var reply any
	if m.ReplyTo != nil {
		reply = m.ReplyTo[:]
	}
	if m.Body == nil {
		m.Body = []byte{}
	}
	n := tx.Exec("INSERT INTO messages (id, sender, conversation, mine, request, unverified, text, body, "+
		"sent_at, received_at, reply_to, handed_out, state, stored_at, edited, deleted, mailbox_seq, "+
		"expires_at, expire_after, envelope, notice, mentioned) VALUES "+
		"(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id, sender) DO NOTHING",
		m.ID[:], m.Sender[:], m.Conversation, m.Mine, m.Request, m.Unverified, m.Text, m.Body, m.SentAt,
		m.ReceivedAt, reply, m.HandedOut, int(m.State), m.StoredAt,
		m.Edited, m.Deleted, m.MailboxSeq, m.ExpiresAt, m.ExpireAfter, null(m.Envelope),
		m.Notice, m.Mentioned)
	if n == 0 || tx.err != nil {
		return false
	}
	m.Seq = tx.db.conn.LastInsertRowID()
	return true
}

// MessageOf returns the message that sender sent under id.
func (tx *Tx) MessageOf(sender ident.AccountID, id ident.MessageID) (m Message, ok bool) {
	tx.Query("SELECT "+messageColumns+" FROM messages WHERE id = ? AND sender = ?", []any{id[:], sender[:]},
		func(s *sqlite3.Stmt) bool {
			m, ok = scanMessage(s), true
			return false
		})
	return m, ok
}

// SaveMessage writes back what of a message can change.
func (tx *Tx) SaveMessage(m *Message) {
	tx.Exec("UPDATE messages SET request = ?, unverified = ?, edited = ?, deleted = ?, handed_out = ?, "+
		"state = ?, cause = ?, stored_at = ?, delivered_at = ?, read_at = ?, path = ?, replicas = ? "+
		"WHERE seq = ?",
		m.Request, m.Unverified, m.Edited, m.Deleted, m.HandedOut, int(m.State), m.Cause, m.StoredAt,
		m.DeliveredAt, m.ReadAt, pathBlob(m.Path), m.Replicas, m.Seq)
}

// SetText replaces the text and body of a message.
func (tx *Tx) SetText(seq int64, text string, body []byte) {
	if body == nil {
		body = []byte{}
	}
	tx.Exec("UPDATE messages SET text = ?, body = ? WHERE seq = ?", text, body, seq)
}

// SetMentioned says whether the text of a message names this account.
func (tx *Tx) SetMentioned(seq int64, on bool) {
	tx.Exec("UPDATE messages SET mentioned = ? WHERE seq = ?", on, seq)
}

// SetPlace says where a message lies in the group's mailbox, and what hash its envelope has.
func (tx *Tx) SetPlace(m *Message) {
	tx.Exec("UPDATE messages SET mailbox_seq = ?, envelope = ?, expires_at = ? WHERE seq = ?", m.MailboxSeq,
		null(m.Envelope), m.ExpiresAt, m.Seq)
}

// VerifySender takes the unverified mark off what somebody sent in a conversation, and reports whether there
// was any.
func (tx *Tx) VerifySender(conversation string, sender ident.AccountID) bool {
	return tx.Exec("UPDATE messages SET unverified = 0 WHERE unverified = 1 AND conversation = ? "+
		"AND sender = ?", conversation, sender[:]) > 0
}

// Query selects messages. Zero fields do not restrict.
type Query struct {
	Conversation string
	After        int64 // seq
	Since        int64 // received_at
	Limit        int
	Newest       bool // the newest Limit instead of the oldest
	NotHandedOut bool // of others, not handed out
	IDPrefix     string
}

// groupPrefix is how the ID of a group's conversation begins.
const groupPrefix = "03"

// Messages returns what q selects, oldest first: in a group's conversation by the order of the group's
// mailbox, elsewhere, and after a seq, by the order of arrival.
func (tx *Tx) Messages(q Query) (out []Message, err error) {
	var where []string
	var args []any
	add := func(cond string, a ...any) {
		where = append(where, cond)
		args = append(args, a...)
	}
	if q.Conversation != "" {
		add("conversation = ?", q.Conversation)
	}
	if q.After > 0 {
		add("seq > ?", q.After)
	}
	if q.Since > 0 {
		add("received_at >= ?", q.Since)
	}
	if q.NotHandedOut {
		add("mine = 0 AND handed_out = 0")
	}
	if q.IDPrefix != "" {
		lo, hi, err := prefixRange(q.IDPrefix)
		if err != nil {
			return nil, err
		}
		add("id >= ? AND id <= ?", lo, hi)
	}
	order := []string{"seq"}
	if strings.HasPrefix(q.Conversation, groupPrefix) && q.After == 0 {
		// The order of the group's mailbox, which all members share; what is still to be sent comes last.
		add("conversation >= '03' AND conversation < '04'") // so that the index counts
		order = []string{"mailbox_seq = 0", "mailbox_seq", "seq"}
	}
	sql := "SELECT " + messageColumns + " FROM messages"
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	direction := ""
	if q.Newest {
		direction = " DESC"
	}
	sql += " ORDER BY " + strings.Join(order, direction+", ") + direction
	if q.Limit > 0 {
		sql += " LIMIT ?"
		args = append(args, q.Limit)
	}
	tx.Query(sql, args, func(s *sqlite3.Stmt) bool {
		out = append(out, scanMessage(s))
		return true
	})
	if q.Newest {
		for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
			out[i], out[j] = out[j], out[i]
		}
	}
	return out, tx.err
}

// prefixRange returns the least and the greatest ID that begins with the hex digits of p.
func prefixRange(p string) (lo, hi []byte, err error) {
	if len(p) > 32 {
		return nil, nil, fault.New(fault.Invalid, "find message", "%q is longer than an ID", p)
	}
	l, err := ident.ParseMessageID(p + strings.Repeat("0", 32-len(p)))
	if err != nil {
		return nil, nil, fault.New(fault.Invalid, "find message", "%q is not hexadecimal", p)
	}
	h, _ := ident.ParseMessageID(p + strings.Repeat("f", 32-len(p)))
	return l[:], h[:], nil
}

// MarkHandedOut marks messages of others as given to the user.
func (tx *Tx) MarkHandedOut(id ident.MessageID) {
	tx.Exec("UPDATE messages SET handed_out = 1 WHERE id = ? AND mine = 0", id[:])
}

// ClearRequests takes the request mark off everything that an account sent: it was approved.
func (tx *Tx) ClearRequests(a ident.AccountID) {
	tx.Exec("UPDATE messages SET request = 0 WHERE request = 1 AND sender = ?", a[:])
}

// Seen records (sender, id) and reports whether it was new.
func (tx *Tx) Seen(sender ident.AccountID, id ident.MessageID, at int64) (first bool) {
	return tx.Exec("INSERT INTO seen (sender, id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
		sender[:], id[:], at) == 1
}

// ForgetSeen drops what was received before an instant.
func (tx *Tx) ForgetSeen(before int64) { tx.Exec("DELETE FROM seen WHERE at < ?", before) }

// ConversationRow is what the messages say about one conversation.
type ConversationRow struct {
	ID       string
	Unread   int
	Mentions int // unread messages that name this account
	Last     Message
}

// Conversations returns a row for every conversation that has messages, newest first. readUpTo gives the
// sequence number in the mailbox up to which a conversation is read.
func (tx *Tx) Conversations(readUpTo func(conversation string) uint64) (out []ConversationRow) {
	tx.Query("SELECT "+messageColumns+
		" FROM messages WHERE seq IN (SELECT max(seq) FROM messages GROUP BY conversation) ORDER BY seq DESC",
		nil,
		func(s *sqlite3.Stmt) bool {
			m := scanMessage(s)
			out = append(out, ConversationRow{ID: m.Conversation, Last: m})
			return true
		})
	for i := range out {
		tx.countUnread(&out[i], readUpTo(out[i].ID))
	}
	return out
}

// Conversation is the row of one conversation; false: it has no messages.
func (tx *Tx) Conversation(id string, readUpTo uint64) (out ConversationRow, ok bool) {
	tx.Query("SELECT "+messageColumns+
		" FROM messages WHERE seq = (SELECT max(seq) FROM messages WHERE conversation = ?)", []any{id},
		func(s *sqlite3.Stmt) bool {
			out, ok = ConversationRow{ID: id, Last: scanMessage(s)}, true
			return false
		})
	if ok {
		tx.countUnread(&out, readUpTo)
	}
	return out, ok
}

func (tx *Tx) countUnread(r *ConversationRow, readUpTo uint64) {
	tx.Query("SELECT count(*), coalesce(sum(mentioned), 0) FROM messages WHERE conversation = ? "+
		"AND mine = 0 AND mailbox_seq > ? AND deleted = 0 AND notice = 0",
		[]any{r.ID, readUpTo}, func(s *sqlite3.Stmt) bool {
			r.Unread, r.Mentions = s.ColumnInt(0), s.ColumnInt(1)
			return false
		})
}

// Search returns the newest messages whose text matches an FTS5 query.
func (tx *Tx) Search(match string, limit int) (out []Message) {
	tx.Query("SELECT "+messageColumns+
		" FROM messages WHERE seq IN (SELECT rowid FROM messages_text WHERE messages_text MATCH ?) "+
		"ORDER BY seq DESC LIMIT ?",
		[]any{match, limit}, func(s *sqlite3.Stmt) bool {
			out = append(out, scanMessage(s))
			return true
		})
	return out
}
