package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/ident"
)

// Peer is what is known of another account.
type Peer struct {
	Account   ident.AccountID
	Approved  bool
	Named     bool
	Name      string
	NameAt    int64
	Chain     []byte
	CertsHead uint64
	KnowsG    uint32
	FloorG    uint32
	FloorDay  uint32
	Record    []byte
	ToldAt    int64

	Before      []byte
	ContestedAt int64
}

const peerColumns = "account, approved, named, name, name_at, chain, certs_head, knows_g, floor_g, " +
	"floor_day, record, told_at, before, contested_at"

func scanPeer(s *sqlite3.Stmt) (p Peer) {
	copy(p.Account[:], s.ColumnRawBlob(0))
	p.Approved, p.Named, p.Name, p.NameAt = s.ColumnBool(1), s.ColumnBool(2), s.ColumnText(3),
		s.ColumnInt64(4)
	p.Chain, p.CertsHead = s.ColumnBlob(5, nil), uint64(s.ColumnInt64(6))
	p.KnowsG, p.FloorG, p.FloorDay = uint32(s.ColumnInt64(7)), uint32(s.ColumnInt64(8)),
		uint32(s.ColumnInt64(9))
	p.Record, p.ToldAt = s.ColumnBlob(10, nil), s.ColumnInt64(11)
	p.Before, p.ContestedAt = s.ColumnBlob(12, nil), s.ColumnInt64(13)
	return p
}

// Peer returns what is known of an account; a zero Peer with its ID if nothing is.
func (tx *Tx) Peer(a ident.AccountID) (p Peer) {
	p.Account = a
	tx.Query("SELECT "+peerColumns+" FROM peers WHERE account = ?", []any{a[:]}, func(s *sqlite3.Stmt) bool {
		p = scanPeer(s)
		return false
	})
	return p
}

// Peers returns everything known of other accounts.
func (tx *Tx) Peers() (out []Peer) {
	tx.Query("SELECT "+peerColumns+" FROM peers ORDER BY account", nil, func(s *sqlite3.Stmt) bool {
		out = append(out, scanPeer(s))
		return true
	})
	return out
}

// SavePeer writes p.
func (tx *Tx) SavePeer(p *Peer) {
	blob := func(b []byte) any {
		if len(b) == 0 {
			return nil
		}
		return b
	}
	tx.Exec("INSERT INTO peers ("+peerColumns+
		") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (account) DO UPDATE SET "+
		"approved = excluded.approved, named = excluded.named, name = excluded.name, "+
		"name_at = excluded.name_at, chain = excluded.chain, certs_head = excluded.certs_head, "+
		"knows_g = excluded.knows_g, floor_g = excluded.floor_g, floor_day = excluded.floor_day, "+
		"record = excluded.record, told_at = excluded.told_at, before = excluded.before, "+
		"contested_at = excluded.contested_at",
		p.Account[:], p.Approved, p.Named, p.Name, p.NameAt, blob(p.Chain), p.CertsHead, p.KnowsG, p.FloorG,
		p.FloorDay, blob(p.Record), p.ToldAt, blob(p.Before), p.ContestedAt)
}

// PeerEvent is something that happened to an account.
type PeerEvent struct {
	Kind string
	G    uint32
	At   int64
}

// AddPeerEvent records e once.
func (tx *Tx) AddPeerEvent(a ident.AccountID, e PeerEvent) bool {
	return tx.Exec("INSERT INTO peer_events (account, kind, g, at) VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
		a[:], e.Kind, e.G, e.At) == 1
}

// PeerEvents returns what happened to an account, oldest first.
func (tx *Tx) PeerEvents(a ident.AccountID) (out []PeerEvent) {
	tx.Query("SELECT kind, g, at FROM peer_events WHERE account = ? ORDER BY g", []any{a[:]},
		func(s *sqlite3.Stmt) bool {
			out = append(out, PeerEvent{Kind: s.ColumnText(0), G: uint32(s.ColumnInt64(1)),
				At: s.ColumnInt64(2)})
			return true
		})
	return out
}

// Look is an account whose certificates are to be read again, and the contest that came for a recovery which
// was not known then (nil: none).
type Look struct {
	Account  ident.AccountID
	Contest  []byte
	StoredAt int64
}

// AddLook keeps l; a contest is not replaced by none.
func (tx *Tx) AddLook(l Look) {
	var contest any
	if l.Contest != nil {
		contest = l.Contest
	}
	tx.Exec("INSERT INTO looks (account, contest, stored_at) VALUES (?,?,?) ON CONFLICT (account) "+
		"DO UPDATE SET contest = coalesce(excluded.contest, contest), stored_at = max(excluded.stored_at, "+
		"stored_at)",
		l.Account[:], contest, l.StoredAt)
}

// Looks returns what AddLook kept.
func (tx *Tx) Looks() (out []Look) {
	tx.Query("SELECT account, contest, stored_at FROM looks ORDER BY account", nil,
		func(s *sqlite3.Stmt) bool {
			l := Look{StoredAt: s.ColumnInt64(2)}
			copy(l.Account[:], s.ColumnRawBlob(0))
			if b := s.ColumnBlob(1, nil); len(b) > 0 {
				l.Contest = b
			}
			out = append(out, l)
			return true
		})
	return out
}

// DropLook removes what AddLook kept of an account.
func (tx *Tx) DropLook(a ident.AccountID) { tx.Exec("DELETE FROM looks WHERE account = ?", a[:]) }

// LastMessageAt is when the newest message of a conversation came or was written; 0: there is none.
func (tx *Tx) LastMessageAt(conversation string) (at int64) {
	tx.Query("SELECT coalesce(max(received_at), 0) FROM messages WHERE conversation = ?", []any{conversation},
		func(s *sqlite3.Stmt) bool {
			at = s.ColumnInt64(0)
			return false
		})
	return at
}
