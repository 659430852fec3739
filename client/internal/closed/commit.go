package closed

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

const (
	stagedTTL = 3600 // seconds that slots wait for their commit
	// how long a commit that was stored may take to come back through the subscription
	commitAlone  = 30 * time.Second
	stageAtOnce  = 4 // requests with slots under way
	burst        = 8 // own commits within a second that nobody has to wait for
	requestSpace = envelope.MaxClientBatch - 2048
)

// attempt is a commit on its way to the log.
type attempt struct {
	p     *groups.Proposal
	admin private.Key // seed of the key in force before it
	head  uint64      // sequence number of the commit before it
	index uint64
}

// propose makes the commit for a change upon the group's head. It runs inside a transaction. Errors: those of
// State.Propose.
func (c *Groups) propose(tx *store.Tx, g *group, ch groups.Change) (*attempt, error) {
	key, ok := g.state.AdminKey()
	if !ok {
		return nil, fault.New(fault.Denied, "change group", "this account is no admin")
	}
	p, err := g.state.Propose(rand.Reader, c.core.Net.Now(), ch)
	if err != nil {
		return nil, err
	}
	if err := c.spareAhead(tx, g, p); err != nil {
		return nil, err
	}
	index, _ := g.state.Head()
	return &attempt{p: p, admin: key, head: g.HeadSeq, index: index + 1}, nil
}

// submit stages the slots of a commit and stores it, if the log's head is still the one that it was made
// upon. Errors: Stale (another commit came first), NotFound (another admin staged over the slots), those of
// requests.
func (w *worker) submit(ctx context.Context, t *attempt) error {
	commit := envelope.Store{Namespace: envelope.GroupLog, IfHead: &t.head, Body: t.p.Commit}
	last := append([]envelope.Op{commit}, t.p.Ops...)
	room, ops := requestSpace-len((&envelope.Request{Ops: last}).Encode()), envelope.MaxOps-len(last)
	early := len(t.p.Slots) // what does not fit beside the commit goes before it
	for size := 0; early > 0 && ops > 0; ops-- {
		if size += len(t.p.Body(early-1)) + 64; size > room {
			break
		}
		early--
	}
	key := seedKey{t.admin}
	g, sctx := errgroup.WithContext(ctx)
	g.SetLimit(stageAtOnce)
	for _, batch := range stageBatches(t.p, early) {
		g.Go(func() error {
			_, _, err := w.c.request(sctx, w.id, key, batch...)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	w.point(ctx, "staged")
	request := append(stage(t.p, early, len(t.p.Slots)), last...)
	_, _, err := w.c.request(ctx, w.id, key, request...)
	if err == nil {
		w.lost = 0
		w.point(ctx, "stored")
	}
	return err
}

// point is where tests let a process die.
func (w *worker) point(ctx context.Context, name string) {
	if w.c.core.Pace.Commit != nil {
		w.c.core.Pace.Commit(ctx, name)
	}
}

// stage returns the stores of some of a commit's slots.
func stage(p *groups.Proposal, from, to int) (ops []envelope.Op) {
	for i := from; i < to; i++ {
		ops = append(ops, envelope.Store{Namespace: envelope.GroupSlots, Key: p.Slots[i].Locator,
			TTL: stagedTTL, Body: p.Body(i)})
	}
	return ops
}

// stageBatches divides the first n slots among requests.
func stageBatches(p *groups.Proposal, n int) (out [][]envelope.Op) {
	for from := 0; from < n; {
		to, size := from, 0
		for to < n && to-from < envelope.MaxOps {
			if size += len(p.Body(to)) + 64; size > requestSpace {
				break
			}
			to++
		}
		out = append(out, stage(p, from, to))
		from = to
	}
	return out
}

// settle brings a commit into the log and waits until the group has taken in the commit of its index, its own
// or the one that came first. nil: look what is left to do.
func (w *worker) settle(ctx context.Context, t *attempt) error {
	err := w.submit(ctx, t)
	switch {
	case err == nil, errors.Is(err, fault.Stale):
		if werr := w.waitIndex(ctx, t.index); werr != nil {
			return werr
		}
		if err != nil {
			w.jitter(ctx)
		} else {
			w.rest(ctx)
		}
		return nil
	case errors.Is(err, fault.NotFound):
		w.jitter(ctx)
		return fault.Wrap(fault.Unavailable, "change group", err)
	}
	return err
}

// jitter waits a little, longer after each race that was lost, but for the first: who lost one is at hand to
// win the next.
func (w *worker) jitter(ctx context.Context) {
	if w.lost = min(w.lost+1, 6); w.lost > 1 {
		w.c.core.Sleep(ctx, core.Spread(0, w.c.core.Pace.Race<<w.lost))
	}
}

// rest waits after a burst of own commits, so that other admins get their turn.
func (w *worker) rest(ctx context.Context) {
	now := time.Now()
	w.recent = append(w.recent, now)
	if len(w.recent) <= burst {
		return
	}
	first := w.recent[0]
	if w.recent = w.recent[1:]; now.Sub(first) < time.Second {
		w.c.core.Sleep(ctx, w.c.core.Pace.Race)
	}
}

// waitIndex returns once the group has taken in the commit with an index, or cannot any more.
func (w *worker) waitIndex(ctx context.Context, index uint64) error {
	ctx, stop := context.WithTimeout(ctx, commitAlone)
	defer stop()
	for {
		moved := w.c.Moved.Watch()
		done := false
		err := w.c.core.View(func(tx *store.Tx) error {
			g, err := w.c.get(tx, w.id)
			if err != nil {
				return err
			}
			if done = g.state == nil; !done {
				at, _ := g.state.Head()
				done = at >= index
			}
			return nil
		})
		if err != nil {
			return core.Broken(err)
		}
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fault.New(fault.Unavailable, "change group", "the group's log does not come")
		}
	}
}

// findHead learns where the newest commit that was taken in lies in the mailbox: the next is stored on the
// condition that it is still the newest there.
func (w *worker) findHead(ctx context.Context, key account.Signer, sum [32]byte) error {
	log, err := w.fetchLog(ctx, key, 0, 0)
	if err != nil {
		return err
	}
	for _, e := range log {
		if envelope.CommitHash(e.Body) != sum {
			continue
		}
		return w.c.core.Commit(func(tx *store.Tx, _ *core.Batch) error {
			g, err := w.c.get(tx, w.id)
			if err != nil {
				return err
			}
			g.HeadSeq = max(g.HeadSeq, e.Seq)
			w.c.save(tx, g)
			return tx.Err()
		})
	}
	return fault.New(fault.Unavailable, "find commit", "the log does not show the newest commit yet")
}
