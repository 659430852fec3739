package statemachine

import (
	"encoding/binary"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// Table is one ordered table of the state. The numbers are part of the snapshot format.
type Table uint8

// The tables. Owner is the 5-byte number that a mailbox is interned as; integers are big-endian.
const (
	TableState Table = 1 // "clock", "config", "owner" -> value
	TableOwn   Table = 2 // mailbox 32 -> mailbox row
	TableName  Table = 3 // owner -> mailbox 32
	TableMail  Table = 4 // owner | namespace u16 | seq u64 -> envelope row
	TableKey   Table = 5 // owner | namespace u16 | key 16 -> seq u64
	// owner | hash 16 -> seq u64 | namespace u16 | until u64 (0: lives without an expiry)
	TableDup  Table = 6
	TableDue  Table = 7 // time u64 | owner | seq u64 -> hash 16; seq 0: the mailbox may be idle
	TablePast Table = 8 // owner | key 32 -> certificate (of a group: log) head when the key was superseded
	TableSlot Table = 9 // slot u16 -> digest 32 | count u64 | bytes u64 | mailboxes u64

	TableGroup    Table = 10 // owner -> group row
	TableGroupKey Table = 11 // owner | key 32 -> what a group's key is or was for

	// TableCount is one more than the highest table.
	TableCount = 12
)

// Reader is a consistent view of the tables. What it returns stays unchanged until the transaction ends.
type Reader interface {
	// Get returns the value under key, nil if there is none.
	Get(t Table, key []byte) []byte
	// Next returns the first row whose key is not below from; a nil key: there is none.
	Next(t Table, from []byte) (key, value []byte)
	// Fail marks the transaction as having met damage: its results are thrown away. A reader that fails by
	// itself answers as if rows were absent.
	Fail(err error)
}

// Tx is a transaction on the tables. It reads its own writes, and owns the slices given to it with
// their spare capacity.
type Tx interface {
	Reader
	Put(t Table, key, value []byte)
	Delete(t Table, key []byte)
}

const (
	ownerSize = 5
	mailSize  = ownerSize + 2 + 8
)

type owner uint64

func (o owner) append(b []byte) []byte {
	return append(b, byte(o>>32), byte(o>>24), byte(o>>16), byte(o>>8), byte(o))
}

func ownerOf(b []byte) owner {
	return owner(b[0])<<32 | owner(b[1])<<24 | owner(b[2])<<16 | owner(b[3])<<8 | owner(b[4])
}

func (o owner) key() []byte { return o.append(nil) }

func mailKey(o owner, ns envelope.Namespace, seq uint64) []byte {
	b := o.append(make([]byte, 0, mailSize))
	b = binary.BigEndian.AppendUint16(b, uint16(ns))
	return binary.BigEndian.AppendUint64(b, seq)
}

func splitMailKey(k []byte) (o owner, ns envelope.Namespace, seq uint64, ok bool) {
	if len(k) != mailSize {
		return 0, 0, 0, false
	}
	return ownerOf(k), envelope.Namespace(binary.BigEndian.Uint16(k[ownerSize:])), binary.BigEndian.Uint64(
		k[ownerSize+2:]), true
}

func keyKey(o owner, ns envelope.Namespace, key [envelope.KeySize]byte) []byte {
	b := o.append(make([]byte, 0, ownerSize+2+envelope.KeySize))
	b = binary.BigEndian.AppendUint16(b, uint16(ns))
	return append(b, key[:]...)
}

func dupKey(o owner, h shortHash) []byte {
	return append(o.append(make([]byte, 0, ownerSize+len(h))), h[:]...)
}

func dueKey(at int64, o owner, seq uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+ownerSize+8), uint64(at))
	return binary.BigEndian.AppendUint64(o.append(b), seq)
}

func pastKey(o owner, key [32]byte) []byte {
	return append(o.append(make([]byte, 0, ownerSize+32)), key[:]...)
}

func slotKey(s ident.Slot) []byte { return binary.BigEndian.AppendUint16(nil, uint16(s)) }

func hasPrefix(k []byte, o owner) bool { return len(k) >= ownerSize && ownerOf(k) == o }

// journal remembers what a request overwrites, so that one that fails half-way leaves nothing.
type journal struct {
	Tx
	keep bool // false: nothing is remembered, the caller never rolls back
	undo []row
}

type row struct {
	table      Table
	key, value []byte // value nil: there was none
}

func (j *journal) Put(t Table, key, value []byte) {
	if !j.keep {
		j.Tx.Put(t, key, value)
		return
	}
	j.undo = append(j.undo, row{t, key, j.Get(t, key)})
	j.Tx.Put(t, key, value)
}

func (j *journal) Delete(t Table, key []byte) {
	if !j.keep {
		j.Tx.Delete(t, key)
		return
	}
	old := j.Get(t, key)
	if old == nil {
		return
	}
	j.undo = append(j.undo, row{t, key, old})
	j.Tx.Delete(t, key)
}

// rollback undoes what came after mark.
func (j *journal) rollback(mark int) {
	for i := len(j.undo) - 1; i >= mark; i-- {
		if u := j.undo[i]; u.value == nil {
			j.Tx.Delete(u.table, u.key)
		} else {
			j.Tx.Put(u.table, u.key, u.value)
		}
	}
	j.undo = j.undo[:mark]
}
