package mailstore

import (
	"encoding/binary"
	"testing"

	"go.etcd.io/bbolt"
)

// FileName is the file within a store's directory.
const FileName = fileName

// SetSchema makes the file look like one of another program version.
func SetSchema(t *testing.T, path string, version uint16) {
	t.Helper()
	db, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keySchema, seal(metaTable, keySchema,
			binary.BigEndian.AppendUint16(nil, version)))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
