package main

import (
	"context"
	"slices"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// place is what a line of a group's conversation needs to know of the group. The zero place is a conversation of two.
type place struct {
	group  string // "#team"
	people []named
	hidden bool // the group's name is clear
}

func (p place) prefix() string {
	if p.group == "" || p.hidden {
		return ""
	}
	return p.group + " "
}

// of returns those of a group's people who are meant.
func (p place) of(ids []ident.AccountID) (out []named) {
	for _, n := range p.people {
		if slices.Contains(ids, n.id) {
			out = append(out, n)
		}
	}
	return out
}

// placeOf returns where a message stands.
func (a *app) placeOf(m client.Message) place {
	id, err := ident.ParseGroupID(m.Conversation)
	if err != nil || a.client == nil {
		return place{}
	}
	p := a.place(context.Background(), a.client, id)
	p.hidden = a.oneGroup
	return p
}

// place looks a group up once.
func (a *app) place(ctx context.Context, c *client.Client, id ident.GroupID) place {
	if p, ok := a.places[id]; ok {
		return p
	}
	p := place{group: "#" + id.Short()}
	if g, err := c.Group(ctx, id); err == nil {
		p = place{group: groupLabel(g), people: a.peopleOf(ctx, c, g)}
	}
	if a.places == nil {
		a.places = map[ident.GroupID]place{}
	}
	a.places[id] = p
	return p
}
