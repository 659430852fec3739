package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func isGroupLink(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), groups.LinkPrefix) }

// leastGroupDigits is how much of a group's ID names it, 03 included.
const leastGroupDigits = 8

// group reads what a person typed for a group: its name or a unique beginning of it, with or without # in front, its ID or
// the first 8 digits of it. Groups that are over yield to those that go on.
func (a *app) group(ctx context.Context, c *client.Client, s string) (client.Group, error) {
	all, err := c.Groups(ctx)
	if err != nil {
		return client.Group{}, err
	}
	name := strings.TrimPrefix(strings.TrimSpace(s), "#")
	for _, fits := range []func(g client.Group) bool{
		func(g client.Group) bool { return strings.EqualFold(g.ID.String(), name) },
		func(g client.Group) bool { return strings.EqualFold(g.Name, name) },
		func(g client.Group) bool { _, ok := cutFold(g.Name, name); return ok },
		func(g client.Group) bool {
			return len(name) >= leastGroupDigits && strings.HasPrefix(g.ID.String(), strings.ToLower(name))
		},
	} {
		found := fitting(all, fits)
		switch {
		case name == "" || len(found) == 0:
		case len(found) == 1:
			return found[0], nil
		default:
			e := cli.Usage("group %s: %d groups are called so", printable(s), len(found))
			for _, g := range found {
				e.Try = append(e.Try, g.ID.String()+"   # "+printable(g.Name))
			}
			return client.Group{}, e
		}
	}
	e := cli.Fail("no such group "+printable(s), fault.New(fault.NotFound, "find group", "this account is in none of that name"))
	known, _ := groupNames(ctx, c)
	e.Try = append(nearest(name, known), "sessionctl"+a.profileFlag()+" group list")
	return client.Group{}, e
}

// fitting returns the groups that fit, or of several those that go on.
func fitting(all []client.Group, fits func(client.Group) bool) (found []client.Group) {
	var live []client.Group
	for _, g := range all {
		if fits(g) {
			found = append(found, g)
			if !isOver(g.Status) {
				live = append(live, g)
			}
		}
	}
	if len(live) > 0 {
		return live
	}
	return found
}

func isOver(s client.GroupStatus) bool {
	return s == client.GroupLeft || s == client.GroupRemoved || s == client.GroupDisbanded
}

// groupNames are the names of the groups that go on.
func groupNames(ctx context.Context, c *client.Client) (names []string, err error) {
	all, err := c.Groups(ctx)
	for _, g := range all {
		if g.Name != "" && !isOver(g.Status) {
			names = append(names, g.Name)
		}
	}
	return names, err
}

// completeGroups completes the names of groups, and then those of contacts.
func (a *app) completeGroups(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.complete(groupNames)
	}
	return a.complete(peerNames)
}

// groupLabel is what a group is called here.
func groupLabel(g client.Group) string {
	if g.Name == "" {
		return g.ID.Short() + "…"
	}
	return "#" + g.Name
}

// groupArg is how a group is named on the command line of the group verbs.
func groupArg(g client.Group) string {
	if g.Name == "" {
		return g.ID.String()
	}
	return g.Name
}

// member reads what a person typed for somebody in a group: a name among those who are in it or wait for it, an ID, the
// beginning of one. Whoever is not in the group can be named by what contacts are called.
func (a *app) member(ctx context.Context, c *client.Client, g client.Group, s string) (ident.AccountID, error) {
	people := a.peopleOf(ctx, c, g)
	for _, fits := range []func(p named) bool{
		func(p named) bool { return strings.EqualFold(p.name, s) || strings.EqualFold(p.id.String(), s) },
		func(p named) bool { _, ok := cutFold(p.name, s); return ok },
		func(p named) bool {
			return len(s) >= leastGroupDigits && strings.HasPrefix(p.id.String(), strings.ToLower(s))
		},
	} {
		var found []named
		for _, p := range people {
			if s != "" && fits(p) {
				found = append(found, p)
			}
		}
		switch {
		case len(found) == 1:
			return found[0].id, nil
		case len(found) > 1:
			e := cli.Usage("%s: %d people in %s are called so", printable(s), len(found), printable(groupLabel(g)))
			for _, p := range found {
				e.Try = append(e.Try, p.id.String()+"   # "+printable(p.name))
			}
			return ident.AccountID{}, e
		}
	}
	id, err := c.ResolvePeer(ctx, s)
	if errors.Is(err, fault.NotFound) {
		e := cli.Fail("nobody in "+printable(groupLabel(g))+" is called "+printable(s), err)
		names := make([]string, len(people))
		for i, p := range people {
			names[i] = p.name
		}
		e.Try = append(nearest(s, names), "sessionctl"+a.profileFlag()+" group show "+quoted(groupArg(g)))
		return id, e
	}
	if err != nil {
		return id, a.noPeer(ctx, c, s, err, peerNames)
	}
	return id, nil
}

// members reads several.
func (a *app) members(ctx context.Context, c *client.Client, g client.Group, all []string) (out []ident.AccountID, err error) {
	for _, s := range all {
		id, err := a.member(ctx, c, g, s)
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}

// quoted is an argument as a shell takes it.
func quoted(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r < 0x80 && !strings.ContainsRune("-_.:/@+,", r)
	}) < 0 {
		return printable(s)
	}
	return "'" + strings.ReplaceAll(printable(s), "'", `'\''`) + "'"
}
