package closed

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

var (
	cryptoRand      = rand.Reader
	adminNamespaces = []envelope.Namespace{envelope.GroupLeaves, envelope.GroupAsk}
)

// administer takes in what members and those who want to be tell the admins, while the account is one of
// them.
func (w *worker) administer(ctx context.Context) error {
	return w.subscribe(ctx, w.adminCourse, func(_ context.Context, _ course,
		batch []envelope.Envelope) error {
		return w.takeAsks(batch)
	}, func(context.Context, uint64) error {
		// The follow loop finds the next keys.
		return fault.New(fault.Unavailable, "follow group", "the admin key is superseded")
	})
}

func (w *worker) adminCourse(tx *store.Tx) (p course, err error) {
	g, err := w.c.get(tx, w.id)
	if err != nil || !g.admin() {
		return p, err
	}
	key, _ := g.state.AdminKey()
	return course{adminNamespaces, key, g.AdminCursor}, nil
}

// takeAsks keeps what is asked until it is answered, in one transaction with the cursor.
func (w *worker) takeAsks(batch []envelope.Envelope) error {
	return w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || !g.admin() {
			return err
		}
		for _, e := range batch {
			if e.Seq <= g.AdminCursor {
				continue
			}
			g.AdminCursor = e.Seq
			switch e.Namespace {
			case envelope.GroupAsk:
				tx.AddGroupAsk(&store.GroupAsk{Group: w.id, Kind: askRequest, Body: e.Body, At: e.StoredAt})
			case envelope.GroupLeaves:
				w.c.takeWord(tx, a, g, e)
			}
		}
		w.c.save(tx, g)
		w.c.changed(a, w.id)
		return tx.Err()
	})
}

// takeWord keeps what a member said to the admins. What does not open is noise.
func (c *Groups) takeWord(tx *store.Tx, a *core.Batch, g *group, e envelope.Envelope) {
	word, err := g.state.ReadToAdmins(e.Body)
	switch {
	case err != nil:
		c.core.Log.Debug("word to the admins not opened", "error", err)
	case word.Urgent:
		c.takeUrgent(tx, a, g, word, e.StoredAt)
	case word.Leaf != nil:
		tx.AddGroupAsk(&store.GroupAsk{Group: g.ID, Kind: askLeaf, Account: word.Account,
			Body: word.Leaf.Encode(), At: e.StoredAt})
	case word.Leave != nil:
		tx.AddGroupAsk(&store.GroupAsk{Group: g.ID, Kind: askLeave, Account: word.Account,
			Body: word.Leave.Encode(), At: e.StoredAt})
	}
}

// answer makes one attempt at what is asked: everybody who leaves goes with one commit, everybody who may
// come in comes with another.
func (w *worker) answer(ctx context.Context) error {
	var t *attempt
	rest := false
	var a *answers
	err := w.c.core.Update(func(tx *store.Tx, b *core.Batch) (err error) {
		a = &answers{Batch: b, w: w, who: map[ident.AccountID]bool{}}
		defer func() { rest = waiting(tx.GroupAsks(w.id)) }()
		g, err := w.c.get(tx, w.id)
		if err != nil || !g.admin() {
			return err
		}
		if err := a.returns(tx, g); err != nil {
			return err
		}
		for _, next := range []func(*store.Tx, *group) (*groups.Change, error){a.leavers, a.newcomers} {
			ch, err := next(tx, g)
			if err != nil {
				return err
			}
			if ch == nil {
				continue
			}
			if err := w.addLeaves(tx, g, ch); err != nil {
				return err
			}
			if t, err = w.c.propose(tx, g, *ch); err == nil {
				return nil
			}
			if errors.Is(err, fault.Internal) {
				return err
			}
			w.c.core.Log.Debug("requests not granted", "error", err)
		}
		return nil
	})
	if err != nil {
		return core.Broken(err)
	}
	switch {
	case t != nil:
		return w.granted(ctx, a.asked, w.settle(ctx, t))
	case len(a.who) > 0:
		return w.learn(ctx, a.who)
	case rest:
		return fault.New(fault.Unavailable, "answer requests", "they cannot be granted now")
	}
	return nil
}

