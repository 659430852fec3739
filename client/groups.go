package client

import (
	"context"
	"errors"
	"time"

	"github.com/starling-swarm/starling/client/internal/closed"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// GroupStatus says what the own account is to a group.
type GroupStatus string

// What the own account can be to a group.
const (
	GroupInvited GroupStatus = GroupStatus(closed.Invited) // an invitation waits for an answer
	// asked to join, and not in yet: GroupPending says if no admin has to answer
	GroupWaiting GroupStatus = GroupStatus(closed.Waiting)
	GroupJoined  GroupStatus = GroupStatus(closed.Joined) // a member, with keys
	// a member whose keys this device does not have (yet)
	GroupReturning GroupStatus = GroupStatus(closed.Returning)
	GroupLeft      GroupStatus = GroupStatus(closed.Left)
	GroupRemoved   GroupStatus = GroupStatus(closed.Removed)
	GroupDisbanded GroupStatus = GroupStatus(closed.Disbanded)
)

// GroupForm says with whose keys members store messages, and how somebody comes in. It never changes.
type GroupForm string

// The forms of groups.
const (
	// with one key that all share: nodes do not tell members apart
	GroupShared GroupForm = GroupForm(closed.Shared)
	// each with a key of its own: nodes shut out at once who was removed, and see how many write, and how
	// much
	GroupOwnKeys GroupForm = GroupForm(closed.OwnKeys)
	// likewise, and whoever has a link comes in without an admin
	GroupPublic GroupForm = GroupForm(closed.Public)
)

// GroupRole is what a member may do: "member", "moderator" (deletes what others wrote, pins) or "admin"
// (changes the group).
type GroupRole string

// The roles, each with the rights of those before it.
const (
	RoleMember    GroupRole = GroupRole(closed.RoleMember)
	RoleModerator GroupRole = GroupRole(closed.RoleModerator)
	RoleAdmin     GroupRole = GroupRole(closed.RoleAdmin)
)

// Group is a closed group as this device knows it.
type Group struct {
	ID          ident.GroupID
	Status      GroupStatus
	Form        GroupForm // "": not known yet
	Name        string
	Description string
	Picture     []byte // as it was set: a small image; empty: none
	Timer       Timer
	Role        GroupRole // of the own account; "" if it is no member
	Generation  uint32
	Commits     uint64 // length of the log that was taken in
	Members     []GroupMember
	Links       []GroupLink    // open invitations by link
	Pending     []GroupPending // what waits: changes of this device, requests that an admin must answer
	Banned      []ident.AccountID
	Invitation  *GroupInvitation // of GroupInvited and GroupWaiting
	Cause       string           // why a join came to nothing; ""
	// Warning is what is wrong with the group's log or mailbox; "": nothing. It is told once as an
	// EventNotice, and taken back when it holds no more.
	Warning string
}

// GroupMember is a member, or somebody who was invited.
type GroupMember struct {
	Account    ident.AccountID
	Name       string // what contacts or their profile call them
	Role       GroupRole
	Status     string // "member", "invited", or "removing": a removal waits for an admin
	Unverified bool   // the account's certificates were not compared with the member's key yet
	Joined     uint64 // the commit of the log that let them in; 0: invited
}

// GroupLink is an open invitation by link.
type GroupLink struct {
	Serial  uint64
	Expires time.Time
	Uses    int    // left
	Link    string // its text, on the device that made it; "" elsewhere, and if that was interrupted
}

// GroupPending is something that waits.
type GroupPending struct {
	// Kind is "add", "remove", "role", "info", "rekey", "invite" or "disband": a change of this device;
	// "request" or "return": somebody asks; "join": this account comes in by the link of a public group,
	// without an admin unless it is Held.
	Kind    string
	Account ident.AccountID
	Since   time.Time
	Cause   string // what the last attempt met; ""
	// Held: an admin must approve the request or the return; an admin must let this account in, Cause says
	// why.
	Held bool
}

// GroupInvitation is an invitation that came to this account.
type GroupInvitation struct {
	From    ident.AccountID
	Name    string // of the group
	Expires time.Time
}

// GroupInfo changes what it has pointers for.
type GroupInfo struct {
	Name        *string // at most 128 bytes
	Description *string // at most 2,048 bytes
	Picture     *[]byte // at most 16 KiB; empty: none
	Timer       *Timer  // off or after send
}

func (i GroupInfo) room() closed.Info {
	return closed.Info{Name: i.Name, Description: i.Description, Picture: i.Picture,
		Timer: (*conv.Timer)(i.Timer)}
}

// groupOf is a group in this package's words.
func groupOf(v closed.View) Group {
	g := Group{ID: v.ID, Status: GroupStatus(v.Status), Form: GroupForm(v.Form), Name: v.Name,
		Description: v.Description, Picture: v.Picture,
		Timer: Timer(v.Timer), Role: GroupRole(v.Role), Generation: v.Generation, Commits: v.Commits,
		Banned:     v.Banned,
		Invitation: (*GroupInvitation)(v.Invitation), Cause: v.Cause, Warning: v.Warning}
	for _, m := range v.Members {
		g.Members = append(g.Members, GroupMember{Account: m.Account, Name: m.Name, Role: GroupRole(m.Role),
			Status:     m.Status,
			Unverified: m.Unverified, Joined: m.Joined})
	}
	for _, l := range v.Links {
		g.Links = append(g.Links, GroupLink(l))
	}
	for _, p := range v.Pending {
		g.Pending = append(g.Pending, GroupPending(p))
	}
	return g
}

// CreateGroup makes a group with the own account as its only admin; an empty form is GroupShared. It returns
// when the group is on disk on a majority. It needs Run. Errors: Invalid (limits of GroupInfo, the form),
// Denied (this device was revoked), Unavailable.
func (c *Client) CreateGroup(ctx context.Context, info GroupInfo, form GroupForm) (Group, error) {
	v, err := c.groups.Create(ctx, info.room(), closed.Form(form))
	return groupOf(v), err
}

// JoinGroup asks to join by a link; with the link of a public group it returns when this account is in. It
// needs Run. Errors: NotFound (the link was closed, is used up or has expired), Invalid (it is no link),
// Unavailable.
func (c *Client) JoinGroup(ctx context.Context, link string) (Group, error) {
	v, err := c.groups.JoinLink(ctx, link)
	return groupOf(v), err
}

// Groups returns all groups that this account has or had to do with, newest first.
func (c *Client) Groups(ctx context.Context) (out []Group, err error) {
	all, err := c.groups.All(ctx)
	for _, v := range all {
		out = append(out, groupOf(v))
	}
	return out, err
}

// GroupHandle is one group to act on. Changes are durable at once: if ctx ends before the group's log has
// them, they are still made, now or after a restart; GroupPending shows them.
type GroupHandle struct {
	c  *Client
	id ident.GroupID
}

// Group returns the handle of a group, known or not.
func (c *Client) Group(id ident.GroupID) GroupHandle { return GroupHandle{c, id} }

// Get returns what is known of the group. Errors: NotFound.
func (g GroupHandle) Get(ctx context.Context) (Group, error) {
	v, err := g.c.groups.View(ctx, g.id)
	return groupOf(v), err
}

// Add invites accounts; those that were banned are allowed again. history is how many days of earlier
// messages they get, 0 to 30, as far as the admin's device that lets them in keeps their keys: for 16 days.
// It returns when the group's log has the invitation; the messages to the invited leave by the outbox. It
// needs Run. Errors: Denied (no admin), Limited (too many members), Exists (all are members or invited).
func (g GroupHandle) Add(ctx context.Context, history int, accounts ...ident.AccountID) error {
	return g.c.groups.Add(ctx, g.id, history, accounts...)
}

// Remove removes members, or withdraws invitations, and begins a new generation. In a public group who has a
// link can come back as another account: see RevokeLink. It needs Run. Errors: Denied (no admin; an admin is
// removed by another one), NotFound (none of them is in the group).
func (g GroupHandle) Remove(ctx context.Context, accounts ...ident.AccountID) error {
	return g.c.groups.Remove(ctx, g.id, closed.Remove, accounts...)
}

// Ban is Remove that also keeps the accounts from coming back until they are added again.
func (g GroupHandle) Ban(ctx context.Context, accounts ...ident.AccountID) error {
	return g.c.groups.Remove(ctx, g.id, closed.Ban, accounts...)
}

// SetRole promotes or demotes a member. Nobody lowers their own role; an admin asks another one. It needs
// Run. Errors: Denied, NotFound (no member), Invalid.
func (g GroupHandle) SetRole(ctx context.Context, account ident.AccountID, role GroupRole) error {
	return g.c.groups.SetRole(ctx, g.id, account, closed.Role(role))
}

// SetInfo renames, describes, illustrates, or sets the timer. It needs Run. Errors: Denied (no admin),
// Invalid.
func (g GroupHandle) SetInfo(ctx context.Context, info GroupInfo) error {
	return g.c.groups.SetInfo(ctx, g.id, info.room())
}

// Rekey begins a new generation. It needs Run. Errors: Denied (no admin).
func (g GroupHandle) Rekey(ctx context.Context) error { return g.c.groups.Rekey(ctx, g.id) }

// Accept asks to join a group that this account was invited to. Errors: NotFound (no invitation waits).
func (g GroupHandle) Accept(ctx context.Context) error { return g.c.groups.Accept(ctx, g.id) }

// Decline forgets an invitation. A join of a public group that is under way is undone: if its commit went in,
// the account leaves. Errors: NotFound (no invitation waits).
func (g GroupHandle) Decline(ctx context.Context) error { return g.c.groups.Decline(ctx, g.id) }

// Approve lets somebody in whose request or return waits for an admin's word. Errors: Denied (no admin),
// NotFound.
func (g GroupHandle) Approve(ctx context.Context, account ident.AccountID) error {
	return g.c.groups.Approve(ctx, g.id, account)
}

// Leave leaves. Any admin finishes it with a new generation. It needs Run. Errors: Denied for the last admin.
func (g GroupHandle) Leave(ctx context.Context) error { return g.c.groups.Leave(ctx, g.id) }

// Disband ends the group for all. It needs Run. Errors: Denied (no admin).
func (g GroupHandle) Disband(ctx context.Context) error { return g.c.groups.Disband(ctx, g.id) }

// CreateLink makes a link that lets uses accounts ask to join (into a public group: join) until it expires,
// in 30 days at most, with history days of earlier messages, as for Add. It returns once the group's log has
// the invitation and the cluster has what the link leads to. If it is interrupted, an invitation may be open
// that has no link: RevokeLink closes it. It needs Run. Errors: Denied (no admin), Limited (too many open
// invitations, or links of a public group), Invalid (limits), NotFound (no such group, or another admin
// closed the link at once), Unavailable, ctx's.
func (g GroupHandle) CreateLink(ctx context.Context, expires time.Time, uses,
	history int) (GroupLink, error) {
	l, err := g.c.groups.MakeLink(ctx, g.id, expires, uses, history)
	return GroupLink(l), err
}

// RevokeLink closes a link. In a public group that begins a new generation, so that who has the link reads no
// further. It needs Run. Errors: Denied (no admin), NotFound.
func (g GroupHandle) RevokeLink(ctx context.Context, serial uint64) error {
	return g.c.groups.RevokeLink(ctx, g.id, serial)
}

// Wait returns once f holds of the group. It needs Run. Errors: Unavailable as soon as the cluster proves to
// be out of reach, ctx's.
func (g GroupHandle) Wait(ctx context.Context, f func(Group) bool) (Group, error) {
	sub := g.c.Events()
	defer sub.Close()
	for {
		changed := g.c.core.Link.Changed.Watch()
		now, err := g.Get(ctx)
		if err != nil && !errors.Is(err, fault.NotFound) || err == nil && f(now) {
			return now, err
		}
		if _, cause := g.c.core.Link.Get(); cause != nil {
			return now, cause
		}
		isNews := func(e Event) bool { return e.Kind == EventGroup && *e.Group == g.id }
		if err := sub.nextOf(ctx, isNews, changed); err != nil {
			return now, err
		}
	}
}
