package closed

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Whoever has a link may store requests to join, and the nodes keep a thousand of them. So the admins'
// devices delete what they have answered, whatever the answer was.

const (
	// nobodyAfter is how long a request of an account that does not exist is kept, for the nodes may not know
	// it yet.
	nobodyAfter = time.Hour
	// nobodyAsked is how often the nodes must have said that it does not exist, each time others of them.
	nobodyAsked = 3
	learnAtOnce = 4
	// learnMost is how many accounts' certificates are read at a time, and learnTime how long: then other
	// work has its turn.
	learnMost = 16
	learnTime = 10 * time.Second
)

// answers is one attempt at what is asked of a group's admins.
type answers struct {
	*core.Batch
	w     *worker
	who   map[ident.AccountID]bool // whose certificates must be read first
	asked []store.GroupAsk         // the requests that the change grants
}

// answered ends a request to join, and makes sure that it is deleted from the nodes.
func (c *Groups) answered(tx *store.Tx, a *core.Batch, ask *store.GroupAsk) {
	tx.DropGroupAsk(ask.N)
	hash := envelope.HashOf(c.groupMailbox(a, ask.Group), envelope.GroupAsk, [envelope.KeySize]byte{},
		ask.Body)
	tx.AddGroupAsk(&store.GroupAsk{Group: ask.Group, Kind: askDone, Body: hash[:], At: a.Now.UnixMilli()})
	c.changed(a, ask.Group)
}

// hopeless reports whether nobody needs to look at a request any more: it is older than it lies at the nodes,
// or of an account that does not exist.
func (a *answers) hopeless(tx *store.Tx, ask *store.GroupAsk) bool {
	age := a.Now.Sub(time.UnixMilli(ask.At))
	if age > requestTTL*time.Second {
		return true
	}
	p, err := a.w.c.people.Get(tx, ask.Account)
	return err == nil && p.Certs == nil && age > nobodyAfter && a.w.learnt[ask.Account] >= nobodyAsked
}

// certain leaves out of what may be granted the requests of accounts that the nodes refused to let in: these
// come when nobody else waits, each alone. It orders a.asked likewise.
func (a *answers) certain(all []groups.Change) []groups.Change {
	least := func(n int) (changes []groups.Change, asked []store.GroupAsk) {
		for i := range a.asked {
			if a.w.suspect[a.asked[i].Account] <= n {
				changes, asked = append(changes, all[i]), append(asked, a.asked[i])
			}
		}
		return changes, asked
	}
	maps.DeleteFunc(a.w.suspect, func(id ident.AccountID, _ int) bool {
		return !slices.ContainsFunc(a.asked, func(ask store.GroupAsk) bool { return ask.Account == id })
	})
	if changes, asked := least(0); len(changes) > 0 {
		a.asked = asked
		return changes
	}
	for n := 1; ; n++ {
		if changes, asked := least(n); len(changes) > 0 {
			a.asked = asked[:1]
			return changes[:1]
		}
	}
}

// granted notes how the attempt to grant requests ended. One that makes the nodes refuse the commit does not
// keep the others from being granted: fewer are put into the next, until it is found, and then what others
// ask comes first.
func (w *worker) granted(ctx context.Context, asked []store.GroupAsk, err error) error {
	var broken *core.StoreError
	_, forGood := refusal(err)
	switch {
	case errors.As(err, &broken), ctx.Err() != nil, len(asked) == 0:
	case err == nil:
		if w.grant *= 2; w.grant > groups.MaxAdds {
			w.grant = 0
		}
	case forGood && len(asked) > 1:
		w.grant = len(asked) / 2
	case forGood:
		w.c.core.Net.Elsewhere(w.mailbox)
		who := asked[0].Account
		if w.suspect[who]++; w.suspect[who] == 1 {
			return nil // others have their turn at once
		}
		if w.suspect[who] < maxRefusals {
			break
		}
		if err := w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
			w.c.answered(tx, a,
				&asked[0])
			return tx.Err()
		}); err != nil {
			return err
		}
	}
	return err
}

// learn reads certificates, of those first that were asked for least. Who is not known after that has to
// wait.
func (w *worker) learn(ctx context.Context, who map[ident.AccountID]bool) error {
	maps.DeleteFunc(w.learnt, func(id ident.AccountID, _ int) bool { return !who[id] })
	all := slices.SortedFunc(maps.Keys(who),
		func(x, y ident.AccountID) int { return w.learnt[x] - w.learnt[y] })
	all = all[:min(len(all), learnMost)]
	again := w.learnt[all[0]] > 0
	ctx, stop := context.WithTimeout(ctx, learnTime)
	defer stop()
	met := make([]error, len(all))
	var g errgroup.Group
	g.SetLimit(learnAtOnce)
	for i, id := range all {
		before := w.learnt[id]
		g.Go(func() error { met[i] = w.c.learnNewcomer(ctx, id, before > 0); return nil })
	}
	g.Wait()
	var failed error
	for i, err := range met {
		switch {
		case err == nil || core.IsGone(err):
			w.learnt[all[i]]++
		case failed == nil:
			failed = err
		}
	}
	if again && failed == nil {
		failed = fault.New(fault.Unavailable, "answer requests", "the certificates of who asks are not known")
	}
	return failed
}

// learnNewcomer reads the certificates of who asks to join; again: the nodes that were asked last did not
// have them.
func (c *Groups) learnNewcomer(ctx context.Context, id ident.AccountID, again bool) error {
	ctx, stop := context.WithTimeout(ctx, people.VerifyTimeout)
	defer stop()
	if again {
		p, err := c.people.Lookup(id)
		if err != nil {
			return err
		}
		c.core.Net.Elsewhere(p.Mailbox)
	}
	return c.people.Fetch(ctx, id, 0)
}

// answeredAsks returns the requests that are still to be deleted from the nodes.
func answeredAsks(asks []store.GroupAsk) []store.GroupAsk {
	return slices.DeleteFunc(slices.Clone(asks), func(ask store.GroupAsk) bool { return ask.Kind != askDone })
}

// clearAsks deletes answered requests from the nodes. What is gone already is passed over there.
func (w *worker) clearAsks(ctx context.Context, key seedKey, done []store.GroupAsk) error {
	done = done[:min(len(done), requestSpace/len(envelope.Hash{}))]
	del := envelope.Delete{Namespace: envelope.GroupAsk}
	for _, ask := range done {
		if len(ask.Body) == len(envelope.Hash{}) {
			del.Hashes = append(del.Hashes, envelope.Hash(ask.Body))
		}
	}
	if _, _, err := w.c.request(ctx, w.id, key, del); err != nil {
		if _, forGood := refusal(err); !forGood {
			return err
		}
		w.c.core.Log.Debug("answered requests stay with the nodes until they expire", "error", err)
	}
	return w.c.core.Commit(func(tx *store.Tx, _ *core.Batch) error {
		for _, ask := range done {
			tx.DropGroupAsk(ask.N)
		}
		return tx.Err()
	})
}
