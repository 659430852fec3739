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
	"github.com/starling-swarm/starling/internal/private"
)

var memberNamespaces = []envelope.Namespace{envelope.GroupLog, envelope.GroupMail, envelope.GroupNotice}

// course is a subscription to a group's mailbox.
type course struct {
	namespaces []envelope.Namespace // none: nothing to follow
	key        private.Key          // seed
	cursor     uint64
}

func (p course) same(q course) bool {
	return p.key.Equal(q.key) && slices.Equal(p.namespaces, q.namespaces)
}

// follow takes in the group's mailbox, in its order, until ctx ends.
func (w *worker) follow(ctx context.Context) error {
	return w.subscribe(ctx, w.memberCourse, func(ctx context.Context, p course,
		batch []envelope.Envelope) error {
		if len(p.namespaces) == 1 {
			return w.takeWaiting(ctx, batch)
		}
		return w.takeBatch(ctx, batch)
	}, w.scout)
}

// memberCourse is what the follow loop subscribes to: as a member everything, from the cursor; while the
// account waits to be let in, the log from its first commit.
func (w *worker) memberCourse(tx *store.Tx) (p course, err error) {
	g, err := w.c.get(tx, w.id)
	if err != nil {
		return p, err
	}
	switch {
	case g.state != nil && (Status(g.Status) == Joined || g.Leaving):
		p = course{memberNamespaces, g.state.ReadKey(), g.Cursor}
		if key, ok := w.aheadOf(g.state.Generation()); ok {
			p.key = key
		}
	case Status(g.Status) == Waiting && g.Asked:
		in, err := groups.DecodeInvitation(g.Invitation)
		if err != nil {
			return p, err
		}
		p = course{memberNamespaces[:1], in.ReadKey(), 0}
	}
	return p, nil
}

// subscribe keeps the subscription that plan wants, and subscribes anew when it wants another. When a
// subscription ends because its key is one of the past, stale looks for the next.
func (w *worker) subscribe(ctx context.Context, plan func(*store.Tx) (course, error),
	take func(context.Context, course, []envelope.Envelope) error, stale func(context.Context,
		uint64) error) error {
	delay := time.Duration(0)
	for ctx.Err() == nil {
		turned := w.turned.Watch()
		p, err := w.course(plan)
		if err != nil {
			return core.Broken(err)
		}
		if len(p.namespaces) == 0 {
			select {
			case <-turned:
			case <-ctx.Done():
			}
			continue
		}
		live, err := w.subscribeInTurn(ctx, plan, take)
		var broken *core.StoreError
		if errors.As(err, &broken) {
			return err
		}
		if live {
			delay = 0
		}
		if errors.Is(err, fault.Stale) || errors.Is(err, fault.Denied) {
			err = stale(ctx, core.HeadOf(err))
			if errors.As(err, &broken) {
				return err
			}
		}
		if err == nil {
			continue // another course
		}
		delay = min(core.NextDelay(delay, err), 10*time.Second)
		w.c.core.Log.Debug("group subscription ended", "error", err)
		w.pause(ctx, turned, delay)
	}
	return ctx.Err()
}

// subscribeInTurn is subscribeOnce, as soon as it is the group's turn.
func (w *worker) subscribeInTurn(ctx context.Context, plan func(*store.Tx) (course, error),
	take func(context.Context, course, []envelope.Envelope) error) (live bool, err error) {
	h, err := w.c.turns.take(ctx, w.id)
	if err != nil {
		return false, err
	}
	defer w.c.turns.give(w.id, h)
	p, err := w.course(plan) // it may have waited for long
	if err != nil {
		return false, core.Broken(err)
	}
	if len(p.namespaces) == 0 {
		return false, nil
	}
	return w.subscribeOnce(ctx, h, p, plan, take)
}

func (w *worker) course(plan func(*store.Tx) (course, error)) (p course, err error) {
	err = w.c.core.View(func(tx *store.Tx) (err error) {
		p, err = plan(tx)
		if errors.Is(err, fault.NotFound) {
			err = nil // forgotten
		}
		return err
	})
	return p, err
}

// pause waits for d, or until the group changes.
func (w *worker) pause(ctx context.Context, turned <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-turned:
	case <-ctx.Done():
	}
}

// subscribeOnce holds one subscription until it ends, or until plan wants another or the turn is over: then
// the error is nil. live: something came.
func (w *worker) subscribeOnce(ctx context.Context, h *turn, p course, plan func(*store.Tx) (course, error),
	take func(context.Context, course, []envelope.Envelope) error) (live bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	queue := make(chan envelope.Envelope, core.MaxBatch)
	done := make(chan error, 1)
	go func() {
		done <- core.Drain(queue, func(batch []envelope.Envelope) error { return take(ctx, p, batch) })
		stop() // what could not be taken in is asked for again, even if nothing else comes
	}()
	other := make(chan bool, 1)
	go func() { other <- w.watchCourse(ctx, h, p, plan, stop) }()
	key := seedKey{p.key}
	build := func() []byte {
		sub := envelope.Subscribe{Mailbox: w.mailbox, Authority: key.Public(), Namespaces: p.namespaces,
			Cursor: p.cursor}
		return sub.Encode()
	}
	counted := len(p.namespaces) == len(memberNamespaces)
	if counted {
		w.restart(p.cursor)
	}
	err = w.c.core.Net.Subscribe(ctx, w.mailbox, build, core.SignWith(key), func(e envelope.Envelope) error {
		live = true
		w.c.turns.touch(h)
		if counted {
			w.count(e)
		}
		select {
		case queue <- e:
			return nil
		case err := <-done:
			done <- err
			return err
		}
	})
	stop()
	close(queue)
	terr, changed := <-done, <-other
	var broken *core.StoreError
	switch {
	case errors.As(terr, &broken):
		return live, terr
	case changed:
		return live, nil
	case terr != nil:
		return live, terr
	}
	return live, err
}

// watchCourse ends a subscription when plan wants another or the turn is over, and reports whether it did.
func (w *worker) watchCourse(ctx context.Context, h *turn, p course,
	plan func(*store.Tx) (course, error), stop func()) bool {
	for {
		turned := w.turned.Watch()
		if q, err := w.course(plan); err == nil && !p.same(q) {
			stop()
			return true
		}
		select {
		case <-turned:
		case <-h.over:
			stop()
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// takeBatch takes in envelopes in order. A commit ends a stretch: what follows it is of the state after it.
func (w *worker) takeBatch(ctx context.Context, batch []envelope.Envelope) error {
	return core.InStretches(ctx, batch, envelope.GroupLog, w.takeMessages, w.takeCommit)
}
