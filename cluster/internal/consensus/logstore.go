package consensus

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// durable is what a log must offer: entries, and the votes that must be as durable as they are. Anything that
// keeps raft's contract may stand here; today it is a raft-wal per group.
type durable interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// errStopped is what a log answers after a failed write or a crash.
var errStopped = errors.New("the log takes no more writes")

// logHooks let tests stall or fail the log.
type logHooks struct {
	store func(logs []*raft.Log) error // before a write of entries; an error stands for a failed fsync
	vote  func() error                 // before a write of term or vote
}

// logStore puts three things in front of a durable log: a cache of the newest entries bounded in bytes, the
// accounts from which snapshots and retention are decided, and the rule that nothing is written after a write
// has failed.
//
// A failed fsync leaves pages that the kernel may have dropped and marked clean: a second fsync would report
// success for bytes that are lost. So the first failure is the last write; the replica falls silent and the
// process exits.
type logStore struct {
	disk    durable
	hooks   logHooks
	onFatal func(error) // called once, before the failed write returns
	crowded func()      // called when the log has grown enough for a snapshot

	mu      sync.Mutex
	stopped bool
	cache   logCache
	ledger  ledger
	reading bool              // Raft is starting and reads the log once, in order
	lists   []memberList      // from the entries that hold one, with rising indexes
	points  map[uint64]uint64 // index and term of the last entry in each snapshot
}

func openLog(cfg Config, log hclog.Logger, onFatal func(error), crowded func()) (*logStore, error) {
	w, err := openWAL(filepath.Join(cfg.Dir, "log"), cfg.WALSegmentBytes, log, nil)
	if err != nil {
		return nil, err
	}
	return &logStore{
		disk: w, hooks: cfg.hooks, onFatal: onFatal, crowded: crowded, reading: true,
		points: make(map[uint64]uint64),
		cache:  logCache{limit: cfg.CacheBytes},
		ledger: ledger{retain: cfg.RetainBytes, limit: cfg.SnapshotBytes},
	}, nil
}

func (s *logStore) FirstIndex() (uint64, error) { return s.disk.FirstIndex() }
func (s *logStore) LastIndex() (uint64, error)  { return s.disk.LastIndex() }

// GetLog reads an entry, from memory if it is one of the newest.
func (s *logStore) GetLog(index uint64, out *raft.Log) error {
	s.mu.Lock()
	hit := s.cache.get(index, out)
	s.mu.Unlock()
	if hit {
		return nil
	}
	err := s.read(index, out)
	s.mu.Lock()
	defer s.mu.Unlock()
	if term, ok := s.points[index]; ok && errors.Is(err, raft.ErrLogNotFound) {
		*out = raft.Log{Index: index, Term: term, Type: pointOnly}
		return nil
	}
	if err == nil && s.reading {
		s.account(out)
	}
	return err
}

// read reads an entry from disk. raft-wal still finds deleted entries that lie in its newest segment.
func (s *logStore) read(index uint64, out *raft.Log) error {
	first, err := s.disk.FirstIndex()
	if err != nil {
		return err
	}
	if index < first {
		return raft.ErrLogNotFound
	}
	return s.disk.GetLog(index, out)
}

// started ends the phase in which reads are accounted for as if they had been written now.
func (s *logStore) started() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
}

func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries; they are on disk when it returns.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if s.isStopped() {
		return errStopped
	}
	err := s.write(logs)
	if err != nil {
		s.fail(fmt.Errorf("write log: %w", err))
		return err
	}
	s.mu.Lock()
	for _, l := range logs {
		s.cache.add(l)
		s.account(l)
	}
	crowded := s.ledger.grown >= s.ledger.limit
	s.mu.Unlock()
	if crowded {
		s.crowded()
	}
	return nil
}

