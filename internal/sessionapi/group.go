package sessionapi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// Group is a closed or public group as one member sees it; kind group.
type Group struct {
	GroupID     string           `json:"group_id"`
	Name        string           `json:"name"`
	Description string           `json:"description"`
	Status      string           `json:"status"`
	Role        *string          `json:"role"` // of this account; null if it is no member
	Form        *string          `json:"form"` // shared, own-keys or public; null if it is not known (yet)
	Generation  uint32           `json:"generation"`
	Commits     uint64           `json:"commits"`
	Expire      string           `json:"expire,omitempty"` // as group expire takes it
	Picture     int              `json:"picture"`          // bytes
	Members     []GroupMember    `json:"members"`
	Pending     []GroupPending   `json:"pending"`
	Links       []GroupLink      `json:"links"`
	Banned      []string         `json:"banned"`
	Invitation  *GroupInvitation `json:"invitation,omitempty"`
	Warning     string           `json:"warning,omitempty"`
	Cause       string           `json:"cause,omitempty"` // why this account could not join
}

// Groups are those of an account; kind group.list.
type Groups struct {
	Groups []Group `json:"groups"`
}

// GroupMember is somebody in a group, or invited to it.
type GroupMember struct {
	AccountID  string `json:"account_id"`
	Name       string `json:"name"`
	Role       string `json:"role"`
	Status     string `json:"status"`
	Unverified bool   `json:"unverified,omitempty"`
}

// GroupPending is something about a group that has not happened yet.
type GroupPending struct {
	Kind      string `json:"kind"`
	AccountID string `json:"account_id,omitempty"`
	Name      string `json:"name,omitempty"`
	Since     Millis `json:"since"`
	WaitsFor  string `json:"waits_for"` // cluster, device, approval or admin
	Cause     string `json:"cause,omitempty"`
}

// GroupLink is a link by which people join a group.
type GroupLink struct {
	Serial  string `json:"serial"` // 64 bits, which not all readers of JSON take as a number
	Expires Millis `json:"expires"`
	Uses    int    `json:"uses"`
	Link    string `json:"link,omitempty"`
}

// GroupInvitation says who invites this account to a group.
type GroupInvitation struct {
	From     string `json:"from"`
	FromName string `json:"from_name"`
	Expires  Millis `json:"expires"`
}

// What something that is pending waits for.
const (
	WaitsForCluster  = "cluster"  // a change of this device that the group's log does not have yet
	WaitsForDevice   = "device"   // this account's device lets them in by itself
	WaitsForApproval = "approval" // an admin's word
	WaitsForAdmin    = "admin"    // an admin's device lets this account in
)

// WaitsFor says what something that is pending waits for: one of the constants above.
func WaitsFor(p client.GroupPending) string {
	switch {
	case p.Kind == "join" && p.Held:
		return WaitsForAdmin
	case p.Kind != "request" && p.Kind != "return":
		return WaitsForCluster
	case p.Held:
		return WaitsForApproval
	}
	return WaitsForDevice
}

// GroupOf is the document of a group; name says what an account is called.
func GroupOf(g client.Group, name func(ident.AccountID) string) Group {
	d := Group{
		GroupID: g.ID.String(), Name: g.Name, Description: g.Description, Status: string(g.Status),
		Generation: g.Generation, Commits: g.Commits,
		Picture: len(g.Picture), Warning: g.Warning, Cause: g.Cause, Members: []GroupMember{},
		Pending: []GroupPending{}, Links: []GroupLink{}, Banned: []string{},
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
		d.Expire = FormatTimer(g.Timer)
	}
	for _, m := range SortedMembers(g.Members) {
		d.Members = append(d.Members,
			GroupMember{AccountID: m.Account.String(), Name: m.Name, Role: string(m.Role), Status: m.Status,
				Unverified: m.Unverified})
	}
	for _, p := range g.Pending {
		e := GroupPending{Kind: p.Kind, Since: Millis(p.Since), WaitsFor: WaitsFor(p), Cause: p.Cause}
		if p.Account != (ident.AccountID{}) {
			e.AccountID, e.Name = p.Account.String(), name(p.Account)
		}
		d.Pending = append(d.Pending, e)
	}
	for _, l := range g.Links {
		d.Links = append(d.Links, GroupLinkOf(l))
	}
	for _, id := range g.Banned {
		d.Banned = append(d.Banned, id.String())
	}
	if i := g.Invitation; i != nil {
		d.Invitation = &GroupInvitation{From: i.From.String(), FromName: name(i.From),
			Expires: Millis(i.Expires)}
	}
	return d
}

// GroupLinkOf is the document of a link.
func GroupLinkOf(l client.GroupLink) GroupLink {
	return GroupLink{Serial: fmt.Sprint(l.Serial), Expires: Millis(l.Expires), Uses: l.Uses, Link: l.Link}
}

// SortedMembers puts those with more rights first, then orders by name; who was only invited comes last.
func SortedMembers(all []client.GroupMember) []client.GroupMember {
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

// GroupDeclined names a group whose invitation is forgotten; kind group.declined.
type GroupDeclined struct {
	GroupID string `json:"group_id"`
}

// GroupLinks are the open links of a group; kind group.links.
type GroupLinks struct {
	GroupID string      `json:"group_id"`
	Links   []GroupLink `json:"links"`
}

// GroupLinkMade is a new link of a group; kind group.link.
type GroupLinkMade struct {
	GroupID string `json:"group_id"`
	GroupLink
}
