// Package mailstore keeps a replica's mailboxes on disk: the state machine's tables in one bbolt file.
//
// Open a directory, feed committed Raft entries to ApplyBatch in order, and read with Read, ReadAfter and
// Mailbox. An acknowledgement rests on Raft's log, not on this file: ApplyBatch changes an open transaction,
// which readers see, and a synced commit follows when it has grown to Options.FlushBytes. Each commit carries
// the applied index, so the file is always the exact state after some entry: after kill -9 at any point the
// rest is replayed from the log. Every row carries a checksum; damage is reported as Corrupt and never
// served.
//
// Rows and the snapshot stream: docs/formats.md, section 8.
package mailstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// ErrNewer is in the chain of the error for a store or a snapshot that a newer program made.
var ErrNewer = errors.New("made by a newer version: upgrade this node")

// Batch is one committed Raft entry.
type Batch struct {
	Index, Term uint64
	// statemachine.EncodeCommand; may be empty (a configuration entry moves only the index)
	Commands [][]byte
}

// Options tune a store. The zero value is right.
type Options struct {
	// OnFatal is called once, from the goroutine that met it, when the store must not go on: a damaged row or
	// a failed write. Later calls answer with the same error, until a Restore. Nil: nothing is called.
	OnFatal func(error)
	// FlushBytes is how many bytes of commands may wait for the next synced commit: what a crash leaves to
	// replay. 0: 4 MiB; 1: every ApplyBatch is on disk when it returns.
	FlushBytes int
}

// Store is one replica's mailboxes. All methods may be called concurrently, but ApplyBatch and Restore only
// by one goroutine at a time.
type Store struct {
	dir, path  string
	onFatal    func(error)
	flushBytes int

	mu sync.RWMutex // guards db against Restore and Close; taken before pending.mu
	db *bbolt.DB

	pending pending

	failure     atomic.Pointer[fault.Error]
	clock       atomic.Int64
	config      atomic.Pointer[statemachine.Config]
	index, term atomic.Uint64
}

// Open opens or makes the store in dir, which must exist. It reads every row once, so that damage is found
// before a replica serves from it.
//
// Errors: Invalid (made by a newer program: ErrNewer), Corrupt (see Discard), Unavailable (in use by another
// process), Internal.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, path: filepath.Join(dir, fileName), onFatal: o.OnFatal, flushBytes: o.FlushBytes}
	if s.flushBytes == 0 {
		s.flushBytes = 4 << 20
	}
	if err := removeIfThere(s.path + ".restore"); err != nil {
		return nil, fault.Wrap(fault.Internal, "open mailbox store", err)
	}
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		if err := makeFile(s.path); err != nil {
			return nil, classified("make mailbox store", err)
		}
	}
	var err error
	if s.db, err = openFile(s.path); err != nil {
		return nil, err
	}
	if err := s.reload(); err != nil {
		_ = s.db.Close() // nothing was written
		return nil, err
	}
	return s, nil
}

// ApplyBatch applies entries in order and returns each command's statemachine.Result. Readers see the effects
// at once; they are on disk after the next flush. Entries at or below Applied are skipped and give a nil
// slice. When it fails nothing since the last flush reaches the disk, every command's Result has the error,
// and the store is broken: the caller stops the replica.
func (s *Store) ApplyBatch(entries []Batch) [][]any {
	results := make([][]any, len(entries))
	if err := s.apply(entries, results); err != nil {
		f := s.fail(err)
		for i, e := range entries {
			results[i] = make([]any, len(e.Commands))
			for j := range results[i] {
				results[i][j] = statemachine.Result{Err: f}
			}
		}
	}
	return results
}

