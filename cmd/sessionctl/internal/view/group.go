package view

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// Group is a group for people, with what its members are called.
type Group struct {
	client.Group
	Me      ident.AccountID
	Called  func(ident.AccountID) string // what somebody is called here
	Command string                       // "sessionctl -p alice group"
}

// Write prints a group within 80 columns: what it is, who is in it, what is open.
func (v Group) Write(w io.Writer, st render.Style, now time.Time) {
	fmt.Fprintln(w, st.Bold(render.Printable(refs.GroupLabel(v.Group)))+"  "+v.standing(st))
	for _, l := range render.Wrap(render.PrintableText(v.Description), 76) {
		fmt.Fprintln(w, "  "+l)
	}
	if v.Warning != "" {
		fmt.Fprintln(w, st.Red("! "+render.Printable(v.Warning)))
	}
	fmt.Fprintf(w, "%s %s\n", st.Dim("id"), v.ID)
	if words := formWords(v.Form); words != "" {
		fmt.Fprintln(w, words)
	}
	if v.Cause != "" {
		for _, l := range render.Wrap(render.Printable(v.Cause), 79) {
			fmt.Fprintln(w, st.Yellow(l))
		}
	}
	if v.Timer.After > 0 {
		fmt.Fprintf(w, "%s %s\n", st.Dim("messages disappear after"), sessionapi.FormatTimer(v.Timer))
	}
	if len(v.Picture) > 0 {
		fmt.Fprintf(w, "%s %s, %d bytes\n", st.Dim("picture"), http.DetectContentType(v.Picture),
			len(v.Picture))
	}
	v.writeNext(w, st, now)
	v.writeMembers(w, st)
	v.writePending(w, st, now)
	v.writeLinks(w, now)
	if len(v.Banned) > 0 {
		fmt.Fprintf(w, "\n%s", st.Dim("banned"))
		for _, id := range v.Banned {
			fmt.Fprintf(w, "  %s", render.Printable(v.Called(id)))
		}
		fmt.Fprintln(w)
	}
}

// standing says what this account is to the group.
func (v Group) standing(st render.Style) string {
	if v.Status != client.GroupJoined {
		return st.Yellow(StandingWords(v.Group))
	}
	words := fmt.Sprintf("generation %d, %s", v.Generation, render.Count(MembersInside(v.Members), "member"))
	if n := len(v.Members) - MembersInside(v.Members); n > 0 {
		words += fmt.Sprintf(", %d invited", n)
	}
	return st.Cyan("you are "+Article(v.Role)) + "  " + st.Dim(words)
}

// Article says a role with its article: "an admin".
func Article(r client.GroupRole) string {
	if r == client.RoleAdmin {
		return "an admin"
	}
	return "a " + string(r)
}

// MembersInside counts the members without those who were only invited.
func MembersInside(members []client.GroupMember) (n int) {
	for _, m := range members {
		if m.Status != "invited" {
			n++
		}
	}
	return n
}

// StandingWords say for people what an account that is not in a group is to it.
func StandingWords(g client.Group) string {
	if _, held := JoinCause(g); !held && g.Status == client.GroupWaiting {
		return "about to join"
	}
	if g.Cause != "" {
		return "could not join"
	}
	return StatusWords(g.Status)
}

// StatusWords say a status for people.
func StatusWords(s client.GroupStatus) string {
	switch s {
	case client.GroupInvited:
		return "you are invited"
	case client.GroupWaiting:
		return "asked to join"
	case client.GroupJoined:
		return "member"
	case client.GroupReturning:
		return "member, without keys on this device"
	case client.GroupLeft:
		return "you left"
	case client.GroupRemoved:
		return "you were removed"
	case client.GroupDisbanded:
		return "disbanded"
	}
	return string(s)
}

// writeNext says what an account that is not in the group waits for or can do.
func (v Group) writeNext(w io.Writer, st render.Style, now time.Time) {
	g := render.Quote(refs.GroupArg(v.Group))
	if i := v.Invitation; i != nil && i.From != (ident.AccountID{}) {
		fmt.Fprintf(w, "%s %s, good until %s\n", st.Dim("invited by"), render.Printable(v.Called(i.From)),
			render.Until(i.Expires, now))
	}
	switch v.Status {
	case client.GroupInvited:
		fmt.Fprintf(w, "%s join %s\n%s decline %s\n", v.Command, g, v.Command, g)
	case client.GroupWaiting:
		if _, held := JoinCause(v.Group); held {
			fmt.Fprintln(w, "waits for an admin's device to be online and let this account in")
		} else {
			fmt.Fprintln(w, "this device joins by itself as soon as the cluster answers")
		}
	case client.GroupReturning:
		fmt.Fprintln(w, "waits for another device of this account, or for an admin, to hand over keys")
	}
}

