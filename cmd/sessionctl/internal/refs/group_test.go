package refs

import (
	"strings"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestGroupsAreFoundByNameAndID(t *testing.T) {
	all := []client.Group{
		{ID: ident.GroupID{3, 1}, Name: "team", Status: client.GroupJoined},
		{ID: ident.GroupID{3, 2}, Name: "Team lunch", Status: client.GroupJoined},
		{ID: ident.GroupID{3, 3}, Name: "club", Status: client.GroupLeft},
		{ID: ident.GroupID{3, 4}, Name: "club", Status: client.GroupInvited},
		{ID: ident.GroupID{3, 5}, Name: "old", Status: client.GroupDisbanded},
	}
	for _, tc := range []struct{ name, typed, want string }{
		{"a whole name before a longer one", "TEAM", "1"},
		{"a beginning", "team l", "2"},
		{"a beginning of several", "te", "1 2"},
		{"one that goes on before one that is over", "club", "4"},
		{"one that is over", "old", "5"},
		{"a whole ID", strings.ToUpper(ident.GroupID{3, 3}.String()), "3"},
		{"eight digits of an ID", ident.GroupID{3, 2}.String()[:8], "2"},
		{"too few digits", ident.GroupID{3, 2}.String()[:7], ""},
		{"nothing", "", ""},
		{"nobody's name", "xyz", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, g := range groupsCalled(all, tc.typed) {
				got = append(got, string('0'+rune(g.ID[1])))
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("%q: got groups %q, want %q", tc.typed, got, tc.want)
			}
		})
	}
}

func TestMembersAreFoundByNameAndID(t *testing.T) {
	all := people("Ann", "Anna", "bob")
	for _, tc := range []struct{ name, typed, want string }{
		{"a whole name before a longer one", "ann", "Ann"},
		{"a beginning", "B", "bob"},
		{"a beginning of several", "an", "Ann Anna"},
		{"a whole ID", all[1].ID.String(), "Anna"},
		{"eight digits of an ID", all[2].ID.String()[:8], "bob"},
		{"nothing", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, p := range peopleCalled(all, tc.typed) {
				got = append(got, p.Name)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("%q: got %q, want %q", tc.typed, got, tc.want)
			}
		})
	}
}

func TestNamesOfThings(t *testing.T) {
	id := ident.AccountID{5, 1}
	for _, tc := range []struct{ got, want string }{
		{ContactName(client.Contact{ID: id, Name: "Bob", Nick: "bobby"}), "bobby"},
		{ContactName(client.Contact{ID: id, Name: "Bob"}), "Bob"},
		{ContactName(client.Contact{ID: id}), "0501000000…"},
		{GroupLabel(client.Group{Name: "team"}), "#team"},
		{GroupArg(client.Group{Name: "team"}), "team"},
		{GroupArg(client.Group{ID: ident.GroupID{3}}), ident.GroupID{3}.String()},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
