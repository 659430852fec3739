package refs

import (
	"context"
	"errors"
	"strings"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Finder finds what a person typed. Errors, with the nearest names and with what to type instead: NotFound
// for what is not there; wrong usage (exit code 2) for what fits several, or is no reference at all; those of
// the client.
type Finder struct {
	Client *client.Client
	Self   string // how the profile is called on the command line: "sessionctl -p alice"
}

// Peer reads what a person typed for a conversation: me, the name of a contact or a group, an ID, a link. Who
// is not found is answered with the nearest names.
func (f Finder) Peer(ctx context.Context, s string) (ident.Peer, error) {
	if strings.HasPrefix(s, "#") {
		g, err := f.Group(ctx, s)
		return g.ID, err
	}
	p, err := f.Client.ResolveConversation(ctx, s)
	if err == nil {
		return p, nil
	}
	return nil, f.noPeer(ctx, s, err, ConversationNames)
}

// Account is peer for verbs that are about people.
func (f Finder) Account(ctx context.Context, s string) (ident.AccountID, error) {
	if strings.HasPrefix(s, "#") || isGroupID(s) {
		e := cli.Usage("%s is a group: this verb is about people", render.Printable(s))
		e.Try = []string{f.Self + " group --help"}
		return ident.AccountID{}, e
	}
	id, err := f.Client.ResolvePeer(ctx, s)
	if err == nil {
		return id, nil
	}
	return id, f.noPeer(ctx, s, err, PeerNames)
}

func isGroupID(s string) bool {
	_, err := ident.ParseGroupID(strings.ToLower(s))
	return err == nil
}

// noPeer is the error of a peer that was not found, or that fits several.
func (f Finder) noPeer(ctx context.Context, s string, err error,
	names func(context.Context, *client.Client) ([]string, error)) error {
	e := cli.Fail("no such peer "+strings.TrimSpace(render.Printable(s)), err)
	switch {
	case IsGroupLink(s):
		e.Try = []string{f.Self + " group join " + render.Printable(s)}
	case errors.Is(err, fault.NotFound):
		known, _ := names(ctx, f.Client)
		e.Try = Nearest(s, known)
		e.Try = append(e.Try, f.Self+" contact list")
	case errors.Is(err, fault.Invalid):
		e.What, e.Exit, e.Code = "peer "+strings.TrimSpace(render.Printable(s)), cli.ExitUsage, "USE-102"
	}
	return e
}

// PeerNames are the names by which contacts can be called.
func PeerNames(ctx context.Context, c *client.Client) ([]string, error) {
	contacts, err := c.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{"me"}
	for _, p := range contacts {
		if p.Nick != "" {
			names = append(names, p.Nick)
		} else if p.Name != "" {
			names = append(names, p.Name)
		}
	}
	return names, nil
}

// ConversationNames are the names by which contacts and groups can be called.
func ConversationNames(ctx context.Context, c *client.Client) ([]string, error) {
	people, err := PeerNames(ctx, c)
	if err != nil {
		return nil, err
	}
	groups, err := GroupNames(ctx, c)
	return append(people, groups...), err
}
