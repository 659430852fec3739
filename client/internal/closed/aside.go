package closed

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// A change that the nodes refuse stands aside: it is tried again less and less often, and what was wanted
// after it goes on meanwhile. What concerns the same accounts keeps its order, but a removal waits for
// nothing that stands aside.

// maxRefusals is how often the nodes may refuse a change until it is given up. Each time others of them are
// asked, as far as there are any: one that lies keeps no removal away.
const maxRefusals = 5

// aside is how long a change stands aside.
type aside struct {
	until time.Time
	delay time.Duration
}

// refusal tells the nodes' word about a change from what happened on the way to them. forGood: they gave no
// hope.
func refusal(err error) (refused, forGood bool) {
	var f *fault.Error
	if !errors.As(err, &f) {
		return false, false
	}
	switch f.Kind {
	case fault.Unavailable, fault.WrongSwarm, fault.Stale:
		return false, false
	}
	return true, f.Kind != fault.Limited
}

// tried keeps with a change what an attempt at it met. nil: others may have their turn, the change is done,
// stands aside, or was given up.
func (w *worker) tried(ctx context.Context, ch store.GroupChange, cause error) error {
	var broken *core.StoreError
	refused, forGood := refusal(cause)
	switch {
	case cause == nil:
		delete(w.aside, ch.N)
		return nil
	case errors.As(cause, &broken), ctx.Err() != nil, !refused && ch.Cause == metText(cause):
		return cause
	case refused:
		w.c.core.Log.Debug("group change refused", "error", cause)
		delay := core.NextDelay(w.aside[ch.N].delay, cause)
		w.aside[ch.N] = aside{time.Now().Add(delay), delay}
		w.c.core.Net.Elsewhere(w.mailbox)
	}
	ch.Cause = metText(cause)
	err := w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		return w.c.noteCause(tx, a, ch,
			cause, forGood)
	})
	if err != nil {
		return err
	}
	if refused {
		return nil
	}
	return cause
}

// metText is what an attempt at a change met, for whom the change is named beside it.
func metText(cause error) string { return strings.TrimPrefix(cause.Error(), "change group: ") }

// noteCause saves a change with its cause, or gives it up if it was refused too often.
func (c *Groups) noteCause(tx *store.Tx, a *core.Batch, ch store.GroupChange, cause error,
	forGood bool) error {
	if !slices.ContainsFunc(tx.GroupChanges(ch.Group),
		func(o store.GroupChange) bool { return o.N == ch.N }) {
		return tx.Err() // it came about all the same, or the group is over
	}
	a.Tell(core.Fact{Kind: core.FactGroup, Group: &ch.Group}) // without waking the worker, which is to wait
	if forGood {
		w, err := decodeWanted(ch.Want)
		if err != nil {
			return err
		}
		if w.Refused++; w.Refused >= maxRefusals {
			g, err := c.get(tx, ch.Group)
			if err == nil {
				c.giveUp(tx, a, g, ch, cause)
			}
			return err
		}
		if ch.Want, err = json.Marshal(w); err != nil {
			return fault.Wrap(fault.Internal, "encode group change", err)
		}
	}
	tx.SaveGroupChange(&ch)
	return tx.Err()
}

// nextChange returns the change whose turn it is, nil if all stand aside, and when the first of those is to
// be tried again: 0 if there is none.
func (w *worker) nextChange(changes []store.GroupChange) (next *store.GroupChange, again time.Duration) {
	if len(changes) == 0 || len(w.aside) == 0 {
		clear(w.aside)
		changes = changes[:min(len(changes), 1)]
	}
	maps.DeleteFunc(w.aside, func(n int64, _ aside) bool {
		return !slices.ContainsFunc(changes, func(ch store.GroupChange) bool { return ch.N == n })
	})
	before := map[string]bool{} // what those concern that were passed over
	for i := range changes {
		about, removal := concern(&changes[i])
		left := time.Until(w.aside[changes[i].N].until)
		switch {
		case left > 0:
			if again == 0 || left < again {
				again = left
			}
		case removal || !slices.ContainsFunc(about, func(s string) bool { return before[s] }):
			return &changes[i], again
		}
		for _, s := range about {
			before[s] = true
		}
	}
	return nil, again
}

// concern says what a change is about, for the order of those that are about the same, and whether it only
// takes away.
func concern(row *store.GroupChange) (about []string, removal bool) {
	w, err := decodeWanted(row.Want)
	if err != nil {
		return nil, false
	}
	if w.Info != nil {
		return []string{"info"}, false
	}
	ch, err := groups.DecodeChange(w.Change)
	if err != nil {
		return nil, false
	}
	for _, id := range accountsOf(&ch) {
		about = append(about, string(id[:]))
	}
	return about, ch.Kind == groups.KindRemove || ch.Kind == groups.KindRevokeInvite
}

func accountsOf(ch *groups.Change) []ident.AccountID {
	out := append(targets(ch), ch.Accounts...)
	for i := range ch.Adds {
		out = append(out, ch.Adds[i].Member.Account)
	}
	return append(out, ch.Invite.For...)
}

// overtaken ends what was wanted before a removal and stood aside as it came about: it would let those in
// again.
func (c *Groups) overtaken(tx *store.Tx, a *core.Batch, g *group, by store.GroupChange,
	removed *groups.Change) error {
	if removed.Kind != groups.KindRemove && removed.Kind != groups.KindRevokeInvite || removed.Return {
		return tx.Err()
	}
	gone := accountsOf(removed)
	for _, row := range tx.GroupChanges(g.ID) {
		w, err := decodeWanted(row.Want)
		if err != nil {
			return err
		}
		ch, err := groups.DecodeChange(w.Change)
		out := func(id ident.AccountID) bool { return slices.Contains(gone, id) }
		if err != nil || row.N > by.N || ch.Kind != groups.KindAdd && ch.Kind != groups.KindInvite ||
			!slices.ContainsFunc(accountsOf(&ch), out) {
			continue
		}
		if ch.Invite.For = slices.DeleteFunc(ch.Invite.For, out); ch.Kind == groups.KindAdd ||
			len(ch.Invite.For) == 0 {
			c.giveUp(tx, a, g, row, fault.New(fault.Denied, "add to group", "%s was removed meanwhile",
				core.Short(gone[0])))
			continue
		}
		w.Change = ch.Encode()
		if row.Want, err = json.Marshal(w); err != nil {
			return fault.Wrap(fault.Internal, "encode group change", err)
		}
		tx.SaveGroupChange(&row)
	}
	return tx.Err()
}
