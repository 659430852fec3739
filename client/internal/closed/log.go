package closed

import (
	"context"
	"errors"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// slotWitnesses is how many replicas must not have a slot, until an account believes that it was removed.
const slotWitnesses = 3

// scouted is what lies ahead of the state in the log: the newest read key, which messages want, and the slots
// on the way.
type scouted struct {
	generation uint32
	read       private.Key // seed
	slots      map[groups.Locator][]byte
}

func (w *worker) aheadOf(generation uint32) (key private.Key, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ahead == nil || w.ahead.generation <= generation {
		return key, false
	}
	return w.ahead.read, true
}

func (w *worker) scoutedSlot(at groups.Locator) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ahead == nil {
		return nil
	}
	return w.ahead.slots[at]
}

// heldLog is a log in memory. What a thousand members' leaf keys and some changes a day make in two years
// takes less than 200 MB; beyond the limit of pace nodes or an admin make the log up.
type heldLog struct {
	commits []envelope.Envelope
	size    int
}

// add appends commits. Errors: Corrupt (it would be larger than any log is).
func (l *heldLog) add(most int, all ...envelope.Envelope) error {
	for _, e := range all {
		if l.size += len(e.Body) + 128; l.size > most {
			return fault.New(fault.Corrupt, "read group log",
				"it has more than %d MB, which no group's log comes to", most>>20)
		}
		l.commits = append(l.commits, e)
	}
	return nil
}

// fetchLog returns the commits after a number, from a replica that has the one at head. Errors: Corrupt (it
// has no end).
func (w *worker) fetchLog(ctx context.Context, key account.Signer, after,
	head uint64) ([]envelope.Envelope, error) {
	var log heldLog
	for {
		page, err := w.fetchPage(ctx, key, after, head)
		if err != nil {
			return nil, err
		}
		if err := log.add(w.c.core.Pace.GroupLog, page.Envelopes...); err != nil {
			return nil, err
		}
		if !page.More {
			return log.commits, nil
		}
		if page.Seq <= after {
			return nil, fault.New(fault.Corrupt, "read group log", "its pages do not go on")
		}
		after = page.Seq
	}
}

func (w *worker) fetchPage(ctx context.Context, key account.Signer, after,
	head uint64) (page envelope.Result, err error) {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	r := &envelope.Request{Mailbox: w.mailbox, MinSeq: head,
		Ops: []envelope.Op{envelope.Retrieve{Namespaces: memberNamespaces[:1], After: after}}}
	resp, _, err := w.c.core.Request(ctx, core.PurposeInbox, r, key)
	if err != nil {
		return page, err
	}
	return resp.Results[0], nil
}

// fetchSlot returns the slot at a locator, nil if there is none: a refusal comes from the swarm's leader.
func (w *worker) fetchSlot(ctx context.Context, key account.Signer, at groups.Locator) ([]byte, error) {
	resp, _, err := w.c.request(ctx, w.id, key, envelope.RetrieveKey{Namespace: envelope.GroupSlots, Key: at})
	switch {
	case errors.Is(err, fault.NotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case len(resp.Results[0].Envelopes) != 1:
		return nil, fault.New(fault.Corrupt, "fetch slot", "%d envelopes, want 1",
			len(resp.Results[0].Envelopes))
	}
	return resp.Results[0].Envelopes[0].Body, nil
}

// slotWish is what a commit brings for this account.
type slotWish struct {
	at    groups.Locator
	must  bool // there is a slot
	fresh bool // it holds the keys of a generation: without one the account is left out

	before groups.Locator // of the own slot before
}

// wishOf says which slot stands beside the commit that follows s.
func wishOf(s *groups.State, commit []byte) (out slotWish) {
	c, err := envelope.DecodeCommit(commit)
	if index, _ := s.Head(); err != nil || c.Index != index+1 {
		return out // Apply says what is wrong with it
	}
	if out.at, out.must, err = s.Needs(commit); err != nil {
		return slotWish{}
	}
	out.fresh, out.before = out.must && c.Generation != s.Generation(), s.Slot()
	return out
}

// slot fetches what a commit brings; nil: nothing. One storage node could keep a slot back and make a member
// believe that it was removed, so others are asked before that is believed.
func (w *worker) slot(ctx context.Context, wish slotWish, key account.Signer) ([]byte, error) {
	if !wish.must {
		return nil, nil
	}
	if b := w.scoutedSlot(wish.at); b != nil {
		return b, nil
	}
	b, err := w.fetchSlot(ctx, key, wish.at)
	for asked := 1; err == nil && b == nil && wish.fresh && asked < slotWitnesses; asked++ {
		w.c.core.Net.Elsewhere(w.mailbox)
		b, err = w.fetchSlot(ctx, key, wish.at)
	}
	return b, err
}

// scout reads the log ahead of the state, for the read key of the newest generation: nobody gets messages
// with an older one. The state itself takes the commits in where they stand among the messages.
func (w *worker) scout(ctx context.Context, head uint64) error {
	var s *groups.State
	var cursor uint64
	err := w.c.core.View(func(tx *store.Tx) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || g.state == nil {
			return err
		}
		cursor, s = g.Cursor, g.state.Clone()
		return nil
	})
	if err != nil {
		return core.Broken(err)
	}
	if s == nil {
		return fault.New(fault.Unavailable, "follow group", "there are no keys")
	}
	was, key := s.Generation(), seedKey{s.ReadKey()}
	log, err := w.fetchLog(ctx, key, cursor, head)
	if err != nil {
		return err
	}
	slots := map[groups.Locator][]byte{}
	for _, e := range log {
		wish := wishOf(s, e.Body)
		slot, err := w.slot(ctx, wish, key)
		if err != nil {
			return err
		}
		if wish.fresh && slot == nil {
			return w.leftOut(ctx, e, wish, key)
		}
		if err := s.Apply(w.c.core.Net.Now(), e.Body, slot); err != nil {
			return w.refused(ctx, e, wish, err)
		}
		if slot != nil {
			slots[wish.at] = slot
		}
	}
	if s.Generation() == was {
		return fault.New(fault.Unavailable, "follow group", "the log does not show the new keys yet")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead = &scouted{generation: s.Generation(), read: s.ReadKey(), slots: slots}
	w.c.Moved.Fire()
	return nil
}

// took reports whether a commit was taken in. One that lies before what was may have been kept back.
func (g *group) took(e envelope.Envelope) bool { return e.Seq <= min(g.Cursor, g.HeadSeq) }

// takeCommit takes in one commit, in one transaction with what it brings about.
func (w *worker) takeCommit(ctx context.Context, e envelope.Envelope) error {
	var wish slotWish
	var key seedKey
	err := w.c.core.View(func(tx *store.Tx) error {
		g, err := w.c.get(tx, w.id)
		if err == nil && !g.took(e) && g.state != nil {
			wish, key = wishOf(g.state, e.Body), seedKey{g.state.ReadKey()}
		}
		return err
	})
	if err != nil {
		return core.Broken(err)
	}
	slot, err := w.slot(ctx, wish, key)
	if err != nil {
		return err
	}
	if wish.fresh && slot == nil {
		return w.leftOut(ctx, e, wish, key)
	}
	var refused error
	err = w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		if err != nil {
			return err
		}
		if g.took(e) || g.state == nil {
			return nil
		}
		refused, err = w.c.commitTo(tx, a, g, e, slot)
		return err
	})
	if err != nil {
		return err
	}
	w.c.Moved.Fire()
	if refused != nil {
		return w.refused(ctx, e, wish, refused)
	}
	return nil
}

