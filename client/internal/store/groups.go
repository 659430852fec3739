package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Group is one closed group that this account has, or had, to do with.
type Group struct {
	ID     ident.GroupID
	Status string
	Since  int64  // when it came to this device, ms
	Name   string // as last known

	// sequence number in the group's mailbox up to which log, messages and notices were taken in
	Cursor      uint64
	HeadSeq     uint64 // sequence number of the newest commit that was taken in; 0: not known
	AdminCursor uint64 // as Cursor, for leaves and requests

	Invitation []byte // groups.Invitation that waits, or by which the account asks to join
	Keys       []byte // groups.Keys of a join under way
	Request    []byte // the request to join, as it is stored; nil: none
	Asked      bool   // it was acknowledged
	Cause      string // why the account is not in at once, or cannot come in

	// the generation that left the account out, or by which it left; older invitations are void
	Past    uint32
	Leaving bool   // left, and no admin has finished it yet
	Warning string // what is wrong with the log or the mailbox; "": nothing
}

const groupColumns = "id, status, since, name, cursor, head_seq, admin_cursor, invitation, keys, request, " +
	"asked, past, leaving, warning, cause"

func scanGroup(s *sqlite3.Stmt) (g Group) {
	copy(g.ID[:], s.ColumnRawBlob(0))
	g.Status, g.Since, g.Name = s.ColumnText(1), s.ColumnInt64(2), s.ColumnText(3)
	g.Cursor, g.HeadSeq, g.AdminCursor = uint64(s.ColumnInt64(4)), uint64(s.ColumnInt64(5)),
		uint64(s.ColumnInt64(6))
	g.Invitation, g.Keys, g.Request, g.Asked = column(s, 7), column(s, 8), column(s, 9), s.ColumnBool(10)
	g.Past, g.Leaving, g.Warning = uint32(s.ColumnInt64(11)), s.ColumnBool(12), s.ColumnText(13)
	g.Cause = s.ColumnText(14)
	return g
}

// column returns a blob, nil for NULL.
func column(s *sqlite3.Stmt, i int) []byte {
	if s.ColumnType(i) == sqlite3.NULL {
		return nil
	}
	return s.ColumnBlob(i, nil)
}

