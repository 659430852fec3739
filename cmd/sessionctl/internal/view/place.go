package view

import (
	"context"
	"slices"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/internal/ident"
)

// Place is what a line of a group's conversation needs to know of the group. The zero place is a conversation
// of two.
type Place struct {
	Group  string // "#team"
	People []refs.Named
	Hidden bool // the group's name is clear
}

func (p Place) prefix() string {
	if p.Group == "" || p.Hidden {
		return ""
	}
	return p.Group + " "
}

// of returns those of a group's people who are meant.
func (p Place) of(ids []ident.AccountID) (out []refs.Named) {
	for _, n := range p.People {
		if slices.Contains(ids, n.ID) {
			out = append(out, n)
		}
	}
	return out
}

// Places looks each group up once.
type Places struct{ known map[ident.GroupID]Place }

// Of returns the place of a group.
func (p *Places) Of(ctx context.Context, c *client.Client, id ident.GroupID) Place {
	if at, ok := p.known[id]; ok {
		return at
	}
	at := Place{Group: "#" + id.Short()}
	if g, err := c.Group(id).Get(ctx); err == nil {
		at = Place{Group: refs.GroupLabel(g), People: refs.PeopleOf(ctx, c, g)}
	}
	if p.known == nil {
		p.known = map[ident.GroupID]Place{}
	}
	p.known[id] = at
	return at
}

// Forget has groups looked up again: names may be others now.
func (p *Places) Forget() { p.known = nil }
