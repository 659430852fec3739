package mailstore

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/fault"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bucketOf names a table's bucket: one byte, its number.
func bucketOf(t statemachine.Table) []byte { return []byte{byte(t)} }

// checksum covers a row with its place, so that a row under a damaged key is found out too.
func checksum(t statemachine.Table, key, value []byte) uint32 {
	sum := crc32.Update(0, castagnoli, []byte{byte(t)})
	sum = crc32.Update(sum, castagnoli, key)
	return crc32.Update(sum, castagnoli, value)
}

// seal returns a copy of a row's value with its checksum: bbolt keeps what it is given until the transaction
// ends, which may be long after the caller has used its buffer again.
func seal(t statemachine.Table, key, value []byte) []byte {
	stored := append(make([]byte, 0, len(value)+4), value...)
	return binary.BigEndian.AppendUint32(stored, checksum(t, key, value))
}

// unseal checks and removes the checksum.
func unseal(t statemachine.Table, key, stored []byte) ([]byte, error) {
	n := len(stored) - 4
	if n < 0 || binary.BigEndian.Uint32(stored[n:]) != checksum(t, key, stored[:n]) {
		return nil, fault.New(fault.Corrupt, "read mailbox store", "row %x of table %d fails its checksum",
			key, t)
	}
	return stored[:n:n], nil
}

// rows gives the state machine the tables of one bbolt transaction. The first error sticks.
type rows struct {
	tx      *bbolt.Tx
	buckets [statemachine.TableCount]*bbolt.Bucket
	cursors [statemachine.TableCount]*bbolt.Cursor
	err     error
}

var _ statemachine.Tx = (*rows)(nil)

func (r *rows) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *rows) bucket(t statemachine.Table) *bbolt.Bucket {
	if r.buckets[t] == nil {
		if r.buckets[t] = r.tx.Bucket(bucketOf(t)); r.buckets[t] == nil {
			r.Fail(fault.New(fault.Corrupt, "read mailbox store", "table %d is missing", t))
		}
	}
	return r.buckets[t]
}

func (r *rows) Get(t statemachine.Table, key []byte) []byte {
	b := r.bucket(t)
	if b == nil {
		return nil
	}
	stored := b.Get(key)
	if stored == nil {
		return nil
	}
	value, err := unseal(t, key, stored)
	if err != nil {
		r.Fail(err)
	}
	return value
}

func (r *rows) Next(t statemachine.Table, from []byte) (key, value []byte) {
	b := r.bucket(t)
	if b == nil {
		return nil, nil
	}
	if r.cursors[t] == nil {
		r.cursors[t] = b.Cursor()
	}
	key, stored := r.cursors[t].Seek(from)
	if key == nil {
		return nil, nil
	}
	value, err := unseal(t, key, stored)
	if err != nil {
		r.Fail(err)
		return nil, nil
	}
	return key, value
}

func (r *rows) Put(t statemachine.Table, key, value []byte) {
	if b := r.bucket(t); b != nil {
		if err := b.Put(key, seal(t, key, value)); err != nil {
			r.Fail(fault.Wrap(fault.Internal, "write mailbox store", err))
		}
	}
}

func (r *rows) Delete(t statemachine.Table, key []byte) {
	if b := r.bucket(t); b != nil {
		if err := b.Delete(slices.Clone(key)); err != nil {
			r.Fail(fault.Wrap(fault.Internal, "write mailbox store", err))
		}
	}
}
