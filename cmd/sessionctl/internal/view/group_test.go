package view

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/ident"
)

var update = flag.Bool("update", false, "write what is printed into testdata/golden")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)

// busyGroup has something of everything.
func busyGroup() client.Group {
	id := func(n byte) ident.AccountID { return ident.AccountID{5, 0xab, n} }
	return client.Group{
		ID: ident.GroupID{3, 1}, Status: client.GroupJoined, Name: "team", Role: client.RoleAdmin,
		Generation: 4,
		Commits:    17,
		Description: "Who fixes what, and until when. Please say it here before you begin, and again when " +
			"it is done.",
		Timer: client.Timer{After: 24 * time.Hour},
		Members: []client.GroupMember{
			{Account: id(4), Name: "Dave", Role: client.RoleMember, Status: "invited"},
			{Account: id(3), Name: "carol", Role: client.RoleMember, Status: "removing", Joined: 3},
			{Account: id(2), Name: "Bob", Role: client.RoleModerator, Status: "member",
				Unverified: true, Joined: 2},
			{Account: id(1), Name: "Alice", Role: client.RoleAdmin, Status: "member", Joined: 1},
		},
		Links: []client.GroupLink{
			{Serial: 9_123_456_789, Expires: noon.Add(time.Hour), Uses: 3,
				Link: "starling:group/" + strings.Repeat("A", 400)},
			{Serial: 12, Expires: noon.Add(48 * time.Hour), Uses: 1},
		},
		Pending: []client.GroupPending{
			{Kind: "remove", Account: id(3), Since: noon.Add(-3 * time.Minute),
				Cause: "commit: the cluster cannot be reached"},
			{Kind: "request", Account: id(5), Since: noon},
			{Kind: "return", Account: id(2), Since: noon.Add(-time.Hour), Held: true},
			{Kind: "info", Since: noon},
		},
		Banned:  []ident.AccountID{id(6)},
		Warning: "the log of this group was forked",
	}
}

func view(g client.Group) Group {
	return Group{Group: g, Me: ident.AccountID{5, 0xab, 1}, Command: "sessionctl group",
		Called: func(id ident.AccountID) string {
			return []string{"?", "Alice", "Bob", "carol", "Dave", "Erin", "Mallory"}[id[2]]
		}}
}

func TestGroupForPeople(t *testing.T) {
	invited := client.Group{ID: ident.GroupID{3, 1}, Status: client.GroupInvited, Name: "Friday lunch",
		Invitation: &client.GroupInvitation{From: ident.AccountID{5, 0xab, 2},
			Expires: noon.Add(24 * time.Hour)}}
	join := client.GroupPending{Kind: "join", Account: ident.AccountID{5, 0xab, 1},
		Since: noon.Add(-time.Minute), Held: true,
		Cause: "the group owes values that only an admin has"}
	waiting := client.Group{ID: ident.GroupID{3, 1}, Status: client.GroupWaiting, Form: client.GroupPublic,
		Name: "club", Pending: []client.GroupPending{join}}
	join.Held, join.Cause = false, "no node of the cluster answers"
	coming := waiting
	coming.Pending = []client.GroupPending{join}
	refused := client.Group{ID: ident.GroupID{3, 1}, Status: client.GroupRemoved, Form: client.GroupPublic,
		Name:  "club",
		Cause: "the account is banned from the group: an admin can add it again"}
	for name, g := range map[string]client.Group{"busy": busyGroup(), "invited": invited, "waiting": waiting,
		"coming": coming, "refused": refused} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			view(g).Write(&out, render.Style{}, noon)
			for _, l := range strings.Split(out.String(), "\n") {
				if utf8.RuneCountInString(l) > 80 {
					t.Errorf("line of %d characters: %s", utf8.RuneCountInString(l), l)
				}
			}
			golden(t, "group_"+name, out.Bytes())
		})
	}
}

// golden compares got with testdata/golden.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/golden/" + name + ".txt"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEmptyGroupListSaysWhereTheOldOnesAre(t *testing.T) {
	for _, tc := range []struct {
		known int
		want  string
	}{{0, "no groups yet\n"}, {1, "no groups any more; those that are over: group list --all\n"}} {
		var out bytes.Buffer
		if WriteGroups(&out, nil, tc.known); out.String() != tc.want {
			t.Errorf("of %d groups: got %q, want %q", tc.known, out.String(), tc.want)
		}
	}
}

func TestGroupTextCannotDriveTheTerminal(t *testing.T) {
	g := busyGroup()
	g.Name, g.Description, g.Warning = "a\x1b[2J", "b\x1b]0;x\a\r", "c\x1b"
	g.Members[0].Name, g.Pending[0].Cause = "d\x1b[1m", "e\x1b\u202e"
	var out bytes.Buffer
	view(g).Write(&out, render.Style{}, noon)
	WriteGroups(&out, []client.Group{g}, 1)
	m := client.Message{Text: "x\x1b[2J\ny", Notice: &client.Notice{Kind: "renamed"}}
	WriteMessage(&out, render.Style{}, m, Place{Group: "#\x1b"}, noon)
	if s := out.String(); strings.ContainsAny(s, "\x1b\r\a\u202e") {
		t.Errorf("control characters reach the terminal: %q", s)
	}
}
