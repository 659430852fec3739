package main

import (
	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
)

// formHelp says what the forms of a group mean for people.
const formHelp = `What kind of group it is never changes:
  (default)   An admin's device lets everybody in; members share a key, so nodes cannot tell their messages apart.
  --public    Whoever has a link of it is in at once, and can read what was written since the link was made. Nodes tell one
              member's messages from another's, by a random key, not whose it is.
  --own-keys  For large groups: each member stores with a random key of its own, which nodes refuse from the moment it is
              removed, and by which they tell one member's messages from another's, not whose it is.`

// formFlags are the flags of group create for what kind of group it is.
type formFlags struct{ public, ownKeys bool }

func (f *formFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.public, "public", false, "whoever has a link is in at once, without an admin")
	c.Flags().BoolVar(&f.ownKeys, "own-keys", false, "each member stores with a key of its own; for large groups")
}

func (f *formFlags) form() (client.GroupForm, error) {
	switch {
	case f.public && f.ownKeys:
		return "", cli.Usage("group create: in a --public group members have keys of their own anyway: leave out --own-keys")
	case f.public:
		return client.GroupPublic, nil
	case f.ownKeys:
		return client.GroupOwnKeys, nil
	}
	return client.GroupShared, nil
}

// formWords say what follows from a form that is not the usual one; "" for the usual one, and as long as it is not known.
func formWords(f client.GroupForm) string {
	switch f {
	case client.GroupPublic:
		return "public: whoever has a link is in at once"
	case client.GroupOwnKeys:
		return "own keys: nodes tell members apart, not who they are"
	}
	return ""
}

// joinCause says why this account is not in the group yet, in the words of its last attempt, and whether it waits for an admin.
func joinCause(g client.Group) (why string, held bool) {
	for _, p := range g.Pending {
		if p.Kind == "join" {
			return p.Cause, p.Held
		}
	}
	return "", true
}

// addsBack is what an admin types to let an account in whom links do not let in.
func addsBack(g client.Group, me ident.AccountID) string {
	name := "GROUP"
	if g.Name != "" {
		name = quoted(g.Name)
	}
	return "sessionctl group add " + name + " " + me.String() + "   # for an admin to type; the ID is yours"
}