func (v Group) writeMembers(w io.Writer, st render.Style) {
	if len(v.Members) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := render.NewTable("MEMBER", "ROLE", "STATUS", "ACCOUNT")
	unverified := false
	for _, m := range sessionapi.SortedMembers(v.Members) {
		name, status, role := render.Shorten(m.Name, 28), m.Status, string(m.Role)
		switch {
		case m.Account == v.Me:
			name += " (you)"
		case name == "":
			name = refs.ShortAccount(m.Account) // who never wrote, and is no contact
		}
		if m.Status == "invited" {
			role = ""
		}
		if m.Unverified && m.Status != "invited" {
			status, unverified = status+", unverified", true
		}
		t.Row(name, role, status, refs.ShortAccount(m.Account))
	}
	t.Write(w)
	if unverified {
		fmt.Fprintln(w, st.Dim("unverified: what their account says of their key has not been looked at yet"))
	}
}

func (v Group) writePending(w io.Writer, st render.Style, now time.Time) {
	if len(v.Pending) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := render.NewTable("PENDING", "SINCE", "WAITS FOR")
	var causes []string
	for _, p := range v.Pending {
		what, who := v.pendingWords(p)
		t.Row(render.Shorten(what, 28), render.Ago(p.Since, now), who)
		if p.Cause != "" {
			causes = append(causes, render.Shorten(what+" met: "+p.Cause, 79))
		}
	}
	t.Write(w)
	for _, c := range causes {
		fmt.Fprintln(w, st.Dim(render.Printable(c)))
	}
}

// pendingWords say what waits, and for whom.
func (v Group) pendingWords(p client.GroupPending) (what, who string) {
	name := ""
	if p.Account != (ident.AccountID{}) {
		name = v.Called(p.Account)
	}
	switch sessionapi.WaitsFor(p) {
	case sessionapi.WaitsForApproval:
		who = "you: " + v.Command + " approve " + render.Quote(refs.GroupArg(v.Group)) + " " +
			render.Quote(name)
	case sessionapi.WaitsForDevice:
		who = "this device, while it is online"
	case sessionapi.WaitsForAdmin:
		who = "an admin's device to be online"
	default:
		who = "the cluster"
	}
	switch p.Kind {
	case "join":
		return "join this group", who
	case "request":
		return name + " asks to join", who
	case "return":
		return name + " lost their keys", who
	case "info":
		return "change what the group is", who
	}
	return strings.TrimSpace(p.Kind + " " + name), who
}

func (v Group) writeLinks(w io.Writer, now time.Time) {
	if len(v.Links) == 0 {
		return
	}
	fmt.Fprintln(w)
	WriteGroupLinks(w, v.Links, now)
}

// WriteGroupLinks lists links of a group.
func WriteGroupLinks(w io.Writer, links []client.GroupLink, now time.Time) {
	t := render.NewTable("LINK", "USES LEFT", "UNTIL", "")
	for _, l := range links {
		where := "its text is on the device that made it" // or on none: making it was interrupted
		if l.Link != "" {
			where = render.Shorten(l.Link, 28)
		}
		t.Row(ShortSerial(l.Serial), fmt.Sprint(l.Uses), render.Until(l.Expires, now), where)
	}
	t.Write(w)
}

// ShortSerial is the beginning of a link's number, by which it can be named.
func ShortSerial(n uint64) string { s := fmt.Sprint(n); return s[:min(len(s), 8)] }

// WriteGroups lists groups; known is how many there are with those that are over.
func WriteGroups(w io.Writer, all []client.Group, known int) {
	switch {
	case len(all) == 0 && known == 0:
		fmt.Fprintln(w, "no groups yet")
		return
	case len(all) == 0:
		fmt.Fprintln(w, "no groups any more; those that are over: group list --all")
		return
	}
	t := render.NewTable("NAME", "YOU", "FORM", "MEMBERS", "PENDING", "ID")
	for _, g := range all {
		you, members, pending := StandingWords(g), "", ""
		if g.Status == client.GroupJoined {
			you = string(g.Role)
		}
		if n := MembersInside(g.Members); n > 0 {
			members = fmt.Sprint(n)
		}
		if n := len(g.Pending); n > 0 {
			pending = fmt.Sprint(n)
		}
		name := render.Shorten(refs.GroupLabel(g), 30)
		if g.Warning != "" {
			name += " (!)"
		}
		t.Row(name, you, string(g.Form), members, pending, g.ID.Short()+"…")
	}
	t.Write(w)
}

// formWords say what follows from a form that is not the usual one; "" for the usual one, and as long as it
// is not known.
func formWords(f client.GroupForm) string {
	switch f {
	case client.GroupPublic:
		return "public: whoever has a link is in at once"
	case client.GroupOwnKeys:
		return "own keys: nodes tell members apart, not who they are"
	}
	return ""
}

// JoinCause says why this account is not in the group yet, in the words of its last attempt, and whether it
// waits for an admin.
func JoinCause(g client.Group) (why string, held bool) {
	for _, p := range g.Pending {
		if p.Kind == "join" {
			return p.Cause, p.Held
		}
	}
	return "", true
}
