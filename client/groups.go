package client

import (
	"slices"
	"time"

	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// GroupStatus says what the own account is to a group.
type GroupStatus string

// What the own account can be to a group.
const (
	GroupInvited   GroupStatus = "invited"   // an invitation waits for an answer
	GroupWaiting   GroupStatus = "waiting"   // asked to join, and not in yet: GroupPending says if no admin has to answer
	GroupJoined    GroupStatus = "joined"    // a member, with keys
	GroupReturning GroupStatus = "returning" // a member whose keys this device does not have (yet)
	GroupLeft      GroupStatus = "left"
	GroupRemoved   GroupStatus = "removed"
	GroupDisbanded GroupStatus = "disbanded"
)

// GroupForm says with whose keys members store messages, and how somebody comes in. It never changes.
type GroupForm string

// The forms of groups.
const (
	GroupShared  GroupForm = "shared"   // with one key that all share: nodes do not tell members apart
	GroupOwnKeys GroupForm = "own-keys" // each with a key of its own: nodes shut out at once who was removed, and see how many write, and how much
	GroupPublic  GroupForm = "public"   // likewise, and whoever has a link comes in without an admin
)

// core returns the form as the log has it. Errors: Invalid.
func (f GroupForm) core() (groups.Form, error) {
	if f == "" {
		f = GroupShared
	}
	if i := slices.Index(groupForms, f); i >= 0 {
		return groups.Form(i), nil
	}
	return 0, fault.New(fault.Invalid, "make group", "%q is no form, want %s, %s or %s", string(f), GroupShared, GroupOwnKeys, GroupPublic)
}

var groupForms = []GroupForm{groups.FormShared: GroupShared, groups.FormOwn: GroupOwnKeys, groups.FormPublic: GroupPublic}

// GroupRole is what a member may do: "member", "moderator" (deletes what others wrote, pins) or "admin" (changes the group).
type GroupRole string

// The roles, each with the rights of those before it.
const (
	RoleMember    GroupRole = "member"
	RoleModerator GroupRole = "moderator"
	RoleAdmin     GroupRole = "admin"
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
	Warning     string           // what is wrong with the group's log or mailbox; "": nothing. It is told once as an EventNotice, and taken back when it holds no more
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
	// "add", "remove", "role", "info", "rekey", "invite", "disband": a change of this device; "request", "return": somebody asks; "join":
	// this account comes in by the link of a public group, without an admin unless it is Held
	Kind    string
	Account ident.AccountID
	Since   time.Time
	Cause   string // what the last attempt met; ""
	Held    bool   // of a request or a return: an admin must approve it; of a join: an admin must let this account in, Cause says why
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