// refused decides what becomes of a commit that cannot follow the state. A slot that does not open is no
// fault of the log: another own device may have changed the leaf key, which then lies in the own mailbox. If
// nothing there opens it, the account is a member without keys.
func (w *worker) refused(ctx context.Context, e envelope.Envelope, wish slotWish, cause error) error {
	if !wish.fresh || !errors.Is(cause, fault.Denied) && !errors.Is(cause, fault.Corrupt) {
		return w.refuse(cause)
	}
	if w.shut == e.Seq {
		return w.end(e, Returning)
	}
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	if err := w.c.syncOwn(ctx); err != nil {
		return err
	}
	w.shut = e.Seq
	return fault.Wrap(fault.Unavailable, "follow group", cause)
}

// commitTo applies a commit. refused is why it cannot follow the state: then nothing changes.
func (c *Groups) commitTo(tx *store.Tx, a *core.Batch, g *group, e envelope.Envelope,
	slot []byte) (refused, err error) {
	was := beforeOf(g.state)
	if err := g.state.Apply(a.Now, e.Body, slot); err != nil {
		return err, nil
	}
	g.Cursor, g.HeadSeq = max(g.Cursor, e.Seq), max(g.HeadSeq, e.Seq)
	if index, _ := g.state.Head(); index == was.Index { // it was taken in before
		c.save(tx, g)
		return nil, tx.Err()
	}
	c.saveState(tx, g)
	if err := c.settleChanges(tx, a, g, envelope.CommitHash(e.Body)); err != nil {
		return nil, err
	}
	if !g.Leaving {
		if err := c.groupNotices(tx, a, g, was, e.Body, e); err != nil {
			return nil, err
		}
		if err := c.committed(tx, g, was); err != nil {
			return nil, err
		}
		if err := c.finishReturns(tx, g, e.Body); err != nil {
			return nil, err
		}
		if err := c.voidJoin(tx, g, e.Body); err != nil {
			return nil, err
		}
		if err := c.lookAtDoor(tx, a, g, &was); err != nil {
			return nil, err
		}
	}
	if g.state.Disbanded() {
		g.Invitation = nil // nobody comes back to it
		c.leave(tx, g, Disbanded)
		if err := c.gone(tx, g); err != nil {
			return nil, err
		}
	}
	c.changed(a, g.ID)
	return nil, tx.Err()
}

// end erases the keys of the group: the account was removed, had left, or has to return.
func (w *worker) end(e envelope.Envelope, how Status) error {
	err := w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || g.state == nil {
			return err
		}
		if g.Leaving {
			how = Left
		}
		if how == Removed {
			if err := w.c.groupEnded(tx, a, g, how, e); err != nil {
				return err
			}
		}
		w.c.leave(tx, g, how)
		w.c.changed(a, g.ID)
		if how == Returning {
			return w.c.stands(tx, g.ID) // it asks for keys
		}
		if err := w.c.gone(tx, g); err != nil {
			return err
		}
		return w.c.answerLate(tx, a, g)
	})
	if err != nil {
		return err
	}
	w.c.WakeKeeper()
	return nil
}

// refuse tells, once, that the log that the nodes show is not the one that this device knows.
func (w *worker) refuse(cause error) error {
	return w.warn(errOtherLog.Detail + ": " + cause.Error())
}

// warn keeps a warning with the group and tells it once. It returns an error, so that the subscription ends
// and another replica is asked after a while.
func (w *worker) warn(text string) error {
	if err := w.note(func(tx *store.Tx, a *core.Batch, g *group) { w.c.warn(tx, a, g, text) }); err != nil {
		return err
	}
	return fault.New(fault.Unavailable, "follow group", "%s", text)
}
