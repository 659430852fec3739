package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// groupDoc is a group in JSON.
type groupDoc struct {
	GroupID     string              `json:"group_id"`
	Name        string              `json:"name"`
	Description string              `json:"description"`
	Status      string              `json:"status"`
	Role        *string             `json:"role"` // of this account; null if it is no member
	Form        *string             `json:"form"` // shared, own-keys or public; null if it is not known (yet)
	Generation  uint32              `json:"generation"`
	Commits     uint64              `json:"commits"`
	Expire      string              `json:"expire,omitempty"` // as group expire takes it
	Picture     int                 `json:"picture"`          // bytes
	Members     []groupMemberDoc    `json:"members"`
	Pending     []groupPendingDoc   `json:"pending"`
	Links       []groupLinkDoc      `json:"links"`
	Banned      []string            `json:"banned"`
	Invitation  *groupInvitationDoc `json:"invitation,omitempty"`
	Warning     string              `json:"warning,omitempty"`
	Cause       string              `json:"cause,omitempty"` // why this account could not join
}

type groupListDoc struct {
	Groups []groupDoc `json:"groups"`
}

type groupMemberDoc struct {
	AccountID  string `json:"account_id"`
	Name       string `json:"name"`
	Role       string `json:"role"`
	Status     string `json:"status"`
	Unverified bool   `json:"unverified,omitempty"`
}

type groupPendingDoc struct {
	Kind      string `json:"kind"`
	AccountID string `json:"account_id,omitempty"`
	Name      string `json:"name,omitempty"`
	Since     millis `json:"since"`
	WaitsFor  string `json:"waits_for"` // cluster, device, approval or admin
	Cause     string `json:"cause,omitempty"`
}

type groupLinkDoc struct {
	Serial  string `json:"serial"` // 64 bits, which not all readers of JSON take as a number
	Expires millis `json:"expires"`
	Uses    int    `json:"uses"`
	Link    string `json:"link,omitempty"`
}

type groupInvitationDoc struct {
	From     string `json:"from"`
	FromName string `json:"from_name"`
	Expires  millis `json:"expires"`
}

// What something that is pending waits for.
const (
	waitsForCluster  = "cluster"  // a change of this device that the group's log does not have yet
	waitsForDevice   = "device"   // this account's device lets them in by itself
	waitsForApproval = "approval" // an admin's word
	waitsForAdmin    = "admin"    // an admin's device lets this account in
)

func waitsFor(p client.GroupPending) string {
	switch {
	case p.Kind == "join" && p.Held:
		return waitsForAdmin
	case p.Kind != "request" && p.Kind != "return":
		return waitsForCluster
	case p.Held:
		return waitsForApproval
	}
	return waitsForDevice
}

func (a *app) groupOf(ctx context.Context, c *client.Client, g client.Group) groupDoc {
	d := groupDoc{
		GroupID: g.ID.String(), Name: g.Name, Description: g.Description, Status: string(g.Status), Generation: g.Generation, Commits: g.Commits,
		Picture: len(g.Picture), Warning: g.Warning, Cause: g.Cause, Members: []groupMemberDoc{}, Pending: []groupPendingDoc{}, Links: []groupLinkDoc{}, Banned: []string{},
	}
	if g.Role != "" {
		role := string(g.Role)
		d.Role = &role
	}
	if g.Form != "" {
		form := string(g.Form)
		d.Form = &form
	}
	if g.Timer.After > 0 {
		d.Expire = timerWords(g.Timer)
	}
	for _, m := range sortedMembers(g.Members) {
		d.Members = append(d.Members, groupMemberDoc{m.Account.String(), m.Name, string(m.Role), m.Status, m.Unverified})
	}
	for _, p := range g.Pending {
		e := groupPendingDoc{Kind: p.Kind, Since: millis(p.Since), WaitsFor: waitsFor(p), Cause: p.Cause}
		if p.Account != (ident.AccountID{}) {
			e.AccountID, e.Name = p.Account.String(), a.called(ctx, c, p.Account)
		}
		d.Pending = append(d.Pending, e)
	}
	for _, l := range g.Links {
		d.Links = append(d.Links, linkOf(l))
	}
	for _, id := range g.Banned {
		d.Banned = append(d.Banned, id.String())
	}
	if i := g.Invitation; i != nil {
		d.Invitation = &groupInvitationDoc{i.From.String(), a.called(ctx, c, i.From), millis(i.Expires)}
	}
	return d
}

func linkOf(l client.GroupLink) groupLinkDoc {
	return groupLinkDoc{fmt.Sprint(l.Serial), millis(l.Expires), l.Uses, l.Link}
}

// sortedMembers puts those with more rights first, then orders by name; who was only invited comes last.
func sortedMembers(all []client.GroupMember) []client.GroupMember {
	rank := func(m client.GroupMember) int {
		switch {
		case m.Status == "invited":
			return 3
		case m.Role == client.RoleAdmin:
			return 0
		case m.Role == client.RoleModerator:
			return 1
		}
		return 2
	}
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(x, y client.GroupMember) int {
		if d := rank(x) - rank(y); d != 0 {
			return d
		}
		return strings.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name))
	})
	return out
}

// called is what an account is called here: petname, own name, or the beginning of its ID.
func (a *app) called(ctx context.Context, c *client.Client, id ident.AccountID) string {
	if acc := c.Account(); acc.ID == id && acc.Name != "" {
		return acc.Name
	}
	if p, err := c.Contact(ctx, id); err == nil {
		return contactName(p)
	}
	return shortAccount(id)
}

// peopleOf are all that have to do with a group, as they are called.
func (a *app) peopleOf(ctx context.Context, c *client.Client, g client.Group) (out []named) {
	seen := map[ident.AccountID]bool{}
	add := func(id ident.AccountID, name string) {
		if seen[id] || id == (ident.AccountID{}) {
			return
		}
		if name == "" {
			name = a.called(ctx, c, id)
		}
		seen[id] = true
		out = append(out, named{id, name})
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
