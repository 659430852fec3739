package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/ident"
)

// GroupErrand is something that this device has to do for a group when its time has come. Kinds are those of
// package client; a group has one errand of each kind at most.
type GroupErrand struct {
	Group ident.GroupID
	Kind  string
	Due   int64 // ms
	Note  []byte
}

// SetGroupErrand puts an errand in the place of the one of its kind.
func (tx *Tx) SetGroupErrand(e GroupErrand) {
	if e.Note == nil {
		e.Note = []byte{}
	}
	tx.Exec("INSERT INTO group_errands (grp, kind, due, note) VALUES (?,?,?,?) ON CONFLICT (grp, kind) "+
		"DO UPDATE SET due = excluded.due, note = excluded.note",
		e.Group[:], e.Kind, e.Due, e.Note)
}

// GroupErrands returns all errands, the one that is due first before the others.
func (tx *Tx) GroupErrands() (out []GroupErrand) {
	tx.Query("SELECT grp, kind, due, note FROM group_errands ORDER BY due, grp, kind", nil,
		func(s *sqlite3.Stmt) bool {
			out = append(out, GroupErrand{ident.GroupID(s.ColumnRawBlob(0)), s.ColumnText(1),
				s.ColumnInt64(2),
				s.ColumnBlob(3, nil)})
			return true
		})
	return out
}

// GroupErrand returns one errand.
func (tx *Tx) GroupErrand(id ident.GroupID, kind string) (e GroupErrand, ok bool) {
	tx.Query("SELECT due, note FROM group_errands WHERE grp = ? AND kind = ?", []any{id[:], kind},
		func(s *sqlite3.Stmt) bool {
			e, ok = GroupErrand{id, kind, s.ColumnInt64(0), s.ColumnBlob(1, nil)}, true
			return false
		})
	return e, ok
}

// DropGroupErrands forgets errands of a group, all of them if no kind is named.
func (tx *Tx) DropGroupErrands(id ident.GroupID, kinds ...string) {
	if len(kinds) == 0 {
		tx.Exec("DELETE FROM group_errands WHERE grp = ?", id[:])
	}
	for _, kind := range kinds {
		tx.Exec("DELETE FROM group_errands WHERE grp = ? AND kind = ?", id[:], kind)
	}
}

// GroupHandover is what came to enter a group with, and was not used yet.
type GroupHandover struct {
	N       int64
	Group   ident.GroupID
	Welcome bool // from an admin, for a member that lost its keys; else from another own device
	Body    []byte
}

// AddGroupHandover keeps a handover.
func (tx *Tx) AddGroupHandover(h GroupHandover) {
	tx.Exec("INSERT INTO group_handovers (grp, welcome, body) VALUES (?,?,?)", h.Group[:], h.Welcome, h.Body)
}

// GroupHandovers returns the handovers that wait, the newest first.
func (tx *Tx) GroupHandovers() (out []GroupHandover) {
	tx.Query("SELECT n, grp, welcome, body FROM group_handovers ORDER BY n DESC", nil,
		func(s *sqlite3.Stmt) bool {
			out = append(out, GroupHandover{s.ColumnInt64(0), ident.GroupID(s.ColumnRawBlob(1)),
				s.ColumnBool(2),
				s.ColumnBlob(3, nil)})
			return true
		})
	return out
}

// DropGroupHandover erases a handover, DropGroupHandovers all of a group.
func (tx *Tx) DropGroupHandover(n int64) { tx.Exec("DELETE FROM group_handovers WHERE n = ?", n) }

// DropGroupHandovers is described at DropGroupHandover.
func (tx *Tx) DropGroupHandovers(id ident.GroupID) {
	tx.Exec("DELETE FROM group_handovers WHERE grp = ?", id[:])
}

// GroupVouch is whether the account of a member answers for the member's key. Joined tells one stay from the
// next.
type GroupVouch struct {
	Group   ident.GroupID
	Account ident.AccountID
	Joined  uint64
	Good    bool
}

// GroupVouched returns what was found of a member; ok is false if nothing was.
func (tx *Tx) GroupVouched(id ident.GroupID, account ident.AccountID, joined uint64) (good, ok bool) {
	tx.Query("SELECT good FROM group_vouches WHERE grp = ? AND account = ? AND joined = ?",
		[]any{id[:], account[:], joined}, func(s *sqlite3.Stmt) bool {
			good, ok = s.ColumnBool(0), true
			return false
		})
	return good, ok
}

// SaveGroupVouch keeps what was found of a member, in the place of what was found of its earlier stays.
func (tx *Tx) SaveGroupVouch(v GroupVouch) {
	tx.Exec("DELETE FROM group_vouches WHERE grp = ? AND account = ? AND joined < ?", v.Group[:],
		v.Account[:], v.Joined)
	tx.Exec("INSERT INTO group_vouches (grp, account, joined, good) VALUES (?,?,?,?) ON CONFLICT (grp, "+
		"account, joined) DO UPDATE SET good = excluded.good",
		v.Group[:], v.Account[:], v.Joined, v.Good)
}

// UnverifiedGroupSenders returns who has messages in a group that are marked so.
func (tx *Tx) UnverifiedGroupSenders(conversation string) (out []ident.AccountID) {
	tx.Query("SELECT DISTINCT sender FROM messages WHERE conversation = ? AND unverified = 1",
		[]any{conversation}, func(s *sqlite3.Stmt) bool {
			out = append(out, ident.AccountID(s.ColumnRawBlob(0)))
			return true
		})
	return out
}
