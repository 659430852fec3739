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

// Member reads what a person typed for somebody in a group: a name among those who are in it or wait for it,
// an ID, the beginning of one. Whoever is not in the group can be named by what contacts are called.
func (f Finder) Member(ctx context.Context, g client.Group, s string) (ident.AccountID, error) {
	people := PeopleOf(ctx, f.Client, g)
	switch found := peopleCalled(people, s); len(found) {
	case 0:
	case 1:
		return found[0].ID, nil
	default:
		e := cli.Usage("%s: %d people in %s are called so", render.Printable(s), len(found),
			render.Printable(GroupLabel(g)))
		for _, p := range found {
			e.Try = append(e.Try, p.ID.String()+"   # "+render.Printable(p.Name))
		}
		return ident.AccountID{}, e
	}
	id, err := f.Client.ResolvePeer(ctx, s)
	if errors.Is(err, fault.NotFound) {
		e := cli.Fail("nobody in "+render.Printable(GroupLabel(g))+" is called "+render.Printable(s), err)
		names := make([]string, len(people))
		for i, p := range people {
			names[i] = p.Name
		}
		e.Try = append(Nearest(s, names), f.Self+" group show "+render.Quote(GroupArg(g)))
		return id, e
	}
	if err != nil {
		return id, f.noPeer(ctx, s, err, PeerNames)
	}
	return id, nil
}

// peopleCalled returns those whom s means: with that name or ID, else that beginning of the name, else that
// beginning of the ID.
func peopleCalled(people []Named, s string) (found []Named) {
	if s == "" {
		return nil
	}
	for _, fits := range []func(p Named) bool{
		func(p Named) bool { return strings.EqualFold(p.Name, s) || strings.EqualFold(p.ID.String(), s) },
		func(p Named) bool { _, ok := cutFold(p.Name, s); return ok },
		func(p Named) bool {
			return len(s) >= leastGroupDigits && strings.HasPrefix(p.ID.String(), strings.ToLower(s))
		},
	} {
		for _, p := range people {
			if fits(p) {
				found = append(found, p)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// Members reads several.
func (f Finder) Members(ctx context.Context, g client.Group,
	all []string) (out []ident.AccountID, err error) {
	for _, s := range all {
		id, err := f.Member(ctx, g, s)
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}
