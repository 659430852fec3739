package closed

import (
	"strings"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
)

// tidyGroup forgets what nothing will come of any more: invitations that are over and await no answer, the
// wish of members to return that was not granted, and what was noted of accounts that are no members.
func (c *Groups) tidyGroup(tx *store.Tx, g *group) error {
	if in, err := groups.DecodeInvitation(g.Invitation); g.Invitation != nil && (err != nil ||
		in.NotAfter <= c.core.NowMS()) {
		switch Status(g.Status) {
		case Invited, Waiting: // the user sees them
		default:
			g.Invitation = nil
			c.save(tx, g)
		}
	}
	if g.state == nil {
		return tx.Err()
	}
	waits := map[ident.AccountID]bool{}
	for _, ask := range tx.GroupAsks(g.ID) {
		waits[ask.Account] = waits[ask.Account] || ask.Kind == askReturn
	}
	for _, row := range tx.GroupChanges(g.ID) {
		about, _ := concern(&row)
		for _, s := range about {
			if id := (ident.AccountID{}); len(s) == len(id) {
				waits[ident.AccountID([]byte(s))] = true
			}
		}
	}
	for _, e := range tx.GroupErrands() {
		if e.Group != g.ID {
			continue
		}
		if who, ok := strings.CutPrefix(e.Kind, errandBack); ok {
			if id, err := ident.ParseAccountID(who); err != nil || !waits[id] {
				tx.DropGroupErrands(g.ID, e.Kind)
			}
		}
		if who, ok := strings.CutPrefix(e.Kind, errandDoubted); ok {
			if id, err := ident.ParseAccountID(who); err != nil || g.state.Member(id) == nil {
				tx.DropGroupErrands(g.ID, e.Kind)
			}
		}
	}
	return tx.Err()
}
