package closed

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// task is one thing that a group's worker has to do; wait is how long it may be put off for others to do it.
type task struct {
	over bool // instead: the group is forgotten
	run  func(context.Context) error
	wait time.Duration
	// when to look again: for a change that stands aside, or into a warning; 0: there is none
	again time.Duration
}

// carryOut does what waits for a group: its request to join, what this device wants changed, what others ask
// the admins for.
func (w *worker) carryOut(ctx context.Context) error {
	delay := time.Duration(0)
	var since time.Time // when there was first something that others may do instead
	for ctx.Err() == nil {
		t, err := w.nextTask()
		if err != nil {
			return core.Broken(err)
		}
		if t.over {
			return nil
		}
		if t.run == nil {
			since = time.Time{}
			w.sleepUntilWoken(ctx, t.again)
			continue
		}
		if t.wait > 0 {
			if since.IsZero() {
				since = time.Now()
			}
			if left := t.wait - time.Since(since); left > 0 {
				if t.again > 0 {
					left = min(left, t.again)
				}
				w.sleepUntilWoken(ctx, left)
				continue
			}
		}
		w.c.turns.hurry(w.id)
		err = t.run(ctx)
		var broken *core.StoreError
		switch {
		case errors.As(err, &broken):
			return err
		case ctx.Err() != nil:
		case err != nil:
			w.c.core.Log.Debug("group change not done", "error", err)
			delay = core.NextDelay(delay, err)
			w.sleepUntilWoken(ctx, delay)
		default:
			delay = 0
			w.c.Moved.Fire()
		}
	}
	return ctx.Err()
}

// sleepUntilWoken waits for d, for ever if it is 0, or until something is wanted.
func (w *worker) sleepUntilWoken(ctx context.Context, d time.Duration) {
	var after <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-after:
	case <-w.wake:
	case <-ctx.Done():
	}
}

// nextTask picks what to do next. No run: nothing.
func (w *worker) nextTask() (t task, err error) {
	err = w.c.core.View(func(tx *store.Tx) error {
		g, err := w.c.get(tx, w.id)
		if errors.Is(err, fault.NotFound) {
			t.over = true
			return nil
		}
		if err != nil {
			return err
		}
		next, again := w.nextChange(tx.GroupChanges(w.id))
		switch {
		case Status(g.Status) == Waiting && !g.Asked && g.Request != nil:
			row := g.Group
			t.run = func(ctx context.Context) error { return w.ask(ctx, row) }
		case g.knocks(), g.backsOut():
			t.run = w.comeIn
		case g.state == nil || Status(g.Status) != Joined:
		case g.admin() && g.HeadSeq == 0:
			_, sum := g.state.Head()
			key := seedKey{g.state.ReadKey()}
			t.run = func(ctx context.Context) error { return w.findHead(ctx, key, sum) }
		case next != nil:
			t.run = func(ctx context.Context) error { return w.change(ctx, *next) }
		case g.admin() && waiting(tx.GroupAsks(w.id)):
			t = task{run: w.answer, wait: time.Duration(rank(g.state)) * w.c.core.Pace.Turn}
		case g.admin() && len(answeredAsks(tx.GroupAsks(w.id))) > 0:
			done := answeredAsks(tx.GroupAsks(w.id))
			admin, _ := g.state.AdminKey()
			t = task{run: func(ctx context.Context) error { return w.clearAsks(ctx, seedKey{admin}, done) },
				wait: time.Duration(rank(g.state)) * w.c.core.Pace.Turn}
		default:
			if l, ok := endedLink(tx, g); ok {
				t.run = func(ctx context.Context) error { return w.clearLink(ctx, l) }
			}
		}
		t.again = again
		switch {
		case !g.warned():
			w.lookAgain = aside{}
		case t.run == nil:
			if left := w.lookAgainIn(); left <= 0 {
				t.run = w.lookIntoWarning
			} else if again == 0 || left < again {
				t.again = left
			}
		}
		return nil
	})
	return t, err
}

// waiting reports whether there is something that no admin's word is needed for, besides leaf keys: those
// wait for the next generation.
func waiting(asks []store.GroupAsk) bool {
	for _, ask := range asks {
		if !ask.Held && !ofLeaf(&ask) && ask.Kind != askDone {
			return true
		}
	}
	return false
}

