package closed

import (
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Status says what the own account is to a group.
type Status string

// What the own account can be to a group.
const (
	Invited Status = "invited" // an invitation waits for an answer
	// asked to join, and not in yet: GroupPending says if no admin has to answer
	Waiting   Status = "waiting"
	Joined    Status = "joined"    // a member, with keys
	Returning Status = "returning" // a member whose keys this device does not have (yet)
	Left      Status = "left"
	Removed   Status = "removed"
	Disbanded Status = "disbanded"
)

// Form says with whose keys members store messages, and how somebody comes in. It never changes.
type Form string

// The forms of groups.
const (
	Shared Form = "shared" // with one key that all share: nodes do not tell members apart
	// each with a key of its own: nodes shut out at once who was removed, and see how many write, and how
	// much
	OwnKeys Form = "own-keys"
	Public  Form = "public" // likewise, and whoever has a link comes in without an admin
)

// core returns the form as the log has it. Errors: Invalid.
func (f Form) core() (groups.Form, error) {
	if f == "" {
		f = Shared
	}
	if i := slices.Index(forms, f); i >= 0 {
		return groups.Form(i), nil
	}
	return 0, fault.New(fault.Invalid, "make group", "%q is no form, want %s, %s or %s", string(f), Shared,
		OwnKeys, Public)
}

var forms = []Form{groups.FormShared: Shared, groups.FormOwn: OwnKeys, groups.FormPublic: Public}

// Role is what a member may do: "member", "moderator" (deletes what others wrote, pins) or "admin" (changes
// the group).
type Role string

// The roles, each with the rights of those before it.
const (
	RoleMember    Role = "member"
	RoleModerator Role = "moderator"
	RoleAdmin     Role = "admin"
)

// View is a closed group as this device knows it.
type View struct {
	ID          ident.GroupID
	Status      Status
	Form        Form // "": not known yet
	Name        string
	Description string
	Picture     []byte // as it was set: a small image; empty: none
	Timer       conv.Timer
	Role        Role // of the own account; "" if it is no member
	Generation  uint32
	Commits     uint64 // length of the log that was taken in
	Members     []Member
	Links       []Link    // open invitations by link
	Pending     []Pending // what waits: changes of this device, requests that an admin must answer
	Banned      []ident.AccountID
	Invitation  *Invitation // of Invited and Waiting
	Cause       string      // why a join came to nothing; ""
	// what is wrong with the group's log or mailbox; "": nothing. It is told once as a notice, and
	// taken back when it holds no more
	Warning string
}

// Member is a member, or somebody who was invited.
type Member struct {
	Account    ident.AccountID
	Name       string // what contacts or their profile call them
	Role       Role
	Status     string // "member", "invited", or "removing": a removal waits for an admin
	Unverified bool   // the account's certificates were not compared with the member's key yet
	Joined     uint64 // the commit of the log that let them in; 0: invited
}

// Link is an open invitation by link.
type Link struct {
	Serial  uint64
	Expires time.Time
	Uses    int    // left
	Link    string // its text, on the device that made it; "" elsewhere, and if that was interrupted
}

// Pending is something that waits.
type Pending struct {
	// "add", "remove", "role", "info", "rekey", "invite", "disband": a change of this device; "request",
	// "return": somebody asks; "join": this account comes in by the link of a public group, without an admin
	// unless it is Held
	Kind    string
	Account ident.AccountID
	Since   time.Time
	Cause   string // what the last attempt met; ""
	// of a request or a return: an admin must approve it; of a join: an admin must let this account in, Cause
	// says why
	Held bool
}

// Invitation is an invitation that came to this account.
type Invitation struct {
	From    ident.AccountID
	Name    string // of the group
	Expires time.Time
}

// Info changes what it has pointers for.
type Info struct {
	Name        *string     // at most 128 bytes
	Description *string     // at most 2,048 bytes
	Picture     *[]byte     // at most 16 KiB; empty: none
	Timer       *conv.Timer // off or after send
}
