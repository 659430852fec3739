package closed

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
)

// takeHistory gives s, which the account just entered with, the keys for days of earlier generations that lie
// beside the commit that let it in. What is missing there, or of no use, only means that less of what was
// written earlier opens.
func (w *worker) takeHistory(ctx context.Context, key account.Signer, ticket *groups.Ticket, s *groups.State,
	log []envelope.Envelope) error {
	index, _ := s.Head()
	commit := log[index-1].Body
	var slots [][]byte
	for _, at := range s.HistorySlots(ticket, commit) {
		slot, err := w.fetchSlot(ctx, key, at)
		if err != nil {
			return err
		}
		if slot == nil {
			break
		}
		slots = append(slots, slot)
	}
	if len(slots) == 0 {
		return nil
	}
	if err := s.TakeHistory(ticket, commit, slots); err != nil {
		w.c.core.Log.Warn("history of a group not taken in", "error", err)
	}
	return nil
}

// lastBefore returns the sequence number of the last commit that was stored before a day; 0: none was.
func lastBefore(log []envelope.Envelope, day uint32) (cursor uint64) {
	for _, e := range log {
		if groups.Day(time.UnixMilli(e.StoredAt)) < day {
			cursor = e.Seq
		}
	}
	return cursor
}