// rank is the place of the own account among the admins: those after the first wait a while for those before.
func rank(s *groups.State) (n int) {
	for _, m := range s.Members() {
		if m.Account == s.Self() {
			break
		}
		if m.Role == groups.Admin {
			n++
		}
	}
	return n
}

// change makes one attempt at what this device wants.
func (w *worker) change(ctx context.Context, ch store.GroupChange) error {
	want, err := decodeWanted(ch.Want)
	if err != nil {
		return core.Broken(err)
	}
	if want.Leave {
		return w.tried(ctx, ch, w.sayLeave(ctx, ch))
	}
	if want.Revoke != 0 {
		return w.tried(ctx, ch, w.revoke(ctx))
	}
	var t *attempt
	err = w.c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || g.state == nil {
			return err
		}
		change, err := want.on(g.state)
		if err == nil {
			if err = w.addLeaves(tx, g, &change); err != nil {
				return err
			}
			t, err = w.c.propose(tx, g, change)
		}
		switch {
		case err == nil:
			ch.Tried = envelope.CommitHash(t.p.Commit)
			tx.SaveGroupChange(&ch)
		case errors.Is(err, fault.Exists):
			return w.c.changeDone(tx, a, g, ch)
		case errors.Is(err, fault.Internal):
			return err
		default:
			w.c.giveUp(tx, a, g, ch, err)
		}
		return tx.Err()
	})
	if err != nil {
		return core.Broken(err)
	}
	if t == nil {
		return nil
	}
	return w.tried(ctx, ch, w.settle(ctx, t))
}

// addLeaves puts the leaf keys that members sent into a change that begins a generation.
func (w *worker) addLeaves(tx *store.Tx, g *group, ch *groups.Change) error {
	if ch.Kind != groups.KindRemove && ch.Kind != groups.KindRekey && (ch.Kind != groups.KindRole ||
		!lowers(g.state, ch)) {
		return nil
	}
	for _, ask := range leavesAsked(tx, g.ID) {
		if len(ch.Leaves) == groups.MaxLeaves {
			break
		}
		u, err := groups.DecodeLeafUpdate(ask.Body)
		if m := g.state.Member(ask.Account); err != nil || m == nil || u.Number <= m.LeafNumber {
			tx.DropGroupAsk(ask.N)
			continue
		}
		// A member's devices may have drawn two; a commit takes one.
		i := slices.IndexFunc(ch.Leaves, func(o groups.LeafUpdate) bool { return o.Account == u.Account })
		switch {
		case i < 0:
			ch.Leaves = append(ch.Leaves, *u)
		case ch.Leaves[i].Number < u.Number:
			ch.Leaves[i] = *u
		}
	}
	return tx.Err()
}

// lowers reports whether a change of a role begins a generation.
func lowers(s *groups.State, ch *groups.Change) bool {
	if len(ch.Targets) != 1 {
		return false
	}
	m := s.Member(ch.Targets[0].Account)
	return m != nil && ch.Role < m.Role
}

// sayLeave tells the admins that this account leaves; any of them ends its membership.
func (w *worker) sayLeave(ctx context.Context, ch store.GroupChange) error {
	var word []byte
	var key seedKey
	var generation uint32
	err := w.c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || g.state == nil {
			return err
		}
		if word, err = g.state.Leave(cryptoRand); err != nil {
			w.c.giveUp(tx, a, g, ch, err)
			word = nil
			return tx.Err()
		}
		key, generation = seedKey{g.state.WriteKey()}, g.state.Generation()
		return nil
	})
	if err != nil {
		return core.Broken(err)
	}
	if word == nil {
		return nil
	}
	put := envelope.Store{Namespace: envelope.GroupLeaves, TTL: leaveTTL, IfGeneration: &generation,
		Body: word}
	if _, _, err := w.c.request(ctx, w.id, key, put); err != nil {
		return err
	}
	err = w.c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		tx.DropGroupChange(ch.N)
		g, err := w.c.get(tx, w.id)
		if err != nil || g.state == nil {
			return err
		}
		g.Status, g.Leaving = string(Left), true
		w.c.save(tx, g)
		w.c.changed(a, w.id)
		if err := w.c.groupEnded(tx, a, g, Left, envelope.Envelope{StoredAt: a.Now.UnixMilli()}); err != nil {
			return err
		}
		return w.c.gone(tx, g)
	})
	if err != nil {
		return core.Broken(err)
	}
	return nil
}

const leaveTTL = 30 * 24 * 3600
