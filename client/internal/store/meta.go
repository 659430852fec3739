package store

import (
	"encoding/binary"

	"github.com/ncruces/go-sqlite3"
)

// Keys of the table meta that have a fixed name, by who owns them. Keys on disk never change.
const (
	// package core
	MetaStage   = "stage"   // how far the profile is made
	MetaCluster = "cluster" // the pinned cluster file

	// package client
	MetaProfileChanged = "profile_changed" // when the account got its name; people and closed read it
	MetaSnapshot       = "snapshot"        // the newest snapshot of the documents that is known
	MetaSnapshotGen    = "snapshot_gen"    // the oldest generation whose data key opens it
	MetaUnreadable     = "unreadable"      // mail that came too early for this device, until it is told
	MetaRecordsUntil   = "records_until"   // generation and day up to which day records are published

	// package inbox
	MetaUnopened = "unopened" // mail that could not be opened

	// package histories
	MetaTellRecovered = "tell_recovered" // 1: the user is to be told that the account was recovered
)

// Meta returns the value under key, or nil.
func (tx *Tx) Meta(key string) (value []byte) {
	tx.Query("SELECT value FROM meta WHERE key = ?", []any{key}, func(s *sqlite3.Stmt) bool {
		value = s.ColumnBlob(0, nil)
		return false
	})
	return value
}

// SetMeta keeps value under key.
func (tx *Tx) SetMeta(key string, value []byte) {
	if value == nil {
		value = []byte{}
	}
	tx.Exec("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE "+
		"SET value = excluded.value", key, value)
}

// Number returns the number under key, 0 if there is none.
func (tx *Tx) Number(key string) uint64 {
	if v := tx.Meta(key); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// SetNumber keeps a number under key.
func (tx *Tx) SetNumber(key string, n uint64) {
	tx.SetMeta(key, binary.BigEndian.AppendUint64(nil, n))
}

// Advance raises the number under key to n; a lower n changes nothing.
func (tx *Tx) Advance(key string, n uint64) {
	if n > tx.Number(key) {
		tx.SetNumber(key, n)
	}
}
