package closed

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// catchUp returns once a group has taken in all that the leader of its swarm had in its log when catchUp was
// called, or once the account is no member any more. It needs Run.
func (e *Groups) catchUp(ctx context.Context, id ident.GroupID) error {
	e.kick(id)
	w := e.worker(id)
	if w == nil {
		return fault.New(fault.Unavailable, "fetch group", "the client does not run")
	}
	p, running, err := w.reachHead(ctx, w.memberCourse, len(memberNamespaces))
	if err != nil || p.namespaces == nil {
		return err
	}
	return w.compareRunning(p.cursor, running)
}

// catchUpAsks returns once what was asked of a group's admins when it was called is taken in, if the account
// is one of them.
func (e *Groups) catchUpAsks(ctx context.Context, id ident.GroupID) error {
	w := e.worker(id)
	if w == nil {
		return fault.New(fault.Unavailable, "fetch group", "the client does not run")
	}
	_, _, err := w.reachHead(ctx, w.adminCourse, len(adminNamespaces))
	return err
}

// reachHead returns once the course that plan wants has come to where the leader of the swarm is, with the
// running hash there. The course is empty if plan wants fewer than so many namespaces.
func (w *worker) reachHead(ctx context.Context, plan func(*store.Tx) (course, error),
	namespaces int) (p course, running [32]byte, err error) {
	for {
		moved := w.c.Moved.Watch()
		p, err := w.course(plan)
		if err != nil || len(p.namespaces) < namespaces {
			return course{}, running, err
		}
		res, err := w.strict(ctx, p, p.namespaces, 1)
		switch {
		case err == nil && len(res.Envelopes) == 0:
			return p, res.Running, nil
		case err == nil && p.cursor >= res.Envelopes[0].Seq:
			continue
		case err != nil && !errors.Is(err, fault.Stale) && !errors.Is(err, fault.Denied):
			return course{}, running, err
		}
		// The follow loops take in what was found, or look for the next key.
		select {
		case <-moved:
		case <-ctx.Done():
			return course{}, running, ctx.Err()
		}
	}
}

// CatchUpAll is catchUp and catchUpAsks for all groups at once.
func (e *Groups) CatchUpAll(ctx context.Context) error {
	var ids []ident.GroupID
	err := e.core.View(func(tx *store.Tx) error {
		for _, id := range tx.GroupIDs() {
			if g, err := e.get(tx, id); err == nil && g.lives() {
				ids = append(ids, id)
			}
		}
		return tx.Err()
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(catchUpAtOnce)
	for _, id := range ids {
		g.Go(func() error {
			if err := e.catchUp(ctx, id); err != nil {
				return err
			}
			return e.catchUpAsks(ctx, id)
		})
	}
	return g.Wait()
}

const catchUpAtOnce = 4 // groups