// null returns NULL for nil.
func null(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// Group returns one group.
func (tx *Tx) Group(id ident.GroupID) (g Group, ok bool) {
	tx.Query("SELECT "+groupColumns+" FROM closed_groups WHERE id = ?", []any{id[:]},
		func(s *sqlite3.Stmt) bool {
			g, ok = scanGroup(s), true
			return false
		})
	return g, ok
}

// GroupIDs returns all groups, newest first.
func (tx *Tx) GroupIDs() (out []ident.GroupID) {
	tx.Query("SELECT id FROM closed_groups ORDER BY since DESC, id", nil, func(s *sqlite3.Stmt) bool {
		out = append(out, ident.GroupID(s.ColumnRawBlob(0)))
		return true
	})
	return out
}

// SaveGroup writes a group.
func (tx *Tx) SaveGroup(g *Group) {
	tx.Exec("INSERT INTO closed_groups (id, status, since, name, cursor, head_seq, admin_cursor, "+
		"invitation, keys, request, asked, past, leaving, warning, cause) "+
		"VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET status = excluded.status, "+
		"since = excluded.since, name = excluded.name, cursor = excluded.cursor, "+
		"head_seq = excluded.head_seq, admin_cursor = excluded.admin_cursor, "+
		"invitation = excluded.invitation, keys = excluded.keys, request = excluded.request, "+
		"asked = excluded.asked, past = excluded.past, leaving = excluded.leaving, "+
		"warning = excluded.warning, cause = excluded.cause",
		g.ID[:], g.Status, g.Since, g.Name, g.Cursor, g.HeadSeq, g.AdminCursor, null(g.Invitation),
		null(g.Keys), null(g.Request), g.Asked, g.Past, g.Leaving,
		g.Warning, g.Cause)
}

// DropGroup forgets a group that the account was only invited to.
func (tx *Tx) DropGroup(id ident.GroupID) {
	tx.Exec("DELETE FROM closed_groups WHERE id = ?", id[:])
	tx.DropGroupErrands(id)
}

// GroupState returns the secret state of a group, nil if there is none.
func (tx *Tx) GroupState(id ident.GroupID) (state []byte) {
	tx.Query("SELECT state FROM group_states WHERE grp = ?", []any{id[:]}, func(s *sqlite3.Stmt) bool {
		state = s.ColumnBlob(0, nil)
		return false
	})
	return state
}

// SaveGroupState writes the secret state of a group; nil erases it.
func (tx *Tx) SaveGroupState(id ident.GroupID, state []byte) {
	if state == nil {
		tx.Exec("DELETE FROM group_states WHERE grp = ?", id[:])
		return
	}
	tx.Exec("INSERT INTO group_states (grp, state) VALUES (?, ?) ON CONFLICT (grp) DO UPDATE "+
		"SET state = excluded.state", id[:], state)
}

// GroupChange is something that this device wants to change of a group.
type GroupChange struct {
	N     int64
	Group ident.GroupID
	Want  []byte   // what, as package client encodes it
	Since int64    // ms
	Tried [32]byte // hash of the commit that may have gone out for it; zero: none
	Cause string   // what the last attempt met
}

// AddGroupChange appends a change and sets its N.
func (tx *Tx) AddGroupChange(ch *GroupChange) {
	tx.Exec("INSERT INTO group_changes (grp, want, since) VALUES (?,?,?)", ch.Group[:], ch.Want, ch.Since)
	ch.N = tx.db.conn.LastInsertRowID()
}

// GroupChanges returns what is wanted of a group, oldest first.
func (tx *Tx) GroupChanges(id ident.GroupID) (out []GroupChange) {
	tx.Query("SELECT n, grp, want, since, tried, cause FROM group_changes WHERE grp = ? ORDER BY n",
		[]any{id[:]}, func(s *sqlite3.Stmt) bool {
			ch := GroupChange{N: s.ColumnInt64(0), Group: ident.GroupID(s.ColumnRawBlob(1)),
				Want: s.ColumnBlob(2, nil), Since: s.ColumnInt64(3), Cause: s.ColumnText(5)}
			copy(ch.Tried[:], s.ColumnRawBlob(4))
			out = append(out, ch)
			return true
		})
	return out
}

// SaveGroupChange writes what an attempt at a change leaves behind.
func (tx *Tx) SaveGroupChange(ch *GroupChange) {
	tx.Exec("UPDATE group_changes SET want = ?, tried = ?, cause = ? WHERE n = ?", ch.Want,
		ch.Tried[:], ch.Cause, ch.N)
}

// DropGroupChange forgets a change and reports whether it was there.
func (tx *Tx) DropGroupChange(n int64) bool {
	return tx.Exec("DELETE FROM group_changes WHERE n = ?", n) > 0
}

// CountGroupChanges returns how many changes, requests to join and joins without a request wait to leave in
// all groups.
func (tx *Tx) CountGroupChanges() (n int) {
	tx.Query("SELECT (SELECT count(*) FROM group_changes) + (SELECT count(*) FROM closed_groups "+
		"WHERE asked = 0 AND (request IS NOT NULL OR status = 'waiting'))", nil, func(s *sqlite3.Stmt) bool {
		n = s.ColumnInt(0)
		return false
	})
	return n
}

// GroupAsk is something that somebody asks the admins of a group for. Kinds are those of package client.
type GroupAsk struct {
	N       int64
	Group   ident.GroupID
	Kind    string
	Account ident.AccountID // who asks, as far as known
	Body    []byte
	At      int64 // ms
	Held    bool  // it waits for an admin's word
}

// AddGroupAsk keeps a request; the same one twice changes nothing.
func (tx *Tx) AddGroupAsk(a *GroupAsk) bool {
	n := tx.Exec("INSERT INTO group_asks (grp, kind, account, body, at, held) VALUES (?,?,?,?,?,?) "+
		"ON CONFLICT DO NOTHING",
		a.Group[:], a.Kind, a.Account[:], a.Body, a.At, a.Held)
	a.N = tx.db.conn.LastInsertRowID()
	return n == 1
}

// GroupAsks returns what is asked of a group, oldest first.
func (tx *Tx) GroupAsks(id ident.GroupID) (out []GroupAsk) {
	tx.Query("SELECT n, grp, kind, account, body, at, held FROM group_asks WHERE grp = ? ORDER BY n",
		[]any{id[:]}, func(s *sqlite3.Stmt) bool {
			a := GroupAsk{N: s.ColumnInt64(0), Group: ident.GroupID(s.ColumnRawBlob(1)),
				Kind: s.ColumnText(2),
				Body: s.ColumnBlob(4, nil), At: s.ColumnInt64(5), Held: s.ColumnBool(6)}
			copy(a.Account[:], s.ColumnRawBlob(3))
			out = append(out, a)
			return true
		})
	return out
}

// SaveGroupAsk writes who asks, and whether it waits for an admin's word.
func (tx *Tx) SaveGroupAsk(a *GroupAsk) {
	tx.Exec("UPDATE group_asks SET account = ?, held = ? WHERE n = ?", a.Account[:], a.Held, a.N)
}

// DropGroupAsk forgets a request.
func (tx *Tx) DropGroupAsk(n int64) { tx.Exec("DELETE FROM group_asks WHERE n = ?", n) }

// DropGroupWork forgets what others asked for and what this device invited with: the account is no member any
// more.
func (tx *Tx) DropGroupWork(id ident.GroupID) {
	tx.Exec("DELETE FROM group_asks WHERE grp = ?", id[:])
	tx.Exec("DELETE FROM group_links WHERE grp = ?", id[:])
}

// GroupLink is the secret of an invitation that this device made.
type GroupLink struct {
	Serial uint64
	Seed   private.Key
	Pin    []byte // 16 bytes of the link's text once the cluster has what it leads to; nil before
}

// AddGroupLink keeps the seed of an invitation.
func (tx *Tx) AddGroupLink(id ident.GroupID, l GroupLink) {
	seed := l.Seed.Reveal()
	tx.Exec("INSERT INTO group_links (grp, serial, seed, pin) VALUES (?,?,?,?) ON CONFLICT DO NOTHING", id[:],
		l.Serial, seed[:], null(l.Pin))
}

// PinGroupLink keeps the pin of a link, and reports whether its invitation is still there.
func (tx *Tx) PinGroupLink(id ident.GroupID, serial uint64, pin [16]byte) bool {
	return tx.Exec("UPDATE group_links SET pin = ? WHERE grp = ? AND serial = ?", pin[:], id[:], serial) > 0
}

// GroupLinks returns the seeds of a group's invitations.
func (tx *Tx) GroupLinks(id ident.GroupID) (out []GroupLink) {
	tx.Query("SELECT serial, seed, pin FROM group_links WHERE grp = ? ORDER BY serial", []any{id[:]},
		func(s *sqlite3.Stmt) bool {
			var seed [private.Size]byte
			copy(seed[:], s.ColumnRawBlob(1))
			l := GroupLink{Serial: uint64(s.ColumnInt64(0)), Seed: private.KeyOf(seed), Pin: column(s, 2)}
			out = append(out, l)
			return true
		})
	return out
}

// DropGroupLink forgets the seed of an invitation that ended.
func (tx *Tx) DropGroupLink(id ident.GroupID, serial uint64) {
	tx.Exec("DELETE FROM group_links WHERE grp = ? AND serial = ?", id[:], serial)
}
