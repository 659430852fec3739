package mailstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/safefile"
)

const (
	fileName = "mailboxes.db"

	// schema is the version of the rows. A store with a higher one is refused, one with a lower one would be
	// migrated.
	schema = 1

	// mapSize is the address space that a store maps at first. Growing a mapping waits for every reader,
	// snapshots among them, so it should be rare; address space costs nothing.
	mapSize = 64 << 20

	// growBy is the step of the file's size; the file is sparse until its pages are written.
	growBy = 1 << 20

	lockWait = 200 * time.Millisecond
)

// Rows of the bucket that belongs to this package.
var (
	bucketMeta = []byte("meta")
	keySchema  = []byte("schema")  // u16
	keyApplied = []byte("applied") // index u64 | term u64
)

// metaTable is the number under which rows of bucketMeta are checksummed.
const metaTable = statemachine.Table(0)

// makeFile makes an empty store under another name and renames it: there is a whole file or none.
func makeFile(path string) error {
	next := path + ".new"
	if err := removeIfThere(next); err != nil {
		return err
	}
	db, err := openBolt(next, false)
	if err != nil {
		return err
	}
	if err := errors.Join(initialise(db), db.Close()); err != nil {
		return err
	}
	return safefile.Rename(next, path)
}

// openFile opens the file. It reads it as a whole first: bbolt walks the pages of a file that it opens for
// writing in a goroutine of its own, where a damaged one would end the process.
func openFile(path string) (*bbolt.DB, error) {
	if err := inspect(path); err != nil {
		return nil, err
	}
	return openBolt(path, false)
}

func openBolt(path string, readOnly bool) (db *bbolt.DB, err error) {
	var file *os.File
	err = guard("open mailbox store", func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockWait, ReadOnly: readOnly,
			FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, InitialMmapSize: mapSize,
			OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
				file, err = os.OpenFile(name, flag, perm)
				return file, err
			},
		})
		return err
	})
	switch {
	case err == nil:
		db.AllocSize = growBy
		return db, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fault.New(fault.Unavailable, "open mailbox store", "%s is in use by another process",
			path)
	case errors.Is(err, fault.Corrupt) && file != nil:
		_ = file.Close() // a panic left it open, and locked
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err,
		berrors.ErrVersionMismatch):
		return nil, fault.Wrap(fault.Corrupt, "open mailbox store", err)
	}
	return nil, classified("open mailbox store", err)
}

// inspect reads every row of the file, with its checksum and in its order.
func inspect(path string) error {
	if size := fileSize(path); size < uint64(2*os.Getpagesize()) {
		return fault.New(fault.Corrupt, "open mailbox store", "%s has %d bytes", path, size)
	}
	db, err := openBolt(path, true)
	if err != nil {
		return err
	}
	err = guard("open mailbox store", func() error {
		return db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
				t := metaTable
				if len(name) == 1 {
					t = statemachine.Table(name[0])
				}
				var last []byte
				return b.ForEach(func(k, v []byte) error {
					if last != nil && bytes.Compare(k, last) <= 0 {
						return fault.New(fault.Corrupt, "open mailbox store",
							"row %x of table %d is out of order", k, t)
					}
					last = k
					_, err := unseal(t, k, v)
					return err
				})
			})
		})
	})
	return errors.Join(classified("open mailbox store", err), db.Close())
}

// initialise makes the buckets of a new file in one transaction.
func initialise(db *bbolt.DB) error {
	return classified("make mailbox store", db.Update(func(tx *bbolt.Tx) error {
		for t := statemachine.Table(1); t < statemachine.TableCount; t++ {
			if _, err := tx.CreateBucket(bucketOf(t)); err != nil {
				return err
			}
		}
		b, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		if err := b.Put(keySchema, seal(metaTable, keySchema, binary.BigEndian.AppendUint16(nil,
			schema))); err != nil {
			return err
		}
		return writeApplied(tx, 0, 0)
	}))
}

// checkSchema refuses a file of another version.
func checkSchema(tx *bbolt.Tx) error {
	p, err := metaRow(tx, keySchema, 2)
	if err != nil {
		return err
	}
	if found := binary.BigEndian.Uint16(p); found != schema {
		return &fault.Error{Kind: fault.Invalid, Op: "open mailbox store", Cause: errSchema{found}}
	}
	return nil
}

// errSchema says which schema was found.
type errSchema struct{ found uint16 }

func (e errSchema) Error() string {
	return fmt.Sprintf("schema %d, want at most %d: %v", e.found, schema, ErrNewer)
}

func (e errSchema) Unwrap() error { return ErrNewer }

// reload takes the cached figures from the file; the caller keeps Restore away.
func (s *Store) reload() error {
	return guard("open mailbox store", func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			if err := checkSchema(tx); err != nil {
				return err
			}
			index, term, err := readApplied(tx)
			if err != nil {
				return err
			}
			r := &rows{tx: tx}
			v := statemachine.NewView(r)
			s.note(v.Clock(), v.Config(), index, term)
			return r.err
		})
	})
}

func readApplied(tx *bbolt.Tx) (index, term uint64, err error) {
	p, err := metaRow(tx, keyApplied, 16)
	if err != nil {
		return 0, 0, err
	}
	return binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:]), nil
}

// metaRow returns a row of this package's own, which has a fixed size.
func metaRow(tx *bbolt.Tx, key []byte, size int) ([]byte, error) {
	b := tx.Bucket(bucketMeta)
	if b == nil {
		return nil, fault.New(fault.Corrupt, "open mailbox store", "the bucket %s is missing", bucketMeta)
	}
	p, err := unseal(metaTable, key, b.Get(key))
	if err != nil || len(p) != size {
		return nil, fault.New(fault.Corrupt, "open mailbox store", "the row %s is damaged or missing", key)
	}
	return p, nil
}

func writeApplied(tx *bbolt.Tx, index, term uint64) error {
	value := binary.BigEndian.AppendUint64(u64(index), term)
	return tx.Bucket(bucketMeta).Put(keyApplied, seal(metaTable, keyApplied, value))
}

// guard turns a panic of bbolt, which is how it meets a damaged page, into Corrupt.
func guard(op string, fn func() error) (err error) {
	old := debug.SetPanicOnFault(true) // a damaged page may point outside of the mapping
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Corrupt, op, "%v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

// classified classifies what has no kind as Internal; nil stays nil.
func classified(op string, err error) error {
	var f *fault.Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	return fault.Wrap(fault.Internal, op, err)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Discard moves a damaged store in dir aside, as mailboxes.db.damaged, for people to look at; Open then makes
// an empty one, which the replica fills from a snapshot and its log.
func Discard(dir string) error {
	path := filepath.Join(dir, fileName)
	if err := os.Rename(path, path+".damaged"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(fault.Internal, "discard mailbox store", err)
	}
	return classified("discard mailbox store", safefile.SyncDir(dir))
}

func fileSize(path string) uint64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return uint64(st.Size())
}
