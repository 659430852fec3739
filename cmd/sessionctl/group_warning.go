package main

import (
	"context"
	"fmt"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// groupTold is something about a group that the user is told once.
type groupTold struct {
	group ident.GroupID
	what  string
	who   ident.AccountID
}

// groupWarning says what of a group waits for this user's word: an invitation, somebody who can come back only with an
// admin's approval.
func (a *app) groupWarning(ctx context.Context, c *client.Client, id ident.GroupID) string {
	g, err := c.Group(ctx, id)
	if err != nil {
		return ""
	}
	once := func(what string, who ident.AccountID) bool {
		_, told := a.told.LoadOrStore(groupTold{id, what, who}, true)
		return !told
	}
	group, name := "sessionctl"+a.profileFlag()+" group ", quoted(groupArg(g))
	if g.Status == client.GroupInvited && g.Invitation != nil && once("invited", g.Invitation.From) {
		return fmt.Sprintf("%s invites you to %s: %sjoin %s, or %sdecline %s", printable(a.called(ctx, c, g.Invitation.From)), printable(groupLabel(g)),
			group, name, group, name)
	}
	for _, p := range g.Pending {
		if p.Held && p.Kind != "join" && once(p.Kind, p.Account) {
			who := printable(a.called(ctx, c, p.Account))
			return fmt.Sprintf("%s asks to be let into %s again, after their account was restored. If it was them: %sapprove %s %s",
				who, printable(groupLabel(g)), group, name, p.Account)
		}
	}
	return ""
}
