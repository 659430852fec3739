package consensus

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/fault"
)

// adapter makes an FSM of ours one of Raft's: it unpacks coalesced commands, skips what the FSM has from
// before a restart, and puts the FSM's applied index in front of its snapshots.
type adapter struct {
	fsm FSM
	// restored is called after the state was replaced by that of a snapshot, with the last entry in it.
	restored func(index, term uint64) error
}

// ApplyBatch applies committed entries. A committed entry that does not decode is a bug or a corrupt log, and
// no replica can go on from it alone: it stops the process, as raft does for an entry that it cannot read.
func (a adapter) ApplyBatch(logs []*raft.Log) []any {
	applied, _ := a.fsm.Applied()
	results := make([]any, len(logs))
	batches := make([]Batch, 0, len(logs))
	first := len(logs)
	for i, l := range logs {
		if l.Index <= applied {
			continue
		}
		first = min(first, i)
		b := Batch{Index: l.Index, Term: l.Term}
		if l.Type == raft.LogCommand {
			commands, err := decodeEntry(l.Data)
			if err != nil {
				panic(fmt.Sprintf("consensus: committed entry %d: %v", l.Index, err))
			}
			b.Commands = commands
		}
		batches = append(batches, b)
	}
	if len(batches) == 0 {
		return results
	}
	for i, r := range a.fsm.ApplyBatch(batches) {
		results[first+i] = r
	}
	return results
}

// Apply applies one entry.
func (a adapter) Apply(l *raft.Log) any { return a.ApplyBatch([]*raft.Log{l})[0] }

// snapshotPrefix is the length of what stands in front of the FSM's state in a snapshot: index and term of
// the last batch that the FSM has applied, and index and term of the snapshot itself, which are higher if the
// log held entries that the FSM never sees.
const snapshotPrefix = 32

// Snapshot captures the state together with its applied index.
func (a adapter) Snapshot() (raft.FSMSnapshot, error) {
	s, err := a.fsm.Snapshot()
	if err != nil {
		return nil, err
	}
	index, term := a.fsm.Applied()
	return captured{Snapshot: s, index: index, term: term}, nil
}

type captured struct {
	Snapshot
	index, term uint64
}

// Persist streams the snapshot into a file of the snapshot store, which the caller closes or cancels.
func (c captured) Persist(to raft.SnapshotSink) error {
	file, ok := to.(*sink)
	if !ok {
		return fault.New(fault.Internal, "write snapshot", "into a %T", to)
	}
	var prefix []byte
	for _, n := range []uint64{c.index, c.term, file.index, file.term} {
		prefix = binary.BigEndian.AppendUint64(prefix, n)
	}
	if _, err := file.Write(prefix); err != nil {
		return err
	}
	return c.Snapshot.Persist(file)
}

// Restore replaces the state with a snapshot's.
func (a adapter) Restore(r io.ReadCloser) error {
	const op = "restore snapshot"
	var prefix [snapshotPrefix]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return fault.New(fault.Corrupt, op, "ends within its prefix")
	}
	number := func(i int) uint64 { return binary.BigEndian.Uint64(prefix[8*i:]) }
	if err := a.fsm.Restore(r); err != nil {
		return err
	}
	if index, term := a.fsm.Applied(); index != number(0) || term != number(1) {
		return fault.New(fault.Corrupt, op, "state machine is at %d of term %d, want %d of term %d", index,
			term, number(0), number(1))
	}
	return a.restored(number(2), number(3))
}
