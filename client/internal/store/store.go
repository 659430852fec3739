// Package store is a profile's local database: messages, the durable outbox, what is known of other accounts,
// sync documents and cursors, in one SQLite file encrypted at rest (adiantum, page by page).
//
// One connection serves the whole process behind a mutex; the profile's lock (package client) keeps other
// processes out, so the database runs in exclusive locking mode without shared memory. Update runs a
// transaction and returns when it is on disk; UpdateLazy returns when it would survive the death of the
// process but perhaps not a power cut: right for everything that the account's mailbox still holds, because
// the cursor rolls back together with it. View reads. Errors are of package fault: Corrupt for a wrong key or
// a damaged file, Internal otherwise.
package store

import (
	"encoding/hex"
	"errors"
	"net/url"
	"path/filepath"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
	_ "github.com/ncruces/go-sqlite3/vfs/adiantum" // registers the encrypting file system

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// DB is an open database.
type DB struct {
	mu    sync.Mutex
	conn  *sqlite3.Conn
	stmts map[string]*sqlite3.Stmt
	lazy  bool // synchronous is NORMAL now
	hook  func(point string) error
}

// Open opens or creates the database at path under key.
func Open(path string, key private.Key) (*DB, error) {
	uri := "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?vfs=adiantum"
	conn, err := sqlite3.Open(uri)
	if err != nil {
		return nil, classify("open store", err)
	}
	db := &DB{conn: conn, stmts: map[string]*sqlite3.Stmt{}}
	if err := db.setup(key); err != nil {
		conn.Close()
		return nil, err
	}
	return db, nil
}

func (db *DB) setup(key private.Key) error {
	// The order matters: the key before anything reads a page, exclusive locking before the log is opened.
	b := key.Reveal()
	for _, pragma := range []string{
		"PRAGMA hexkey='" + hex.EncodeToString(b[:]) + "'",
		"PRAGMA locking_mode=exclusive",
		"PRAGMA temp_store=memory",
		"PRAGMA cache_size=-8192", // KiB; a page that is not cached costs a read and a decryption
		"PRAGMA journal_mode=wal",
		"PRAGMA synchronous=full",
		"PRAGMA foreign_keys=on",
		"PRAGMA secure_delete=fast", // zeroes what it writes anyway: the pages that stay are encrypted
	} {
		if err := db.conn.Exec(pragma); err != nil {
			return classify("open store", err)
		}
	}
	if err := fts5.Register(db.conn); err != nil {
		return classify("open store", err)
	}
	return db.migrate()
}

// Close closes the database.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, s := range db.stmts {
		s.Close()
	}
	if err := db.conn.Close(); err != nil {
		return classify("close store", err)
	}
	return nil
}

// SetHook installs f, which is asked at named points of a transaction ("commit", "committed") and whose error
// aborts it: tests use it to end a process at the worst moment. "committed" cannot undo anything any more;
// its error is returned all the same.
func (db *DB) SetHook(f func(point string) error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.hook = f
}

// Tx is a transaction. Its methods report the first error they met through Err; Update and View return it, so
// a sequence of statements needs one check.
type Tx struct {
	db  *DB
	err error
}

// Update runs f in a transaction that is on disk when Update returns nil.
func (db *DB) Update(f func(*Tx) error) error { return db.update(false, f) }

// UpdateLazy runs f in a transaction that survives the death of the process, and a power cut once a later
// Update has returned. Order is kept: a power cut never keeps a later transaction without an earlier one.
func (db *DB) UpdateLazy(f func(*Tx) error) error { return db.update(true, f) }

func (db *DB) update(lazy bool, f func(*Tx) error) (err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if lazy != db.lazy {
		pragma := "PRAGMA synchronous=full"
		if lazy {
			pragma = "PRAGMA synchronous=normal"
		}
		if err := db.conn.Exec(pragma); err != nil {
			return classify("store", err)
		}
		db.lazy = lazy
	}
	tx := &Tx{db: db}
	tx.Exec("BEGIN IMMEDIATE")
	if tx.err != nil {
		return tx.err
	}
	done := false
	defer func() { // also when f panics
		if !done {
			db.conn.Exec("ROLLBACK")
		}
	}()
	if err := f(tx); err != nil {
		return err
	}
	if tx.err != nil {
		return tx.err
	}
	if err := db.point("commit"); err != nil {
		return err
	}
	tx.Exec("COMMIT")
	if tx.err != nil {
		return tx.err
	}
	done = true
	return db.point("committed")
}

func (db *DB) point(name string) error {
	if db.hook == nil {
		return nil
	}
	return db.hook(name)
}

// View runs f, which must only read.
func (db *DB) View(f func(*Tx) error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	tx := &Tx{db: db}
	if err := f(tx); err != nil {
		return err
	}
	return tx.err
}

// Err returns the first error that a statement of this transaction met.
func (tx *Tx) Err() error { return tx.err }

func (tx *Tx) prepare(sql string, args []any) *sqlite3.Stmt {
	if tx.err != nil {
		return nil
	}
	s := tx.db.stmts[sql]
	if s == nil {
		var err error
		if s, _, err = tx.db.conn.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			tx.err = classify("store", err)
			return nil
		}
		tx.db.stmts[sql] = s
	}
	for i, a := range args {
		if err := bind(s, i+1, a); err != nil {
			tx.err = classify("store", err)
			return nil
		}
	}
	return s
}

// Exec runs one statement and returns how many rows it changed.
func (tx *Tx) Exec(sql string, args ...any) int64 {
	s := tx.prepare(sql, args)
	if s == nil {
		return 0
	}
	if err := s.Exec(); err != nil {
		tx.err = classify("store", err)
		return 0
	}
	return tx.db.conn.Changes()
}

// Query runs one statement and calls row for each of its rows until it returns false.
func (tx *Tx) Query(sql string, args []any, row func(*sqlite3.Stmt) bool) {
	s := tx.prepare(sql, args)
	if s == nil {
		return
	}
	for s.Step() && row(s) {
	}
	err := s.Err()
	if rerr := s.Reset(); err == nil {
		err = rerr
	}
	if err != nil {
		tx.err = classify("store", err)
	}
}

func bind(s *sqlite3.Stmt, i int, a any) error {
	switch a := a.(type) {
	case nil:
		return s.BindNull(i)
	case bool:
		return s.BindBool(i, a)
	case int:
		return s.BindInt(i, a)
	case int64:
		return s.BindInt64(i, a)
	case uint32:
		return s.BindInt64(i, int64(a))
	case uint64:
		return s.BindInt64(i, int64(a))
	case string:
		return s.BindText(i, a)
	case []byte:
		return s.BindBlob(i, a)
	}
	return fault.New(fault.Internal, "bind", "type %T", a)
}

func classify(op string, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	switch {
	case errors.Is(err, sqlite3.NOTADB), errors.Is(err, sqlite3.CORRUPT), errors.Is(err,
		sqlite3.IOERR_BADKEY):
		return &fault.Error{Kind: fault.Corrupt, Op: op, Detail: "wrong key or damaged file", Cause: err}
	case errors.Is(err, sqlite3.FULL):
		return &fault.Error{Kind: fault.Limited, Op: op, Detail: "disk full", Cause: err}
	}
	return fault.Wrap(fault.Internal, op, err)
}