func (s *Store) apply(entries []Batch, results [][]any) error {
	if err := s.broken(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.pending.mu.Lock()
	defer s.pending.mu.Unlock()
	index, term := s.Applied()
	return guard("apply commands", func() error {
		tx, err := s.pending.begin(s.db)
		if err != nil {
			return err
		}
		r := &rows{tx: tx}
		m := statemachine.New(r)
		for i, e := range entries {
			if e.Index <= index {
				continue
			}
			results[i] = make([]any, len(e.Commands))
			for j, c := range e.Commands {
				res := m.Apply(c)
				detach(res.Response)
				results[i][j] = res
				s.pending.bytes += len(c)
			}
			index, term = e.Index, e.Term
		}
		if r.err != nil {
			return r.err
		}
		if err := writeApplied(tx, index, term); err != nil {
			return err
		}
		s.note(m.Clock(), m.Config(), index, term)
		if s.pending.bytes < s.flushBytes {
			return nil
		}
		return s.pending.flush()
	})
}

// detach copies the bodies of an answer out of the transaction.
func detach(resp *envelope.Response) {
	if resp == nil {
		return
	}
	for i := range resp.Results {
		detachAll(resp.Results[i].Envelopes)
	}
}

func detachAll(envs []envelope.Envelope) {
	for i := range envs {
		envs[i].Body = append([]byte(nil), envs[i].Body...)
	}
}

// Applied returns the last entry that was applied.
func (s *Store) Applied() (index, term uint64) { return s.index.Load(), s.term.Load() }

// Clock returns the state's clock, Unix milliseconds; 0 before the first command.
func (s *Store) Clock() int64 { return s.clock.Load() }

// Config returns the last Config applied.
func (s *Store) Config() statemachine.Config { return *s.config.Load() }

func (s *Store) note(clock int64, config statemachine.Config, index, term uint64) {
	s.clock.Store(clock)
	s.config.Store(&config)
	s.term.Store(term)
	s.index.Store(index)
}

// Read answers a read-only request, which it verifies. behind: this replica has not applied r.MinSeq yet, and
// resp is Unavailable.
func (s *Store) Read(in statemachine.Ingress, r *envelope.Request) (resp *envelope.Response, behind bool) {
	err := s.view(func(v *statemachine.View) {
		resp, behind = v.Read(&in, r)
		detach(resp)
	})
	if err != nil {
		resp, behind = envelope.Refuse(err), false
		resp.Clock = s.Clock()
	}
	return resp, behind
}

// VerifySubscribe checks that the subscription may be served now. Errors: Unauthenticated, Denied, Stale
// (superseded authority), NotFound, WrongSwarm, Invalid, Corrupt.
func (s *Store) VerifySubscribe(in statemachine.Ingress, sub *envelope.Subscribe) error {
	var refused *fault.Error
	if err := s.view(func(v *statemachine.View) { refused = v.VerifySubscribe(&in, sub) }); err != nil {
		return err
	}
	return orNil(refused)
}

// StillAllowed reports why a subscription that VerifySubscribe passed must end: its key lost its rights.
// Errors: Stale, Denied, NotFound, Corrupt.
func (s *Store) StillAllowed(sub *envelope.Subscribe) error {
	var refused *fault.Error
	if err := s.view(func(v *statemachine.View) { refused = v.StillAllowed(sub) }); err != nil {
		return err
	}
	return orNil(refused)
}

// ReadAfter returns live envelopes above after, in order, without any check of rights: for subscriptions that
// VerifySubscribe passed. maxCount and maxBytes 0: the limits of one page. Errors: NotFound, Corrupt.
func (s *Store) ReadAfter(m ident.MailboxID, namespaces []envelope.Namespace, after uint64, maxCount,
	maxBytes int) (statemachine.Page, error) {
	var page statemachine.Page
	var refused *fault.Error
	err := s.view(func(v *statemachine.View) {
		page, refused = v.ReadAfter(m, namespaces, after, maxCount, maxBytes)
		detachAll(page.Envelopes)
	})
	if err != nil {
		return statemachine.Page{}, err
	}
	return page, orNil(refused)
}

// Mailbox returns what this replica knows of m. Errors: NotFound, Corrupt.
func (s *Store) Mailbox(m ident.MailboxID) (statemachine.Mailbox, error) {
	var box statemachine.Mailbox
	var ok bool
	if err := s.view(func(v *statemachine.View) { box, ok = v.Mailbox(m) }); err != nil {
		return box, err
	}
	if !ok {
		return box, fault.New(fault.NotFound, "open mailbox", "there is no such mailbox")
	}
	return box, nil
}

// NextExpiry returns the earliest instant at which something is due for Expire; false: nothing is.
func (s *Store) NextExpiry() (at int64, ok bool) {
	if err := s.view(func(v *statemachine.View) { at, ok = v.NextDue() }); err != nil {
		return 0, false
	}
	return at, ok
}

// Slot returns the digest and the figures of one slot. Errors: Corrupt.
func (s *Store) Slot(slot ident.Slot) (st statemachine.SlotState, err error) {
	if ferr := s.view(func(v *statemachine.View) { st = v.Slot(slot) }); ferr != nil {
		return statemachine.SlotState{}, ferr
	}
	return st, nil
}

// Stats are figures for status pages.
type Stats struct {
	Mailboxes, Envelopes uint64
	Bytes                uint64 // of bodies and their overhead, as quotas count them
	FileBytes            uint64
}

// Stats returns the store's figures. Errors: Corrupt.
func (s *Store) Stats() (st Stats, err error) {
	ferr := s.view(func(v *statemachine.View) {
		for slot := range ident.Slot(ident.SlotCount) {
			sum := v.Slot(slot)
			st.Mailboxes += sum.Mailboxes
			st.Envelopes += sum.Count
			st.Bytes += sum.Bytes
		}
	})
	if ferr != nil {
		return Stats{}, ferr
	}
	st.FileBytes = fileSize(s.path)
	return st, nil
}

// Check is the scrub: it reads every row, and checks that rows, counts and digests agree. Errors: Corrupt;
// the store is broken then.
func (s *Store) Check() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	err := guard("check mailbox store", func() error {
		if err := s.flush(); err != nil {
			return err
		}
		return s.db.View(func(tx *bbolt.Tx) error {
			r := &rows{tx: tx}
			err := statemachine.Audit(r)
			if r.err != nil {
				err = r.err
			}
			return err
		})
	})
	if err != nil {
		return s.fail(err)
	}
	return nil
}

