package cluster

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/consensus"
	"github.com/starling-swarm/starling/cluster/internal/mailstore"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/ident"
)

// swarmFSM adapts a mailbox store to consensus, and tells the hub what happened to mailboxes.
type swarmFSM struct {
	store   *mailstore.Store
	hub     *hub
	applied atomic.Pointer[time.Time] // when this replica last applied a command; has a monotonic reading
}

func newSwarmFSM(store *mailstore.Store) *swarmFSM {
	f := &swarmFSM{store: store, hub: newHub()}
	now := time.Now()
	f.applied.Store(&now)
	return f
}

func (f *swarmFSM) ApplyBatch(batches []consensus.Batch) [][]any {
	entries := make([]mailstore.Batch, len(batches))
	commands := 0
	for i, b := range batches {
		entries[i] = mailstore.Batch{Index: b.Index, Term: b.Term, Commands: b.Commands}
		commands += len(b.Commands)
	}
	out := f.store.ApplyBatch(entries)
	if commands > 0 {
		now := time.Now()
		f.applied.Store(&now)
	}
	for _, results := range out {
		for _, r := range results {
			if res, ok := r.(statemachine.Result); ok {
				for i := range res.Events {
					f.hub.notify(res.Events[i].Mailbox)
				}
			}
		}
	}
	return out
}

func (f *swarmFSM) Applied() (index, term uint64) { return f.store.Applied() }
func (f *swarmFSM) Restore(r io.Reader) error     { return f.store.Restore(r) }
func (f *swarmFSM) Snapshot() (consensus.Snapshot, error) {
	s, err := f.store.Snapshot()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// stamp is what this replica, as the leader, puts on a command at the instant now.
func (f *swarmFSM) stamp(now time.Time) statemachine.Stamp {
	const slack = 2 * time.Second
	since := time.Since(*f.applied.Load()) + slack
	return statemachine.Stamp{Time: now.UnixMilli(), Allowance: uint32(min(since.Milliseconds(), 1<<32-1))}
}

// hub wakes the subscriptions of a mailbox. It carries no envelopes: a subscription reads them from the store
// after its own cursor, so none can be missed, repeated or overtaken, however slow its reader is.
type hub struct {
	mu   sync.Mutex
	subs map[ident.MailboxID]map[chan struct{}]struct{}
}

func newHub() *hub { return &hub{subs: make(map[ident.MailboxID]map[chan struct{}]struct{})} }

// attach returns a channel that gets a value when something happened to the mailbox since it was last read.
func (h *hub) attach(m ident.MailboxID) (wake chan struct{}, detach func()) {
	wake = make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[m] == nil {
		h.subs[m] = make(map[chan struct{}]struct{})
	}
	h.subs[m][wake] = struct{}{}
	return wake, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs[m], wake)
		if len(h.subs[m]) == 0 {
			delete(h.subs, m)
		}
	}
}

func (h *hub) notify(m ident.MailboxID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for wake := range h.subs[m] {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