// leavers is the removal of those who said that they leave.
func (a *answers) leavers(tx *store.Tx, g *group) (*groups.Change, error) {
	out := groups.Change{Kind: groups.KindRemove, Left: true}
	for _, ask := range tx.GroupAsks(g.ID) {
		if ask.Kind != askLeave {
			continue
		}
		ch, err := groups.DecodeChange(ask.Body)
		if err != nil {
			return nil, err
		}
		m := g.state.Member(ask.Account)
		if len(ch.Targets) != 1 || m == nil || m.Joined != ch.Targets[0].Joined ||
			ask.Account == a.w.c.core.Me {
			// Gone already. Nobody removes the own account: another admin does.
			if ask.Account != a.w.c.core.Me {
				tx.DropGroupAsk(ask.N)
			} else {
				ask.Held = true
				tx.SaveGroupAsk(&ask)
			}
			continue
		}
		out.Targets = append(out.Targets, ch.Targets...)
	}
	if len(out.Targets) == 0 {
		return nil, tx.Err()
	}
	return &out, tx.Err()
}

// newcomers is the addition of those whose requests count. What never will is answered with that.
func (a *answers) newcomers(tx *store.Tx, g *group) (*groups.Change, error) {
	var all []groups.Change
	for _, ask := range tx.GroupAsks(g.ID) {
		if ask.Kind != askRequest || ask.Held {
			continue
		}
		ch, err := g.state.OpenRequest(ask.Body)
		if err == nil {
			err = g.state.CheckAdd(ch, a.Now)
		}
		if err == nil {
			m := ch.Adds[0].Member
			if ask.Account != m.Account {
				ask.Account = m.Account
				tx.SaveGroupAsk(&ask)
			}
			err = a.w.c.checkGroupCredential(tx, g.ID, m)
			if errors.Is(err, fault.NotFound) {
				if a.hopeless(tx, &ask) {
					a.w.c.answered(tx, a.Batch, &ask)
				} else {
					a.who[m.Account] = true
				}
				continue
			}
		}
		switch {
		case err == nil:
			all, a.asked = append(all, ch), append(a.asked, ask)
		case errors.Is(err, fault.Limited):
			ask.Held = true // until somebody makes room
			tx.SaveGroupAsk(&ask)
		default:
			a.w.c.core.Log.Debug("request to join not granted", "error", err)
			a.w.c.answered(tx, a.Batch, &ask)
		}
	}
	if len(all) == 0 {
		return nil, tx.Err()
	}
	all = a.certain(all)
	if a.w.grant > 0 {
		all = all[:min(len(all), a.w.grant)]
	}
	out, _ := groups.JoinAdds(g.state.MaxAdds(), all...) // the rest comes in with the next
	a.asked = a.asked[:len(out.Adds)]
	return &out, tx.Err()
}

// returns turns the wish of members who lost their keys to come back into changes: first out, then in.
func (a *answers) returns(tx *store.Tx, g *group) error {
	for _, ask := range tx.GroupAsks(g.ID) {
		if ask.Kind != askReturn || ask.Held {
			continue
		}
		remove, add, err := g.state.OpenReturn(ask.Account, ask.Body)
		if err == nil {
			err = a.w.c.checkGroupCredential(tx, g.ID, add.Adds[0].Member)
			if errors.Is(err, fault.NotFound) {
				a.who[ask.Account] = true
				continue
			}
		}
		tx.DropGroupAsk(ask.N)
		a.w.c.changed(a.Batch, g.ID)
		if err != nil {
			a.w.c.core.Log.Debug("return not granted", "error", err)
			continue
		}
		for _, ch := range []groups.Change{remove, add} {
			if _, err := a.w.c.want(tx, g.ID, wantChange(ch)); err != nil {
				return err
			}
		}
	}
	return tx.Err()
}
