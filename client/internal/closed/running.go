package closed

import (
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/envelope"
)

// running is the running hash over a group's mailbox, as a subscription gave it. It is worth comparing from a
// number on at which the nodes told it: before, something may have been deleted.
type running struct {
	seq   uint64 // of the newest envelope that came
	sum   [32]byte
	based bool
	from  uint64 // where it was based
}

const warnUnevenMail = "the nodes did not give this device all that they took in for the group, " +
	"or something else than others"

// restart begins anew: what comes next may leave a gap.
func (w *worker) restart(cursor uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum = running{seq: cursor}
}

// count adds what the subscription gave.
func (w *worker) count(e envelope.Envelope) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := &w.sum; e.Seq > r.seq {
		r.seq = e.Seq
		r.sum = envelope.Running(r.sum, e.Seq, envelope.HashOf(w.mailbox, e.Namespace, e.Key, e.Body))
	}
}

// compareRunning compares the running hash that the nodes told at their head, which is what follows cursor,
// with that of the subscription. What was missed stays missed: the warning is taken back once a later stretch
// was whole.
func (w *worker) compareRunning(cursor uint64, told [32]byte) error {
	w.mu.Lock()
	r := &w.sum
	odd, whole := false, false
	switch {
	case told == [32]byte{} || r.seq != cursor: // more came meanwhile
	case !r.based:
		r.sum, r.based, r.from = told, true, cursor
	case r.sum != told:
		odd = true
		*r = running{seq: cursor, sum: told, based: true, from: cursor}
	default:
		whole = r.from < cursor
	}
	w.mu.Unlock()
	switch {
	case odd:
		return w.warn(warnUnevenMail)
	case whole:
		return w.note(func(tx *store.Tx, a *core.Batch, g *group) {
			if g.Warning == warnUnevenMail {
				w.c.unwarn(tx, a, g)
			}
		})
	}
	return nil
}
