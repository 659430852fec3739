package closed

import (
	"context"
	"errors"
	"time"

	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

const (
	// slotLife is how long the nodes keep the slots of a generation once the next has begun, if they have
	// room.
	slotLife = 60 * 24 * time.Hour
	// slotGenerations is of how many generations, the newest, they keep the slots for lack of room even.
	slotGenerations = 4
)

// leftOut ends the membership: the generation that e began has no slot for this account. If nodes may have
// dropped the slot, other devices and the admins are asked for keys.
func (w *worker) leftOut(ctx context.Context, e envelope.Envelope, wish slotWish, key account.Signer) error {
	never, err := w.neverHad(ctx, e, wish, key)
	switch {
	case err != nil:
		return err
	case never:
		return w.end(e, Removed)
	}
	return w.end(e, Returning)
}

// neverHad reports whether a slot that nodes do not have cannot have been dropped: those stored first go
// first, so the slot before would be gone as well, and those of the newest generations stay.
func (w *worker) neverHad(ctx context.Context, e envelope.Envelope, wish slotWish,
	key account.Signer) (bool, error) {
	// a replica that lags still has what was dropped
	_, head, err := w.throughLeader(ctx, key, envelope.RetrieveKey{Namespace: envelope.GroupSlots,
		Key: wish.before})
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fault.NotFound) {
		return false, err
	}
	if w.c.core.Net.Now().Sub(time.UnixMilli(e.StoredAt)) > slotLife {
		return false, nil
	}
	// at least what the leader has, after the slot was found missing
	log, err := w.fetchLog(ctx, key, e.Seq-1, head)
	if err != nil {
		return false, err
	}
	var first, newest uint32
	for _, e := range log {
		c, err := envelope.DecodeCommit(e.Body)
		if err != nil {
			return false, w.refuse(err)
		}
		if first == 0 {
			first = c.Generation
		}
		newest = max(newest, c.Generation)
	}
	return newest-first < slotGenerations, nil
}
