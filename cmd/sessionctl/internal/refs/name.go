package refs

import (
	"context"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// ContactName is what a contact is called here: petname, own name, or the ID.
func ContactName(p client.Contact) string {
	switch {
	case p.Nick != "":
		return p.Nick
	case p.Name != "":
		return p.Name
	}
	return ShortAccount(p.ID)
}

// GroupLabel is what a group is called here.
func GroupLabel(g client.Group) string {
	if g.Name == "" {
		return g.ID.Short() + "…"
	}
	return "#" + g.Name
}

// GroupArg is how a group is named on the command line of the group verbs.
func GroupArg(g client.Group) string {
	if g.Name == "" {
		return g.ID.String()
	}
	return g.Name
}

// Called is what an account is called here: petname, own name, or the beginning of its ID.
func Called(ctx context.Context, c *client.Client, id ident.AccountID) string {
	if acc := c.Account(); acc.ID == id && acc.Name != "" {
		return acc.Name
	}
	if p, err := c.Contact(id).Get(ctx); err == nil {
		return ContactName(p)
	}
	return ShortAccount(id)
}

// Named is somebody and what they are called.
type Named struct {
	ID   ident.AccountID
	Name string
}

// Names returns Called as a function of the account alone.
func Names(ctx context.Context, c *client.Client) func(ident.AccountID) string {
	return func(id ident.AccountID) string { return Called(ctx, c, id) }
}

// PeopleOf are all that have to do with a group, as they are called.
func PeopleOf(ctx context.Context, c *client.Client, g client.Group) (out []Named) {
	seen := map[ident.AccountID]bool{}
	add := func(id ident.AccountID, name string) {
		if seen[id] || id == (ident.AccountID{}) {
			return
		}
		if name == "" {
			name = Called(ctx, c, id)
		}
		seen[id] = true
		out = append(out, Named{id, name})
	}
	for _, m := range g.Members {
		add(m.Account, m.Name)
	}
	for _, p := range g.Pending {
		add(p.Account, "")
	}
	for _, id := range g.Banned {
		add(id, "")
	}
	return out
}

// ShortAccount is an account ID cut to what people compare at a glance.
func ShortAccount(id ident.AccountID) string { return id.String()[:10] + "…" }
