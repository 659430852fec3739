package refs

import (
	"context"
	"strings"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

// IsGroupLink reports whether s is a link by which people join a group.
func IsGroupLink(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), groups.LinkPrefix) }

// leastGroupDigits is how much of a group's ID names it, 03 included.
const leastGroupDigits = 8

// Group reads what a person typed for a group: its name or a unique beginning of it, with or without # in
// front, its ID or the first 8 digits of it. Groups that are over yield to those that go on.
func (f Finder) Group(ctx context.Context, s string) (client.Group, error) {
	all, err := f.Client.Groups(ctx)
	if err != nil {
		return client.Group{}, err
	}
	name := strings.TrimPrefix(strings.TrimSpace(s), "#")
	found := groupsCalled(all, name)
	switch len(found) {
	case 0:
		e := cli.Fail("no such group "+render.Printable(s),
			fault.New(fault.NotFound, "find group", "this account is in none of that name"))
		e.Try = append(Nearest(name, liveNames(all)), f.Self+" group list")
		return client.Group{}, e
	case 1:
		return found[0], nil
	}
	e := cli.Usage("group %s: %d groups are called so", render.Printable(s), len(found))
	for _, g := range found {
		e.Try = append(e.Try, g.ID.String()+"   # "+render.Printable(g.Name))
	}
	return client.Group{}, e
}

// groupsCalled returns the groups that name means: those with that ID, else that name, else that beginning of
// the name, else that beginning of the ID.
func groupsCalled(all []client.Group, name string) []client.Group {
	if name == "" {
		return nil
	}
	for _, fits := range []func(g client.Group) bool{
		func(g client.Group) bool { return strings.EqualFold(g.ID.String(), name) },
		func(g client.Group) bool { return strings.EqualFold(g.Name, name) },
		func(g client.Group) bool { _, ok := cutFold(g.Name, name); return ok },
		func(g client.Group) bool {
			return len(name) >= leastGroupDigits && strings.HasPrefix(g.ID.String(), strings.ToLower(name))
		},
	} {
		if found := fitting(all, fits); len(found) > 0 {
			return found
		}
	}
	return nil
}

// fitting returns the groups that fit, or of several those that go on.
func fitting(all []client.Group, fits func(client.Group) bool) (found []client.Group) {
	var live []client.Group
	for _, g := range all {
		if fits(g) {
			found = append(found, g)
			if !IsOver(g.Status) {
				live = append(live, g)
			}
		}
	}
	if len(live) > 0 {
		return live
	}
	return found
}

// IsOver reports whether this account has nothing to do with a group any more.
func IsOver(s client.GroupStatus) bool {
	return s == client.GroupLeft || s == client.GroupRemoved || s == client.GroupDisbanded
}

// GroupNames are the names of the groups that go on.
func GroupNames(ctx context.Context, c *client.Client) ([]string, error) {
	all, err := c.Groups(ctx)
	return liveNames(all), err
}

func liveNames(all []client.Group) (names []string) {
	for _, g := range all {
		if g.Name != "" && !IsOver(g.Status) {
			names = append(names, g.Name)
		}
	}
	return names
}
