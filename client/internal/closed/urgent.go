package closed

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
)

// A device that was shut out of the account still has the account's keys in its groups. So each group gets a
// generation at once that is sealed to a leaf key which the device never had: one of the remaining devices
// makes the key, hands it over to the others and tells the admins that it is urgent.

// ShutOut begins that in all groups. The device that shut the other one out does it now; the others do if it
// does not.
func (c *Groups) ShutOut(tx *store.Tx, byThis bool) {
	for _, id := range tx.GroupIDs() {
		g, err := c.get(tx, id)
		if err != nil {
			c.core.Log.Error("group not closed to a device that was shut out", "error", err)
			continue
		}
		if g.state == nil || Status(g.Status) != Joined {
			continue
		}
		var wait time.Duration
		var known []byte
		if !byThis {
			wait, known = core.Spread(c.core.Pace.Shut,
				2*c.core.Pace.Shut), binary.BigEndian.AppendUint32(nil, g.state.NewestLeaf())
		}
		c.put(tx, id, errandUrgent, wait, known)
	}
	c.WakeKeeper()
}

// changedSince reports whether the leaf key was changed since an errandUrgent was written, by whom else it
// may be.
func changedSince(g *group, note []byte) bool {
	return len(note) == 4 && g.state.NewestLeaf() > binary.BigEndian.Uint32(note)
}

// takeUrgent keeps a leaf key that wants a generation of its own. The admins take it up one after the other.
func (c *Groups) takeUrgent(tx *store.Tx, a *core.Batch, g *group, word *groups.Word, at int64) {
	ask := store.GroupAsk{Group: g.ID, Kind: askUrgent, Account: word.Account, Body: word.Leaf.Encode(),
		At: at}
	if tx.AddGroupAsk(&ask) {
		c.hurryRekey(tx, g)
	}
}

// hurryRekey begins a generation as soon as it is this admin's turn, and the one that is has lasted a little:
// no member keeps all others busy.
func (c *Groups) hurryRekey(tx *store.Tx, g *group) {
	soon := time.Duration(rank(g.state)) * c.core.Pace.Turn
	if rest, ok := tx.GroupErrand(g.ID, errandRest); ok {
		soon = max(soon, time.UnixMilli(rest.Due).Sub(c.core.Net.Now()))
	}
	if e, ok := tx.GroupErrand(g.ID, errandRekey); !ok || time.UnixMilli(e.Due).Sub(c.core.Net.Now()) > soon {
		c.put(tx, g.ID, errandRekey, soon, nil)
		c.WakeKeeper()
	}
}

// urgentAsked reports whether a leaf key still waits that is urgent.
func urgentAsked(tx *store.Tx, g *group) bool {
	if !g.admin() {
		return false
	}
	return slices.ContainsFunc(tx.GroupAsks(g.ID), func(ask store.GroupAsk) bool {
		m := g.state.Member(ask.Account)
		u, err := groups.DecodeLeafUpdate(ask.Body)
		return ask.Kind == askUrgent && m != nil && err == nil && u.Number > m.LeafNumber
	})
}

func ofLeaf(ask *store.GroupAsk) bool { return ask.Kind == askLeaf || ask.Kind == askUrgent }

// leavesAsked returns the leaf keys that members sent, the urgent ones before the others.
func leavesAsked(tx *store.Tx, id ident.GroupID) (out []store.GroupAsk) {
	late := []store.GroupAsk{}
	for _, ask := range tx.GroupAsks(id) {
		switch ask.Kind {
		case askUrgent:
			out = append(out, ask)
		case askLeaf:
			late = append(late, ask)
		}
	}
	return append(out, late...)
}
