package store

import (
	"encoding/binary"

	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// A history on its way to another device is planned once: each chunk is a list of refs to rows, so that a
// sender that was interrupted goes on with the same chunks, whatever changed meanwhile.

// RefKind says what a Ref names.
type RefKind uint8

const (
	RefMessage RefKind = 1 // Seq
	RefPeer    RefKind = 2 // Account
	RefChanges RefKind = 3 // what was done to the message ID of Account
)

// Ref names what of the store goes into a history.
type Ref struct {
	Kind    RefKind
	Seq     int64
	Account ident.AccountID
	ID      ident.MessageID
	Size    int // bytes, about; only in a plan
}

// encodeRefs and decodeRefs are the column refs: kind u8, then seq u64, account 33, or message ID 16 and
// account 33.
func encodeRefs(refs []Ref) (out []byte) {
	for _, r := range refs {
		out = append(out, byte(r.Kind))
		switch r.Kind {
		case RefMessage:
			out = binary.BigEndian.AppendUint64(out, uint64(r.Seq))
		case RefPeer:
			out = append(out, r.Account[:]...)
		case RefChanges:
			out = append(append(out, r.ID[:]...), r.Account[:]...)
		}
	}
	return out
}

func decodeRefs(b []byte) (out []Ref, err error) {
	bad := fault.New(fault.Corrupt, "read history plan", "malformed")
	for len(b) > 0 {
		r := Ref{Kind: RefKind(b[0])}
		n := map[RefKind]int{RefMessage: 8, RefPeer: 33, RefChanges: 16 + 33}[r.Kind]
		if n == 0 || len(b) < 1+n {
			return nil, bad
		}
		p := b[1 : 1+n]
		switch r.Kind {
		case RefMessage:
			r.Seq = int64(binary.BigEndian.Uint64(p))
		case RefPeer:
			copy(r.Account[:], p)
		case RefChanges:
			copy(r.ID[:], p)
			copy(r.Account[:], p[16:])
		}
		out, b = append(out, r), b[1+n:]
	}
	return out, nil
}

// recentOfEach is how many messages of every conversation come before the rest of any.
const recentOfEach = 20

// PlanHistory returns everything that a device that joined lacks, in the order in which it should come: the
// newest message of every conversation, the newest few of each, people, and then the rest, newest first.
// conversations is how many there are, top the largest seq.
func (tx *Tx) PlanHistory() (refs []Ref, messages, conversations int, top int64) {
	changed := tx.changedMessages()
	peers := tx.planPeers()
	tx.Query("SELECT seq, id, sender, size, rank FROM (SELECT seq, id, sender, length(body) AS size, "+
		"row_number() OVER latest AS rank, max(seq) OVER (PARTITION BY conversation) AS last FROM messages "+
		"WINDOW latest AS (PARTITION BY conversation ORDER BY seq DESC)) ORDER BY rank > 1, rank > ?, "+
		"CASE WHEN rank <= ? THEN last END DESC, seq DESC", []any{recentOfEach,
		recentOfEach}, func(s *sqlite3.Stmt) bool {
		r := Ref{Kind: RefMessage, Seq: s.ColumnInt64(0), Size: s.ColumnInt(3) + 200}
		copy(r.ID[:], s.ColumnRawBlob(1))
		copy(r.Account[:], s.ColumnRawBlob(2))
		rank := s.ColumnInt64(4)
		if rank > recentOfEach {
			refs, peers = append(refs, peers...), nil
		}
		refs = append(refs, r)
		key := changedKey{r.ID, r.Account}
		if size, ok := changed[key]; ok {
			refs = append(refs, Ref{Kind: RefChanges, ID: r.ID, Account: r.Account, Size: size})
			delete(changed, key)
		}
		messages++
		if rank == 1 {
			conversations++
		}
		top = max(top, r.Seq)
		return true
	})
	refs = append(refs, peers...)
	for key, size := range changed { // their messages are gone, or have not come
		refs = append(refs, Ref{Kind: RefChanges, ID: key.id, Account: key.author, Size: size})
	}
	return refs, messages, conversations, top
}

type changedKey struct {
	id     ident.MessageID
	author ident.AccountID
}

// changedMessages returns what has changes or reactions, with their size.
func (tx *Tx) changedMessages() map[changedKey]int {
	out := map[changedKey]int{}
	for _, sql := range []string{
		"SELECT message, author, sum(length(body) + 200) FROM changes GROUP BY message, author",
		"SELECT message, author, count(*) * 260 FROM reactions GROUP BY message, author",
	} {
		tx.Query(sql, nil, func(s *sqlite3.Stmt) bool {
			var k changedKey
			copy(k.id[:], s.ColumnRawBlob(0))
			copy(k.author[:], s.ColumnRawBlob(1))
			out[k] += s.ColumnInt(2)
			return true
		})
	}
	return out
}

func (tx *Tx) planPeers() (refs []Ref) {
	tx.Query("SELECT account, coalesce(length(chain), 0) + length(name) FROM peers ORDER BY account", nil,
		func(s *sqlite3.Stmt) bool {
			r := Ref{Kind: RefPeer, Size: s.ColumnInt(1) + 100}
			copy(r.Account[:], s.ColumnRawBlob(0))
			refs = append(refs, r)
			return true
		})
	return refs
}

// HistoryOut is a history on its way to another device.
type HistoryOut struct {
	Device   ident.DeviceID
	Manifest []byte
	Stage    int // counts up; HistoryDone: everything is stored
	Messages int // that are stored
}

// HistoryDone is the last stage of a history, in both directions.
const HistoryDone = 100

// AddHistoryOut keeps a plan; one for the same device is replaced.
func (tx *Tx) AddHistoryOut(device ident.DeviceID, manifest []byte, chunks [][]Ref) {
	tx.DropHistoryOut(device)
	tx.Exec("INSERT INTO history_out (device, manifest, stage) VALUES (?,?,0)", device[:], manifest)
	for n, refs := range chunks {
		tx.setChunk(device, n, refs)
	}
}

func (tx *Tx) setChunk(device ident.DeviceID, n int, refs []Ref) {
	messages := 0
	for _, r := range refs {
		if r.Kind == RefMessage {
			messages++
		}
	}
	b := encodeRefs(refs)
	if b == nil {
		b = []byte{}
	}
	tx.Exec("INSERT INTO history_chunks (device, n, refs, messages) VALUES (?,?,?,?) ON CONFLICT (device, "+
		"n) DO UPDATE SET refs = excluded.refs, messages = excluded.messages", device[:], n, b, messages)
}

// SpillChunk keeps only the first refs in a chunk and moves the rest into a new one at the end.
func (tx *Tx) SpillChunk(device ident.DeviceID, n int, keep, rest []Ref) {
	tx.setChunk(device, n, keep)
	next := 0
	tx.Query("SELECT max(n) + 1 FROM history_chunks WHERE device = ?", []any{device[:]},
		func(s *sqlite3.Stmt) bool {
			next = s.ColumnInt(0)
			return false
		})
	tx.setChunk(device, next, rest)
}

// HistoriesOut returns the histories on their way, and those that are done.
func (tx *Tx) HistoriesOut() (out []HistoryOut) {
	tx.Query("SELECT device, manifest, stage, (SELECT coalesce(sum(messages), 0) FROM history_chunks c "+
		"WHERE c.device = o.device AND sent = 1) FROM history_out o", nil, func(s *sqlite3.Stmt) bool {
		h := HistoryOut{Manifest: s.ColumnBlob(1, nil), Stage: s.ColumnInt(2), Messages: s.ColumnInt(3)}
		copy(h.Device[:], s.ColumnRawBlob(0))
		out = append(out, h)
		return true
	})
	return out
}

// SetHistoryOut moves a history on. When it is done its plan goes, but for the number of messages.
func (tx *Tx) SetHistoryOut(device ident.DeviceID, stage int) {
	tx.Exec("UPDATE history_out SET stage = ? WHERE device = ?", stage, device[:])
	if stage == HistoryDone {
		tx.Exec("UPDATE history_chunks SET refs = x'' WHERE device = ?", device[:])
	}
}

// DropHistoryOut forgets a history.
func (tx *Tx) DropHistoryOut(device ident.DeviceID) {
	tx.Exec("DELETE FROM history_out WHERE device = ?", device[:])
	tx.Exec("DELETE FROM history_chunks WHERE device = ?", device[:])
}

// UnsentChunks returns the numbers of the chunks that are not stored, in order, and how many there are in
// all.
func (tx *Tx) UnsentChunks(device ident.DeviceID) (unsent []int, all int) {
	tx.Query("SELECT n, sent FROM history_chunks WHERE device = ? ORDER BY n", []any{device[:]},
		func(s *sqlite3.Stmt) bool {
			if all++; s.ColumnInt(1) == 0 {
				unsent = append(unsent, s.ColumnInt(0))
			}
			return true
		})
	return unsent, all
}

// Chunk returns what a chunk takes.
func (tx *Tx) Chunk(device ident.DeviceID, n int) (refs []Ref, err error) {
	tx.Query("SELECT refs FROM history_chunks WHERE device = ? AND n = ?", []any{device[:], n},
		func(s *sqlite3.Stmt) bool {
			refs, err = decodeRefs(s.ColumnBlob(0, nil))
			return false
		})
	return refs, err
}

// ChunkSent records that a chunk is stored.
func (tx *Tx) ChunkSent(device ident.DeviceID, n int) {
	tx.Exec("UPDATE history_chunks SET sent = 1 WHERE device = ? AND n = ?", device[:], n)
}

// HistoryIn is a history on its way from another device.
type HistoryIn struct {
	Transfer [16]byte
	Manifest []byte
	Stage    int
	Cursor   uint64 // sequence number in the one-time mailbox up to which chunks are taken in
	Floor    int64  // the seq that the sender's largest becomes; 0: not begun
	Messages int    // that came
	Have     []byte // one bit for each chunk, the lowest of a byte first
	Chunks   int    // how many there are; 0: not known yet
}

// AddHistoryIn keeps a manifest, once.
func (tx *Tx) AddHistoryIn(transfer [16]byte, manifest []byte, at int64) bool {
	return tx.Exec("INSERT INTO history_in (transfer, manifest, told_at) VALUES (?,?,?) "+
		"ON CONFLICT DO NOTHING", transfer[:], manifest, at) == 1
}

// HistoriesIn returns the histories on their way, and those that are done, the oldest first.
func (tx *Tx) HistoriesIn() (out []HistoryIn) {
	tx.Query("SELECT transfer, manifest, stage, cursor, floor, messages, have, chunks FROM history_in "+
		"ORDER BY told_at, transfer", nil, func(s *sqlite3.Stmt) bool {
		h := HistoryIn{Manifest: s.ColumnBlob(1, nil), Stage: s.ColumnInt(2),
			Cursor: uint64(s.ColumnInt64(3)), Floor: s.ColumnInt64(4),
			Messages: s.ColumnInt(5), Have: s.ColumnBlob(6, nil), Chunks: s.ColumnInt(7)}
		copy(h.Transfer[:], s.ColumnRawBlob(0))
		out = append(out, h)
		return true
	})
	return out
}

// SaveHistoryIn writes back what of a history can change.
func (tx *Tx) SaveHistoryIn(h *HistoryIn) {
	have := h.Have
	if have == nil {
		have = []byte{}
	}
	tx.Exec("UPDATE history_in SET stage = ?, cursor = ?, floor = ?, messages = ?, have = ?, chunks = ? "+
		"WHERE transfer = ?",
		h.Stage, h.Cursor, h.Floor, h.Messages, have, h.Chunks, h.Transfer[:])
}

// HistoryFloor is a seq below every message here and every one that will come.
func (tx *Tx) HistoryFloor() (floor int64) {
	tx.Query("SELECT coalesce((SELECT min(seq) - 1 FROM messages), (SELECT seq FROM sqlite_sequence "+
		"WHERE name = 'messages'))", nil, func(s *sqlite3.Stmt) bool {
		floor = s.ColumnInt64(0)
		return false
	})
	return floor
}

// InsertHistory inserts m under the seq in it. It returns false, and changes nothing, if sender and ID are
// known.
func (tx *Tx) InsertHistory(m *Message) bool {
	if m.Seq <= 0 {
		tx.fail(fault.New(fault.Corrupt, "insert history", "order of message %s is out of range",
			m.ID.Short()))
		return false
	}
	var reply any
	if m.ReplyTo != nil {
		reply = m.ReplyTo[:]
	}
	if m.Body == nil {
		m.Body = []byte{}
	}
	return tx.Exec("INSERT INTO messages (seq, id, sender, conversation, mine, request, unverified, text, "+
		"body, sent_at, received_at, edited, deleted, reply_to, handed_out, state, stored_at, "+
		"delivered_at, read_at, mailbox_seq, expires_at, expire_after, notice, mentioned) VALUES "+
		"(?,?,?,?,?,?,?,?,?,?,?,?,?,?,1,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
		m.Seq, m.ID[:], m.Sender[:], m.Conversation, m.Mine, m.Request, m.Unverified, m.Text, m.Body,
		m.SentAt, m.ReceivedAt, m.Edited, m.Deleted, reply,
		int(m.State), m.StoredAt, m.DeliveredAt, m.ReadAt, m.MailboxSeq, m.ExpiresAt, m.ExpireAfter, m.Notice,
		m.Mentioned) == 1
}

// MessageAt returns the message with a seq.
func (tx *Tx) MessageAt(seq int64) (m Message, ok bool) {
	tx.Query("SELECT "+messageColumns+" FROM messages WHERE seq = ?", []any{seq}, func(s *sqlite3.Stmt) bool {
		m, ok = scanMessage(s), true
		return false
	})
	return m, ok
}

// AllReactions returns the newest change of every emoji on a message, those that were taken back too.
func (tx *Tx) AllReactions(message ident.MessageID, author ident.AccountID) (out []Reaction) {
	tx.Query("SELECT sender, emoji, conversation, at, change, removed FROM reactions WHERE message = ? "+
		"AND author = ?", []any{message[:], author[:]},
		func(s *sqlite3.Stmt) bool {
			out = append(out, Reaction{Message: message, Author: author,
				Sender: ident.AccountID(s.ColumnRawBlob(0)), Emoji: s.ColumnText(1),
				Conversation: s.ColumnText(2),
				Stamp:        Stamp{At: s.ColumnInt64(3), Change: ident.MessageID(s.ColumnRawBlob(4))},
				Removed:      s.ColumnBool(5)})
			return true
		})
	return out
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}
