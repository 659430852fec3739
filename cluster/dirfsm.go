package cluster

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/starling-swarm/starling/cluster/internal/consensus"
	"github.com/starling-swarm/starling/cluster/internal/dirstate"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
)

// dirFSM adapts dirstate to consensus. Its state is in memory: a restart replays the snapshot and the log.
type dirFSM struct {
	mu          sync.Mutex
	state       *dirstate.State
	index, term uint64
	changed     chan struct{} // closed and replaced after every batch that did something
}

func newDirFSM(f *directory.ClusterFile) *dirFSM {
	return &dirFSM{state: dirstate.New(f), changed: make(chan struct{})}
}

func (f *dirFSM) ApplyBatch(batches []consensus.Batch) [][]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([][]any, len(batches))
	for i, b := range batches {
		for _, c := range b.Commands {
			out[i] = append(out[i], f.state.Apply(c))
		}
		f.index, f.term = b.Index, b.Term
	}
	f.broadcastLocked()
	return out
}

func (f *dirFSM) broadcastLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *dirFSM) Applied() (index, term uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.index, f.term
}

// dirSnapshot is the state's bytes behind the position in the log that they belong to.
type dirSnapshot []byte

func (s dirSnapshot) Persist(w io.Writer) error {
	_, err := w.Write(s)
	return err
}
func (dirSnapshot) Release() {}

func (f *dirFSM) Snapshot() (consensus.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return dirSnapshot(appendPosition(f.state.Snapshot(), f.index, f.term)), nil
}

func (f *dirFSM) Restore(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, dirstate.MaxSnapshot+17))
	if err != nil {
		return fault.Wrap(fault.Unavailable, "restore directory snapshot", err)
	}
	b, index, term, err := cutPosition(b)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.state.Restore(b); err != nil {
		return err
	}
	f.index, f.term = index, term
	f.broadcastLocked()
	return nil
}

// with runs read under the lock of the state and returns a channel that is closed at the next change.
func (f *dirFSM) with(read func(*dirstate.State)) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	read(f.state)
	return f.changed
}

// The directory's snapshot is its state and then, in 17 bytes, version u8 | index u64 | term u64 of the log.
const positionVersion = 1

func appendPosition(b []byte, index, term uint64) []byte {
	b = append(b, positionVersion)
	b = binary.BigEndian.AppendUint64(b, index)
	return binary.BigEndian.AppendUint64(b, term)
}

func cutPosition(b []byte) (state []byte, index, term uint64, err error) {
	if len(b) < 17 || b[len(b)-17] != positionVersion {
		return nil, 0, 0, fault.New(fault.Corrupt, "restore directory snapshot", "its end is malformed")
	}
	p := b[len(b)-16:]
	return b[:len(b)-17], binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:]), nil
}