// view runs fn on a consistent state.
func (s *Store) view(fn func(*statemachine.View)) *fault.Error {
	if err := s.broken(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	read := func(tx *bbolt.Tx) error {
		r := &rows{tx: tx}
		fn(statemachine.NewView(r))
		return r.err
	}
	err := guard("read mailbox store", func() error {
		if done, err := s.pending.view(read); done {
			return err
		}
		return s.db.View(read)
	})
	if err != nil {
		return s.fail(err)
	}
	return nil
}

// broken returns the error that the store met before, nil if it is sound.
func (s *Store) broken() *fault.Error { return s.failure.Load() }

// fail makes err stick and reports it, the first time.
func (s *Store) fail(err error) *fault.Error {
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return fault.New(fault.Unavailable, "use mailbox store", "the store is closed")
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		f = fault.Wrap(fault.Internal, "use mailbox store", err)
	}
	if s.failure.CompareAndSwap(nil, f) && s.onFatal != nil {
		s.onFatal(f)
	}
	return f
}

func orNil(e *fault.Error) error {
	if e == nil {
		return nil
	}
	return e
}

// Close flushes, unless the store is broken, and closes the file, after the snapshots that are out.
func (s *Store) Close() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.broken() != nil {
		s.pending.discard()
	}
	return classified("close mailbox store", errors.Join(s.flush(), s.db.Close()))
}

// Crash closes the file without a flush, as the end of the process would.
func (s *Store) Crash() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.pending.discard()
	return classified("close mailbox store", s.db.Close())
}
