package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// SetRow writes a row of the sync documents; a nil value removes it.
func (tx *Tx) SetRow(key, value []byte) {
	if value == nil {
		tx.Exec("DELETE FROM documents WHERE key = ?", key)
		return
	}
	tx.Exec("INSERT INTO documents (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE "+
		"SET value = excluded.value", key, value)
}

// Rows calls f for every row of the sync documents.
func (tx *Tx) Rows(f func(key, value []byte)) {
	tx.Query("SELECT key, value FROM documents", nil, func(s *sqlite3.Stmt) bool {
		f(s.ColumnBlob(0, nil), s.ColumnBlob(1, nil))
		return true
	})
}

// Delta is a delta that lies in the account's mailbox.
type Delta struct {
	Seq      uint64
	Hash     envelope.Hash
	Size     int
	StoredAt int64 // by the node's clock
}

// AddDelta remembers a delta in the mailbox.
func (tx *Tx) AddDelta(d Delta) {
	tx.Exec("INSERT INTO deltas (seq, hash, size, stored_at) VALUES (?,?,?,?) ON CONFLICT DO NOTHING", d.Seq,
		d.Hash[:], d.Size, d.StoredAt)
}

// Deltas returns the deltas up to a sequence number, oldest first.
func (tx *Tx) Deltas(upTo uint64) (out []Delta) {
	tx.Query("SELECT seq, hash, size, stored_at FROM deltas WHERE seq <= ? ORDER BY seq", []any{upTo},
		func(s *sqlite3.Stmt) bool {
			out = append(out, Delta{Seq: uint64(s.ColumnInt64(0)), Hash: envelope.Hash(s.ColumnRawBlob(1)),
				Size: s.ColumnInt(2), StoredAt: s.ColumnInt64(3)})
			return true
		})
	return out
}

// DropDeltas forgets deltas up to a sequence number: a snapshot contains them.
func (tx *Tx) DropDeltas(upTo uint64) { tx.Exec("DELETE FROM deltas WHERE seq <= ?", upTo) }

// DropDelta forgets one delta.
func (tx *Tx) DropDelta(seq uint64) { tx.Exec("DELETE FROM deltas WHERE seq = ?", seq) }

// CountDeltas returns how many deltas there are, and their bytes.
func (tx *Tx) CountDeltas() (n, size int) {
	tx.Query("SELECT count(*), coalesce(sum(size), 0) FROM deltas", nil, func(s *sqlite3.Stmt) bool {
		n, size = s.ColumnInt(0), s.ColumnInt(1)
		return false
	})
	return n, size
}

// KeepUnverified keeps an envelope to be opened again when its sender's certificates are known.
func (tx *Tx) KeepUnverified(seq uint64, sender ident.AccountID, envelope []byte) {
	tx.Exec("INSERT INTO unverified (seq, sender, envelope) VALUES (?,?,?) ON CONFLICT DO NOTHING", seq,
		sender[:], envelope)
}

// Unverified returns the kept envelopes of a sender, oldest first.
func (tx *Tx) Unverified(sender ident.AccountID) (out [][]byte) {
	tx.Query("SELECT envelope FROM unverified WHERE sender = ? ORDER BY seq", []any{sender[:]},
		func(s *sqlite3.Stmt) bool {
			out = append(out, s.ColumnBlob(0, nil))
			return true
		})
	return out
}

// UnverifiedSenders returns the approved or named accounts of which unverified envelopes are kept.
func (tx *Tx) UnverifiedSenders() (out []ident.AccountID) {
	tx.Query("SELECT DISTINCT sender FROM unverified JOIN peers ON account = sender WHERE approved = 1 OR "+
		"named = 1", nil, func(s *sqlite3.Stmt) bool {
		out = append(out, ident.AccountID(s.ColumnRawBlob(0)))
		return true
	})
	return out
}

// DropUnverified forgets a kept envelope.
func (tx *Tx) DropUnverified(seq uint64) { tx.Exec("DELETE FROM unverified WHERE seq = ?", seq) }

// CountDeltasSince returns how many deltas were stored after an instant.
func (tx *Tx) CountDeltasSince(at int64) (n int) {
	tx.Query("SELECT count(*) FROM deltas WHERE stored_at > ?", []any{at}, func(s *sqlite3.Stmt) bool {
		n = s.ColumnInt(0)
		return false
	})
	return n
}
