package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// groupView is a group for people, with what its members are called.
type groupView struct {
	client.Group
	me      ident.AccountID
	name    func(ident.AccountID) string
	command string // "sessionctl -p alice group"
}

// write prints a group within 80 columns: what it is, who is in it, what is open.
func (v groupView) write(w io.Writer, st style, now time.Time) {
	fmt.Fprintln(w, st.bold(printable(groupLabel(v.Group)))+"  "+v.standing(st))
	for _, l := range wrapped(printableText(v.Description), 76) {
		fmt.Fprintln(w, "  "+l)
	}
	if v.Warning != "" {
		fmt.Fprintln(w, st.red("! "+printable(v.Warning)))
	}
	fmt.Fprintf(w, "%s %s\n", st.dim("id"), v.ID)
	if words := formWords(v.Form); words != "" {
		fmt.Fprintln(w, words)
	}
	if v.Cause != "" {
		for _, l := range wrapped(printable(v.Cause), 79) {
			fmt.Fprintln(w, st.yellow(l))
		}
	}
	if v.Timer.After > 0 {
		fmt.Fprintf(w, "%s %s\n", st.dim("messages disappear after"), timerWords(v.Timer))
	}
	if len(v.Picture) > 0 {
		fmt.Fprintf(w, "%s %s, %d bytes\n", st.dim("picture"), http.DetectContentType(v.Picture), len(v.Picture))
	}
	v.writeNext(w, st, now)
	v.writeMembers(w, st)
	v.writePending(w, st, now)
	v.writeLinks(w, now)
	if len(v.Banned) > 0 {
		fmt.Fprintf(w, "\n%s", st.dim("banned"))
		for _, id := range v.Banned {
			fmt.Fprintf(w, "  %s", printable(v.name(id)))
		}
		fmt.Fprintln(w)
	}
}

// standing says what this account is to the group.
func (v groupView) standing(st style) string {
	if v.Status != client.GroupJoined {
		return st.yellow(standingWords(v.Group))
	}
	words := fmt.Sprintf("generation %d, %s", v.Generation, count(inside(v.Members), "member"))
	if n := len(v.Members) - inside(v.Members); n > 0 {
		words += fmt.Sprintf(", %d invited", n)
	}
	return st.cyan("you are "+article(v.Role)) + "  " + st.dim(words)
}

func article(r client.GroupRole) string {
	if r == client.RoleAdmin {
		return "an admin"
	}
	return "a " + string(r)
}

