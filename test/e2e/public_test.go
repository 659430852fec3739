package e2e

import (
	"fmt"
	"slices"
	"testing"
)

// publicGroupStaysInStep: Alice makes a public group and a link to it, and is away. Bob and Carol come by the
// link, Bob with commands that are killed in the middle; a node dies while they talk. Then Alice bans Carol
// and closes the link.
func publicGroupStaysInStep(t *testing.T, s Shape, ids []string, phone, laptop, bob, carol *device) {
	t.Helper()
	aliceID, bobID, carolID := phone.account(), bob.account(), carol.account()
	group := phone.do("group", "create", "Club", "--public").text("group_id")
	made := phone.do("group", "link", "Club", "--uses", "20")
	link, serial := made.text("link"), made.text("serial")

	const to = "#Club"
	for range 3 {
		bob.killed("group", "join", link)
	}
	for _, d := range []*device{bob, carol} {
		if in := d.do("group", "join", link, "--wait", "joined", "--timeout",
			"90s"); in.text("status") != "joined" || in.text("form") != "public" {
			t.Fatalf("%s joins by the link: got status %q, form %q, want joined, public", d.name,
				in.text("status"), in.text("form"))
		}
	}
	last := carol.send(to, "hello, club")
	wantEach(t, []*device{bob}, "hello, club")
	dead := slices.Index(ids, path(t, last)[1])
	burst := sendWhile(t, bob, to, "club crash", func() { s.Crash(t, dead) })
	wantEach(t, []*device{carol}, burst...)
	s.Restart(t, dead)

	// Alice is back.
	said := append([]string{"hello, club"}, burst...)
	wantEach(t, []*device{phone}, said...)
	phone.do("group", "remove", to, carolID, "--ban", "--timeout", "90s")
	phone.do("group", "link", "revoke", to, serial, "--timeout", "90s")
	carol.nothingMore()
	for _, args := range [][]string{{"send", to, "let me speak"}, {"group", "join", link}} {
		if code, _, errs := carol.try(args...); code != 4 && code != 8 {
			t.Errorf("%s by a banned member: got exit code %d, want 4 or 8: %s", args[0], code, errs)
		}
	}
	phone.send(to, "without Carol")
	wantEach(t, []*device{bob}, "without Carol")
	laptop.has(to, "without Carol") // it was away all the time

	wantTexts(t, "carol's log of the club", carol.texts(to), said...)
	story := append(slices.Clone(said), "without Carol")
	want := phone.sees(group)
	if len(want.members) != 2 || want.members[aliceID] != "admin" || want.members[bobID] != "member" {
		t.Errorf("members: got %v, want Alice, an admin, and Bob", want.members)
	}
	for _, d := range []*device{phone, laptop, bob} {
		wantTexts(t, d.name+"'s log of the club", d.texts(to), story...)
		if got := d.sees(group); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the group on %s: got %v, want %v", d.name, got, want)
		}
	}
}
