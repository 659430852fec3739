package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// groupStaysInStep: Alice makes a group with Bob and Carol. A node dies and one loses its network while all
// of them talk and an admin is made; commands that change the group are killed in the middle; Carol is
// removed and hears nothing more.
func groupStaysInStep(t *testing.T, s Shape, ids []string, phone, laptop, bob, carol *device) {
	t.Helper()
	aliceID, bobID := phone.account(), bob.account()
	carolID := carol.do("init", "--name", "Carol").text("account_id")
	phone.do("contact", "add", carolID, "--nick", "carol")
	carol.do("contact", "add", aliceID)

	group := phone.do("group", "create", "Friends", "bobby", "carol").text("group_id")
	bob.joins(group, phone)
	carol.joins(group, phone)

	const to = "#Friends"
	last := phone.send(to, "hello, friends")
	wantEach(t, []*device{bob, carol}, "hello, friends")

	// A node that carries the group's messages dies while Bob talks.
	dead := slices.Index(ids, path(t, last)[1])
	said := sendWhile(t, bob, to, "group crash", func() { s.Crash(t, dead) })
	wantEach(t, []*device{phone, carol}, said...)
	s.Restart(t, dead)

	// Another one loses its network while Carol talks, and Bob becomes an admin.
	cut := (dead + 1) % nodes
	more := sendWhile(t, carol, to, "group cut", func() {
		s.Cut(t, cut)
		phone.do("group", "promote", to, "bobby", "--timeout", "90s")
	})
	wantEach(t, []*device{phone, bob}, more...)
	s.Heal(t, cut)

	// Commands die in the middle of new generations. The next one goes on.
	for range 3 {
		phone.killed("group", "rekey", to)
		bob.killed("group", "rekey", to)
	}
	phone.do("group", "rekey", to, "--timeout", "90s")
	carol.send(to, "still here")
	wantEach(t, []*device{phone, bob}, "still here")

	// Bob removes Carol.
	bob.do("group", "remove", to, carolID, "--timeout", "90s")
	phone.send(to, "without Carol")
	wantEach(t, []*device{bob}, "without Carol")
	carol.nothingMore()
	if code, _, errs := carol.try("send", to, "let me speak"); code != 4 {
		t.Errorf("send by a removed member: got exit code %d, want 4: %s", code, errs)
	}

	story := slices.Concat([]string{"hello, friends"}, said, more, []string{"still here"})
	wantTexts(t, "carol's log of the group", carol.texts(to), story...)
	story = append(story, "without Carol")
	laptop.has(to, "without Carol") // it was away all the time
	for _, d := range []*device{phone, laptop, bob} {
		wantTexts(t, d.name+"'s log of the group", d.texts(to), story...)
	}
	want := phone.sees(group)
	if len(want.members) != 2 || want.members[aliceID] != "admin" || want.members[bobID] != "admin" {
		t.Errorf("members: got %v, want Alice and Bob, both admins", want.members)
	}
	for _, d := range []*device{laptop, bob} {
		if got := d.sees(group); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the group on %s: got %v, want %v", d.name, got, want)
		}
	}
}

func (d *device) account() string { return d.do("account", "show").text("account_id") }

// has waits until the newest message of a conversation is there.
func (d *device) has(peer, text string) {
	d.t.Helper()
	waitFor(d.t, d.name+" to have "+text, func() error {
		d.try("sync", "pull")
		code, docs, errs := d.try("log", peer, "-n", "1000")
		if code != 0 || !slices.ContainsFunc(docs, func(m document) bool { return m.text("text") == text }) {
			return fmt.Errorf("exit code %d, %d messages: %s", code, len(docs), errs)
		}
		return nil
	})
}

// killed runs a command and kills it somewhere in its first half second.
func (d *device) killed(args ...string) {
	d.t.Helper()
	cmd := d.command(context.Background(), "", args...)
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(rand.IntN(500))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
}

// seen is what a device says of a group.
type seen struct {
	generation any
	members    map[string]string // role by account
}

func (d *device) sees(group string) seen {
	d.t.Helper()
	return seenOf(d.do("group", "show", group))
}

func seenOf(doc document) seen {
	s := seen{doc["generation"], map[string]string{}}
	for _, m := range doc.list("members") {
		if m.text("status") == "member" {
			s.members[m.text("account_id")] = m.text("role")
		}
	}
	return s
}

// joins waits until the device's account is a member: it asks, an admin's device lets it in, and it finds its
// keys.
func (d *device) joins(group string, admin *device) {
	d.t.Helper()
	me := d.account()
	waitFor(d.t, d.name+" to be a member", func() error {
		d.try("sync", "pull")
		admin.try("sync", "pull")
		d.try("sync", "pull")
		code, docs, errs := d.try("group", "show", group)
		if code != 0 || len(docs) != 1 {
			return fmt.Errorf("exit code %d: %s", code, errs)
		}
		if s := seenOf(docs[0]); s.members[me] == "" {
			return fmt.Errorf("members are %v", s.members)
		}
		return nil
	})
}
