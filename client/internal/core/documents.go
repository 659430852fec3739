package core

import (
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
)

// IsTrue reports whether a field of a document is set and true. Only inside a transaction.
func (c *Core) IsTrue(f devicesync.Field, subject string) bool {
	b, ok := c.Docs.Get(f, subject)
	return ok && devicesync.IsTrue(b)
}

// Millis returns a time of a document in Unix milliseconds, 0 if it is not set. Only inside a transaction.
func (c *Core) Millis(f devicesync.Field, subject string) int64 {
	b, _ := c.Docs.Get(f, subject)
	return int64(devicesync.AsUint(b))
}

// loadDocuments reads the documents from disk.
func (c *Core) loadDocuments() error {
	r := devicesync.New(c.Keys.Device())
	return c.View(func(tx *store.Tx) (err error) {
		tx.Rows(func(key, value []byte) {
			if lerr := r.Load(devicesync.Row{Key: key, Value: value}); err == nil {
				err = lerr
			}
		})
		c.Docs = r
		return err
	})
}

// SaveDocuments writes the rows that changed. Once the transaction is on disk, the outbox is told to share
// them; if it fails after this, transact reads the documents anew.
func (c *Core) SaveDocuments(tx *store.Tx) error {
	for _, row := range c.Docs.Changed() {
		tx.SetRow(row.Key, row.Value)
		c.toShare = c.Docs.Dirty() > 0
	}
	return tx.Err()
}

// ProfileName is the account's name. Only inside a transaction.
func (c *Core) ProfileName() string {
	b, _ := c.Docs.Get(devicesync.ProfileName, "")
	return string(b)
}

// Setting reports whether a setting is on, as it is unless somebody switched it off. Only inside a
// transaction.
func (c *Core) Setting(f devicesync.Field) bool {
	b, ok := c.Docs.Get(f, "")
	return !ok || devicesync.IsTrue(b)
}
