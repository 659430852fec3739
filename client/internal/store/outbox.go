package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/ident"
)

// LegKind says what a leg carries and where it goes.
type LegKind uint8

// The kinds; their numbers are on disk. 5 and 7 stand for nothing.
const (
	LegMessage  LegKind = 1 // Body is a message to the peer's inbox
	LegCopy     LegKind = 2 // Body is a copy of a sent message for own devices
	LegReceipt  LegKind = 3 // Body is a receipt to the peer's inbox
	LegAnnounce LegKind = 4 // the device's next key for own devices; Sealed is all of it
	LegFetched  LegKind = 6 // how far the device has fetched (SentAt), for own devices
	LegDraft    LegKind = 8 // Body is a draft for own devices; Message begins with what it belongs to
	// Body is a message to the peer, a group; Certs is the generation that Sealed was made for
	LegGroup     LegKind = 9
	LegGroupCopy LegKind = 11 // Body tells own devices of a group's keys
	// Body is the hash of the message's envelope, which the group's nodes are to delete
	LegErase LegKind = 10
)

// Held is the due time of a leg that waits for another one.
const Held = int64(1) << 62

// Leg is one row of the outbox.
type Leg struct {
	ID       int64
	Kind     LegKind
	Peer     ident.PeerKey // account or group
	Message  ident.MessageID
	SentAt   int64
	Body     []byte
	Sealed   []byte // nil: to be sealed
	Certs    uint64 // head of the certificate log that Sealed was made for
	Due      int64
	Attempts int
}

// AddLeg appends l to the outbox and sets its ID.
func (tx *Tx) AddLeg(l *Leg) {
	var sealed any
	if l.Sealed != nil {
		sealed = l.Sealed
	}
	if l.Body == nil {
		l.Body = []byte{}
	}
	tx.Exec("INSERT INTO outbox (kind, peer, message, sent_at, body, sealed, certs, due) "+
		"VALUES (?,?,?,?,?,?,?,?)",
		int(l.Kind), l.Peer[:], l.Message[:], l.SentAt, l.Body, sealed, l.Certs, l.Due)
	l.ID = tx.db.conn.LastInsertRowID()
}

const legColumns = "leg, kind, peer, message, sent_at, body, sealed, certs, due, attempts"

func scanLeg(s *sqlite3.Stmt) (l Leg) {
	l.ID, l.Kind = s.ColumnInt64(0), LegKind(s.ColumnInt(1))
	copy(l.Peer[:], s.ColumnRawBlob(2))
	copy(l.Message[:], s.ColumnRawBlob(3))
	l.SentAt, l.Body = s.ColumnInt64(4), s.ColumnBlob(5, nil)
	if s.ColumnType(6) != sqlite3.NULL {
		l.Sealed = s.ColumnBlob(6, nil)
	}
	l.Certs, l.Due, l.Attempts = uint64(s.ColumnInt64(7)), s.ColumnInt64(8), s.ColumnInt(9)
	return l
}

// NextLeg returns the oldest leg to peer that is due at now. If none is, at is when the next one will be (0:
// never).
func (tx *Tx) NextLeg(peer ident.PeerKey, now int64) (l Leg, ok bool, at int64) {
	tx.Query("SELECT "+legColumns+" FROM outbox WHERE peer = ? AND due <= ? ORDER BY leg LIMIT 1",
		[]any{peer[:], now}, func(s *sqlite3.Stmt) bool {
			l, ok = scanLeg(s), true
			return false
		})
	if ok || tx.err != nil {
		return l, ok, 0
	}
	tx.Query("SELECT min(due) FROM outbox WHERE peer = ? AND due < ?", []any{peer[:], Held},
		func(s *sqlite3.Stmt) bool {
			at = s.ColumnInt64(0)
			return false
		})
	return l, false, at
}

// LegPeers returns the accounts and groups that legs go to.
func (tx *Tx) LegPeers() (out []ident.PeerKey) {
	tx.Query("SELECT DISTINCT peer FROM outbox", nil, func(s *sqlite3.Stmt) bool {
		out = append(out, ident.PeerKey(s.ColumnRawBlob(0)))
		return true
	})
	return out
}

// HasLeg reports whether leg id still waits.
func (tx *Tx) HasLeg(id int64) (ok bool) {
	tx.Query("SELECT 1 FROM outbox WHERE leg = ?", []any{id}, func(*sqlite3.Stmt) bool {
		ok = true
		return false
	})
	return ok
}

// SealLeg keeps the bytes that every retry of a leg sends. nil: seal it anew.
func (tx *Tx) SealLeg(id int64, sealed []byte, certs uint64) {
	var b any
	if sealed != nil {
		b = sealed
	}
	tx.Exec("UPDATE outbox SET sealed = ?, certs = ? WHERE leg = ?", b, certs, id)
}

// DelayLeg makes a leg due at an instant and counts an attempt.
func (tx *Tx) DelayLeg(id, due int64) {
	tx.Exec("UPDATE outbox SET due = ?, attempts = attempts + 1 WHERE leg = ?", due, id)
}

// ReleaseLegs gives the held legs of kind that belong to message a due time.
func (tx *Tx) ReleaseLegs(message ident.MessageID, kind LegKind, due int64) (released bool) {
	return tx.Exec("UPDATE outbox SET due = ? WHERE message = ? AND kind = ? AND due = ?", due, message[:],
		int(kind), Held) > 0
}

// DropHeld removes the held legs that belong to message.
func (tx *Tx) DropHeld(message ident.MessageID) {
	tx.Exec("DELETE FROM outbox WHERE message = ? AND due = ?", message[:], Held)
}

// DropLeg removes a leg.
func (tx *Tx) DropLeg(id int64) { tx.Exec("DELETE FROM outbox WHERE leg = ?", id) }

// CountLegs returns how many legs are due before an instant.
func (tx *Tx) CountLegs(due int64) (n int) {
	tx.Query("SELECT count(*) FROM outbox WHERE due <= ?", []any{due}, func(s *sqlite3.Stmt) bool {
		n = s.ColumnInt(0)
		return false
	})
	return n
}
