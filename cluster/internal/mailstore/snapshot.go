package mailstore

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"

	"go.etcd.io/bbolt"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/safefile"
)

// A snapshot stream is magic | version u8 | index u64 | term u64, then rows table u8 | key [u16] | value
// [u24] in order of table and key, then 0 | number of rows u64 | SHA-256 of all that came before.
const (
	snapshotMagic   = "starling/snapshot"
	snapshotVersion = 1

	maxKey   = 128
	maxValue = envelope.MaxBody + 4096

	// restoreChunk is the bytes of rows that one transaction of a restore writes.
	restoreChunk = 8 << 20
)

// Snapshot is the state at one applied index. It holds a read transaction: release it soon.
type Snapshot struct {
	tx          *bbolt.Tx
	index, term uint64
}

// Snapshot freezes the current state for Persist. It must be released.
func (s *Store) Snapshot() (*Snapshot, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.pending.mu.Lock() // nothing is applied between the flush and the start of the read transaction
	defer s.pending.mu.Unlock()
	if err := s.pending.flush(); err != nil {
		return nil, s.fail(classified("snapshot mailbox store", err))
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "snapshot mailbox store", err)
	}
	index, term, err := readApplied(tx)
	if err != nil {
		return nil, errors.Join(s.fail(err), tx.Rollback())
	}
	return &Snapshot{tx: tx, index: index, term: term}, nil
}

// Applied returns the entry that the snapshot was taken after.
func (s *Snapshot) Applied() (index, term uint64) { return s.index, s.term }

// Release frees the snapshot.
func (s *Snapshot) Release() {
	_ = s.tx.Rollback() // a read transaction has nothing to lose; a second release is harmless
}

// Persist writes the snapshot's stream to w. Equal states give equal bytes. Errors: Corrupt (a damaged row),
// and those of w.
func (s *Snapshot) Persist(w io.Writer) error {
	return guard("snapshot mailbox store", func() error {
		out := &snapshotWriter{w: bufio.NewWriterSize(w, 64<<10), sum: sha256.New()}
		out.write([]byte(snapshotMagic), []byte{snapshotVersion}, u64(s.index), u64(s.term))
		count := uint64(0)
		for t := statemachine.Table(1); t < statemachine.TableCount; t++ {
			b := s.tx.Bucket(bucketOf(t))
			if b == nil {
				return fault.New(fault.Corrupt, "snapshot mailbox store", "table %d is missing", t)
			}
			c := b.Cursor()
			for k, stored := c.First(); k != nil && out.err == nil; k, stored = c.Next() {
				v, err := unseal(t, k, stored)
				if err != nil {
					return err
				}
				count++
				out.write([]byte{byte(t)}, binary.BigEndian.AppendUint16(nil, uint16(len(k))), k,
					[]byte{byte(len(v) >> 16), byte(len(v) >> 8), byte(len(v))}, v)
			}
		}
		out.write([]byte{0}, u64(count))
		out.write(out.sum.Sum(nil))
		if out.err == nil {
			out.err = out.w.Flush()
		}
		return out.err
	})
}

type snapshotWriter struct {
	w   *bufio.Writer
	sum hash.Hash
	err error
}

func (o *snapshotWriter) write(parts ...[]byte) {
	for _, p := range parts {
		if o.err == nil {
			o.sum.Write(p)
			_, o.err = o.w.Write(p)
		}
	}
}

func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// Restore replaces the whole state with the snapshot read from r. The new file is complete and on disk before
// it takes the old one's name: on an error, and after a crash at any point, the store holds one of the two
// states. Errors: Corrupt (a damaged or cut stream), Invalid (of a newer version), Internal.
func (s *Store) Restore(r io.Reader) error {
	next := s.path + ".restore"
	if err := removeIfThere(next); err != nil {
		return fault.Wrap(fault.Internal, "restore mailbox store", err)
	}
	if err := writeRestored(next, r); err != nil {
		return errors.Join(err, removeIfThere(next))
	}
	s.mu.Lock()
	s.pending.discard() // of a state that is about to go
	old := s.db
	db, err := s.swap(next)
	if err == nil {
		s.db = db
		err = s.reload()
	}
	s.mu.Unlock()
	if err != nil {
		return s.fail(err)
	}
	s.failure.Store(nil) // what was damaged is gone
	_ = old.Close()      // its file has no name any more
	return nil
}

