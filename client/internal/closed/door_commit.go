package closed

import (
	"context"
	"errors"
	"slices"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// storeJoin stores the commit that lets the account in and the capability of its key, if the log's head is
// still the one that it was made upon. Many may come at once: each that loses the race reads on and tries
// again.
func (w *worker) storeJoin(ctx context.Context, k *knock, p *groups.Proposal, write private.Key,
	slot []byte) error {
	head := k.log[len(k.log)-1].Seq
	commit := envelope.Store{Namespace: envelope.GroupLog, IfHead: &head, Body: p.Commit}
	resp, _, err := w.c.request(ctx, w.id, seedKey{write}, append([]envelope.Op{commit}, p.Ops...)...)
	var f *fault.Error
	switch {
	case core.Superseded(err):
		if k.head = max(k.head, core.HeadOf(err)); core.HeadOf(err) == 0 {
			w.c.core.Net.Elsewhere(w.mailbox)
		}
		w.jitter(ctx)
		return nil
	case errors.Is(err, fault.Invalid), errors.As(err, &f) && f.Kind == fault.Limited && f.RetryAfter == 0:
		return w.turnedAway(k, fault.Wrap(fault.Unavailable, "join group", err))
	case err != nil:
		return err
	}
	w.lost = 0
	w.point(ctx, "stored")
	log := append(slices.Clip(k.log), envelope.Envelope{Namespace: envelope.GroupLog,
		Seq: resp.Results[0].Seq, StoredAt: resp.Clock, Body: p.Commit})
	s, err := k.shared.Enter(w.c.core.Net.Now(), w.c.core.Cluster.ID, k.ticket, k.in, bodies(log), slot)
	if err != nil {
		return err
	}
	return w.cameIn(s, log)
}

func (w *worker) cameIn(s *groups.State, log []envelope.Envelope) error {
	w.door = nil
	s.Share(nil)
	return w.entered(s, log)
}

// noDoor notes that the nodes show no log to who has the link: they have no such group, or know nothing of
// its keys. One of them could lie, or lag.
func (w *worker) noDoor(k *knock, cause error) error {
	if k.denied++; k.denied < slotWitnesses {
		w.c.core.Net.Elsewhere(w.mailbox)
		return cause
	}
	w.door = nil
	if k.backsOut {
		return w.stayOut()
	}
	return w.endJoin("the cluster has no such group, or no log for who has this link: " + reasonOf(cause))
}

// turnedAway ends the attempts: the account is in already, has to ask an admin, or cannot come in at all.
func (w *worker) turnedAway(k *knock, why error) error {
	if k.backsOut {
		return w.stayOut()
	}
	switch fault.KindOf(why) {
	case fault.Denied: // one node could say so by giving something else than the slot
		if k.denied++; k.denied < slotWitnesses {
			w.c.core.Net.Elsewhere(w.mailbox)
			return nil
		}
	case fault.Exists, fault.Limited, fault.Unavailable:
	case fault.Stale: // a replica that lags
		return fault.Wrap(fault.Unavailable, "join group", why)
	default:
		w.door = nil
		w.c.core.Net.Elsewhere(w.mailbox)
		return w.refuse(why)
	}
	w.door = nil
	err := w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || !g.knocks() {
			return err
		}
		switch fault.KindOf(why) {
		case fault.Exists:
			return w.c.inElsewhere(tx, a, g)
		case fault.Denied:
			return w.c.joinEnded(tx, a, g, reasonOf(why))
		}
		if k.in.Generation < g.Past { // no admin lets the account in by that
			return w.c.joinEnded(tx, a, g, errOldLink.Detail)
		}
		g.Cause = reasonOf(why)
		if errors.Is(why, fault.Invalid) {
			// the nodes may know the key from a stay that this device never heard of
			keys, err := groups.NewKeys(cryptoRand)
			if err != nil {
				return err
			}
			g.Keys = keys.Marshal()
		}
		if err := w.c.makeRequest(g); err != nil {
			return err
		}
		w.c.save(tx, g)
		w.c.changed(a, g.ID)
		return tx.Err()
	})
	if err != nil {
		return err
	}
	w.c.WakeKeeper()
	return nil
}

// stayOut notes that no commit went in of a join that was declined.
func (w *worker) stayOut() error {
	w.door = nil
	return w.note(func(tx *store.Tx, a *core.Batch, g *group) {
		if g.backsOut() {
			g.Keys = nil
			w.c.save(tx, g)
		}
	})
}

// inElsewhere waits for the keys: the account is a member, and not by this device.
func (c *Groups) inElsewhere(tx *store.Tx, a *core.Batch, g *group) error {
	g.Status, g.Invitation, g.Keys, g.Cause = string(Returning), nil, nil, ""
	g.Warning = "the account is in the group already, with keys that this device waits for: if no other " +
		"device of the account has them, an admin has to remove the account first"
	c.save(tx, g)
	c.putNew(tx, g.ID, errandAsk, c.core.Pace.GroupAsk)
	c.changed(a, g.ID)
	return tx.Err()
}

// reasonOf is what an error says to people, without what was done.
func reasonOf(err error) string {
	var f *fault.Error
	for errors.As(err, &f) && f.Detail == "" && f.Cause != nil {
		err = f.Cause
	}
	if f != nil && f.Detail != "" {
		return f.Detail
	}
	return err.Error()
}

// voidJoin notes that somebody came with a link who may not come in: the nodes took in the capability of its
// key before any member could look, and are told to forget it.
func (c *Groups) voidJoin(tx *store.Tx, g *group, commit []byte) error {
	if !g.admin() || g.state.Form() != groups.FormPublic {
		return nil
	}
	d, err := g.state.Describe(commit)
	if err != nil || !d.Void || d.Kind != groups.KindJoin {
		return nil
	}
	_, err = c.want(tx, g.ID, wanted{Revoke: envelope.Serial(d.Index, 0)})
	return err
}

// each carries operations that stand alone. What is not there needs nothing done to it.
func (w *worker) each(ctx context.Context, r *envelope.Request, key seedKey) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	resp, _, err := w.c.core.Request(ctx, core.PurposeInbox, r, key)
	if err != nil {
		return err
	}
	for _, res := range resp.Results {
		if res.Err != nil && res.Err.Kind != fault.NotFound {
			return res.Err
		}
	}
	return nil
}