// inside counts the members without those who were only invited.
func inside(members []client.GroupMember) (n int) {
	for _, m := range members {
		if m.Status != "invited" {
			n++
		}
	}
	return n
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// standingWords say for people what an account that is not in a group is to it.
func standingWords(g client.Group) string {
	if _, held := joinCause(g); !held && g.Status == client.GroupWaiting {
		return "about to join"
	}
	if g.Cause != "" {
		return "could not join"
	}
	return statusWords(g.Status)
}

// statusWords say a status for people.
func statusWords(s client.GroupStatus) string {
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
func (v groupView) writeNext(w io.Writer, st style, now time.Time) {
	g := quoted(groupArg(v.Group))
	if i := v.Invitation; i != nil && i.From != (ident.AccountID{}) {
		fmt.Fprintf(w, "%s %s, good until %s\n", st.dim("invited by"), printable(v.name(i.From)), until(i.Expires, now))
	}
	switch v.Status {
	case client.GroupInvited:
		fmt.Fprintf(w, "%s join %s\n%s decline %s\n", v.command, g, v.command, g)
	case client.GroupWaiting:
		if _, held := joinCause(v.Group); held {
			fmt.Fprintln(w, "waits for an admin's device to be online and let this account in")
		} else {
			fmt.Fprintln(w, "this device joins by itself as soon as the cluster answers")
		}
	case client.GroupReturning:
		fmt.Fprintln(w, "waits for another device of this account, or for an admin, to hand over keys")
	}
}

func (v groupView) writeMembers(w io.Writer, st style) {
	if len(v.Members) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable("MEMBER", "ROLE", "STATUS", "ACCOUNT")
	unverified := false
	for _, m := range sortedMembers(v.Members) {
		name, status, role := cut(m.Name, 28), m.Status, string(m.Role)
		switch {
		case m.Account == v.me:
			name += " (you)"
		case name == "":
			name = shortAccount(m.Account) // who never wrote, and is no contact
		}
		if m.Status == "invited" {
			role = ""
		}
		if m.Unverified && m.Status != "invited" {
			status, unverified = status+", unverified", true
		}
		t.row(name, role, status, shortAccount(m.Account))
	}
	t.write(w)
	if unverified {
		fmt.Fprintln(w, st.dim("unverified: what their account says of their key has not been looked at yet"))
	}
}

func (v groupView) writePending(w io.Writer, st style, now time.Time) {
	if len(v.Pending) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable("PENDING", "SINCE", "WAITS FOR")
	var causes []string
	for _, p := range v.Pending {
		what, who := v.pendingWords(p)
		t.row(cut(what, 28), ago(p.Since, now), who)
		if p.Cause != "" {
			causes = append(causes, cut(what+" met: "+p.Cause, 79))
		}
	}
	t.write(w)
	for _, c := range causes {
		fmt.Fprintln(w, st.dim(printable(c)))
	}
}

// pendingWords say what waits, and for whom.
func (v groupView) pendingWords(p client.GroupPending) (what, who string) {
	name := ""
	if p.Account != (ident.AccountID{}) {
		name = v.name(p.Account)
	}
	switch waitsFor(p) {
	case waitsForApproval:
		who = "you: " + v.command + " approve " + quoted(groupArg(v.Group)) + " " + quoted(name)
	case waitsForDevice:
		who = "this device, while it is online"
	case waitsForAdmin:
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

func (v groupView) writeLinks(w io.Writer, now time.Time) {
	if len(v.Links) == 0 {
		return
	}
	fmt.Fprintln(w)
	writeGroupLinks(w, v.Links, now)
}

func writeGroupLinks(w io.Writer, links []client.GroupLink, now time.Time) {
	t := newTable("LINK", "USES LEFT", "UNTIL", "")
	for _, l := range links {
		where := "its text is on the device that made it" // or on none: making it was interrupted
		if l.Link != "" {
			where = cut(l.Link, 28)
		}
		t.row(shortSerial(l.Serial), fmt.Sprint(l.Uses), until(l.Expires, now), where)
	}
	t.write(w)
}

// shortSerial is the beginning of a link's number, by which it can be named.
func shortSerial(n uint64) string { s := fmt.Sprint(n); return s[:min(len(s), 8)] }

// until prints a time to come: the hour today, the date later.
func until(t, now time.Time) string {
	t = t.Local()
	if t.Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// wrapped breaks text into lines of at most width characters.
func wrapped(text string, width int) (lines []string) {
	for _, paragraph := range strings.Split(text, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
				lines, line = append(lines, line), ""
			}
			line = strings.TrimSpace(line + " " + word)
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// writeGroups lists groups; known is how many there are with those that are over.
func writeGroups(w io.Writer, all []client.Group, known int) {
	switch {
	case len(all) == 0 && known == 0:
		fmt.Fprintln(w, "no groups yet")
		return
	case len(all) == 0:
		fmt.Fprintln(w, "no groups any more; those that are over: group list --all")
		return
	}
	t := newTable("NAME", "YOU", "FORM", "MEMBERS", "PENDING", "ID")
	for _, g := range all {
		you, members, pending := standingWords(g), "", ""
		if g.Status == client.GroupJoined {
			you = string(g.Role)
		}
		if n := inside(g.Members); n > 0 {
			members = fmt.Sprint(n)
		}
		if n := len(g.Pending); n > 0 {
			pending = fmt.Sprint(n)
		}
		name := cut(groupLabel(g), 30)
		if g.Warning != "" {
			name += " (!)"
		}
		t.row(name, you, string(g.Form), members, pending, g.ID.Short()+"…")
	}
	t.write(w)
}
