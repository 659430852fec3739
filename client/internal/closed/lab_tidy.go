package closed

import (
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/ident"
)

// NoteReturn leaves what an admin's device notes of a member that asked to return, without the wish itself.
func (c *Groups) NoteReturn(id ident.GroupID, account ident.AccountID) error {
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		tx.SetGroupErrand(store.GroupErrand{Group: id, Kind: errandBack + account.String(), Due: store.Held})
		return tx.Err()
	})
}

// GroupLeftovers returns how many returns a device has noted of a group, and whether it keeps an invitation
// to it.
func (c *Groups) GroupLeftovers(id ident.GroupID) (back int, invitation bool) {
	c.core.View(func(tx *store.Tx) error {
		for _, e := range tx.GroupErrands() {
			if e.Group == id && len(e.Kind) > len(errandBack) && e.Kind[:len(errandBack)] == errandBack {
				back++
			}
		}
		g, ok := tx.Group(id)
		invitation = ok && g.Invitation != nil
		return nil
	})
	return back, invitation
}