// swap gives the file next the store's name and opens it.
func (s *Store) swap(next string) (*bbolt.DB, error) {
	if err := safefile.Rename(next, s.path); err != nil {
		return nil, err
	}
	return openFile(s.path)
}

func writeRestored(path string, r io.Reader) (err error) {
	db, err := openBolt(path, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := initialise(db); err != nil {
		return err
	}
	in := &snapshotReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	index, term, err := in.header()
	if err != nil {
		return err
	}
	for done := false; !done; {
		err := db.Update(func(tx *bbolt.Tx) error {
			for size := 0; size < restoreChunk; {
				t, k, v, err := in.row()
				if err != nil {
					return err
				}
				if t == 0 {
					done = true
					return writeApplied(tx, index, term)
				}
				b := tx.Bucket(bucketOf(t))
				b.FillPercent = 0.9 // rows come in order
				if err := b.Put(k, seal(t, k, v)); err != nil {
					return err
				}
				size += len(k) + len(v)
			}
			return nil
		})
		if err != nil {
			return classified("restore mailbox store", err)
		}
	}
	return nil
}

type snapshotReader struct {
	r     *bufio.Reader
	sum   hash.Hash
	table byte
	key   []byte
	count uint64
}

func damagedStream(format string, args ...any) error {
	return fault.New(fault.Corrupt, "restore mailbox store", format, args...)
}

func (i *snapshotReader) read(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(i.r, b); err != nil {
		return nil, &fault.Error{Kind: fault.Corrupt, Op: "restore mailbox store",
			Detail: "the snapshot ends early", Cause: err}
	}
	i.sum.Write(b)
	return b, nil
}

func (i *snapshotReader) header() (index, term uint64, err error) {
	p, err := i.read(len(snapshotMagic) + 1 + 16)
	if err != nil {
		return 0, 0, err
	}
	if string(p[:len(snapshotMagic)]) != snapshotMagic {
		return 0, 0, damagedStream("this is no snapshot of mailboxes")
	}
	if v := p[len(snapshotMagic)]; v != snapshotVersion {
		return 0, 0, &fault.Error{Kind: fault.Invalid, Op: "restore mailbox store", Cause: ErrNewer}
	}
	p = p[len(snapshotMagic)+1:]
	return binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:]), nil
}

// row returns the next row; table 0: the end, and its checksum is right.
func (i *snapshotReader) row() (t statemachine.Table, key, value []byte, err error) {
	p, err := i.read(1)
	if err != nil {
		return 0, nil, nil, err
	}
	if p[0] == 0 {
		return 0, nil, nil, i.end()
	}
	if p[0] >= statemachine.TableCount || p[0] < i.table {
		return 0, nil, nil, damagedStream("table %d is unknown or out of order", p[0])
	}
	if p[0] > i.table {
		i.table, i.key = p[0], nil
	}
	if p, err = i.read(2); err != nil {
		return 0, nil, nil, err
	}
	n := int(binary.BigEndian.Uint16(p))
	if n == 0 || n > maxKey {
		return 0, nil, nil, damagedStream("key of %d bytes, want 1 to %d", n, maxKey)
	}
	if key, err = i.read(n); err != nil {
		return 0, nil, nil, err
	}
	if bytes.Compare(key, i.key) <= 0 {
		return 0, nil, nil, damagedStream("key %x is out of order", key)
	}
	i.key = key
	if p, err = i.read(3); err != nil {
		return 0, nil, nil, err
	}
	if n = int(p[0])<<16 | int(p[1])<<8 | int(p[2]); n > maxValue {
		return 0, nil, nil, damagedStream("row of %d bytes, want at most %d", n, maxValue)
	}
	if value, err = i.read(n); err != nil {
		return 0, nil, nil, err
	}
	i.count++
	return statemachine.Table(i.table), key, value, nil
}

func (i *snapshotReader) end() error {
	p, err := i.read(8)
	if err != nil {
		return err
	}
	if n := binary.BigEndian.Uint64(p); n != i.count {
		return damagedStream("has %d rows, want %d", i.count, n)
	}
	want := i.sum.Sum(nil)
	got, err := i.read(len(want))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return damagedStream("the snapshot fails its checksum")
	}
	return nil
}
