package mailstore

import (
	"sync"

	"go.etcd.io/bbolt"
)

// pending is the write transaction that stays open between flushes. bbolt's write transactions are for one
// goroutine at a time, reads in them included, hence the lock.
type pending struct {
	mu    sync.Mutex
	tx    *bbolt.Tx // nil: everything is on disk
	bytes int       // of commands applied in tx
}

// begin returns the open transaction, or opens one. The caller holds mu.
func (p *pending) begin(db *bbolt.DB) (*bbolt.Tx, error) {
	if p.tx == nil {
		tx, err := db.Begin(true)
		if err != nil {
			return nil, err
		}
		p.tx = tx
	}
	return p.tx, nil
}

// flush commits what waits; it is on disk when flush returns. The caller holds mu.
func (p *pending) flush() error {
	tx := p.tx
	if tx == nil {
		return nil
	}
	p.tx, p.bytes = nil, 0
	return tx.Commit()
}

// view runs fn on the open transaction; done is false if there is none, and then the file says everything.
func (p *pending) view(fn func(*bbolt.Tx) error) (done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tx == nil {
		return false, nil
	}
	return true, fn(p.tx)
}

// discard forgets what waits.
func (p *pending) discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tx != nil {
		_ = p.tx.Rollback() // it fails only for a transaction that has ended
		p.tx, p.bytes = nil, 0
	}
}

// flush makes the file the state that readers see.
func (s *Store) flush() error {
	s.pending.mu.Lock()
	defer s.pending.mu.Unlock()
	return s.pending.flush()
}