// account takes note of an entry; s.mu is held.
func (s *logStore) account(l *raft.Log) {
	s.ledger.add(l.Index, len(l.Data))
	if l.Type == raft.LogConfiguration {
		s.lists = append(s.lists, memberList{l.Index, raft.DecodeConfiguration(l.Data)})
		s.lists = s.lists[max(0, len(s.lists)-maxLists):]
	}
}

// memberList is a list of members and the index of its entry.
type memberList struct {
	index uint64
	conf  raft.Configuration
}

// maxLists is how many lists are remembered: the one in force, and those that may be undone.
const maxLists = 16

// indexOf returns the index of the newest entry that holds the list conf, or 0.
func (s *logStore) indexOf(conf raft.Configuration) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range slices.Backward(s.lists) {
		if slices.Equal(l.conf.Servers, conf.Servers) {
			return l.index
		}
	}
	return 0
}

// grown returns the bytes that came since the last snapshot began.
func (s *logStore) grown() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.grown
}

// snapshotBegins starts counting anew. A snapshot that fails is tried again only when as much has come again.
func (s *logStore) snapshotBegins() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger.grown = 0
}

func (s *logStore) write(logs []*raft.Log) error {
	if s.hooks.store != nil {
		if err := s.hooks.store(logs); err != nil {
			return err
		}
	}
	return s.disk.StoreLogs(logs)
}

// DeleteRange deletes a prefix or a suffix of the log. A prefix is deleted to make room behind a snapshot: of
// that, the newest bytes stay, for followers that are a little behind. All other deletions are part of the
// protocol and are carried out as told.
func (s *logStore) DeleteRange(first, last uint64) error {
	if s.isStopped() {
		return errStopped
	}
	end, err := s.disk.LastIndex()
	if err != nil || end == 0 {
		return err
	}
	s.mu.Lock()
	if last < end {
		last = min(last, s.ledger.deletable())
		s.cache.dropThrough(last)
	} else {
		s.cache.dropFrom(first)
		s.ledger.dropFrom(first)
		for n := len(s.lists); n > 0 && s.lists[n-1].index >= first; n-- {
			s.lists = s.lists[:n-1]
		}
	}
	s.mu.Unlock()
	if last < first {
		return nil
	}
	return s.truncate(first, last)
}

func (s *logStore) truncate(first, last uint64) error {
	err := s.disk.DeleteRange(first, last)
	if err != nil {
		s.fail(fmt.Errorf("truncate log: %w", err))
	}
	return err
}

func (s *logStore) Get(key []byte) ([]byte, error)       { return s.disk.Get(key) }
func (s *logStore) GetUint64(key []byte) (uint64, error) { return s.disk.GetUint64(key) }

// Set stores a vote.
func (s *logStore) Set(key, value []byte) error {
	return s.vote(func() error { return s.disk.Set(key, value) })
}

// SetUint64 stores a term.
func (s *logStore) SetUint64(key []byte, value uint64) error {
	return s.vote(func() error { return s.disk.SetUint64(key, value) })
}

// vote writes a term or a vote. Raft panics when a term cannot be stored. After a failure the replica is
// silent, so that nobody can act on a vote that is not on disk, and its log takes no entries: reporting
// success then only keeps the panic away from the other replicas of the process, until OnFatal ends this one.
func (s *logStore) vote(write func() error) error {
	if s.isStopped() {
		return nil
	}
	var err error
	if s.hooks.vote != nil {
		err = s.hooks.vote()
	}
	if err == nil {
		err = write()
	}
	if err != nil {
		s.fail(fmt.Errorf("write vote: %w", err))
	}
	return nil
}

// fail stops all writes for good and tells the group, once.
func (s *logStore) fail(err error) {
	if s.stop() {
		s.onFatal(err)
	}
}

// stop refuses all writes from here on; false if it did already.
func (s *logStore) stop() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.stopped
	s.stopped = true
	return !was
}

func (s *logStore) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// Close closes the files.
func (s *logStore) Close() error {
	s.stop()
	return s.disk.Close()
}
