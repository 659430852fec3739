package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// until returns once holds does on d, looking again at every event.
func (d *device) until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !holds() {
		d.next(t, what, func(client.Event) bool { return holds() })
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// same waits until all devices hold the same documents and nothing waits.
func same(t testing.TB, devices ...*device) {
	t.Helper()
	for _, d := range devices {
		must(t, d.Push(patient(t)))
	}
	versions := func(d *device) (out []string) {
		s, err := d.SyncStatus(t.Context())
		must(t, err)
		for _, doc := range s.Documents {
			out = append(out, fmt.Sprint(doc.Name, doc.Version, doc.Pending))
		}
		return out
	}
	for _, d := range devices {
		must(t, d.SyncToHeads(patient(t)))
	}
	for _, d := range devices[1:] {
		if got, want := versions(d), versions(devices[0]); !slices.Equal(got, want) {
			t.Errorf("documents of two devices differ: got %v, want %v", got, want)
		}
	}
}

func (d *device) conv(t testing.TB, peer ident.Peer) client.Conversation {
	t.Helper()
	v, err := d.Conversation(peer).Get(t.Context())
	if err != nil && !errors.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	return v
}

func (d *device) texts(t testing.TB, peer ident.Peer) (out []string) {
	t.Helper()
	all, err := d.Messages(t.Context(), client.Filter{Conversation: peer.String()})
	must(t, err)
	for _, m := range all {
		out = append(out, m.Text)
	}
	return out
}

func (d *device) contact(t testing.TB, id ident.AccountID) client.Contact {
	t.Helper()
	c, err := d.Contact(id).Get(t.Context())
	if err != nil && !errors.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	return c
}

// TestThreeDevicesShareEveryDocument changes each document on one device and finds it on the two others.
func TestThreeDevicesShareEveryDocument(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	bob.send(t, alice1.id(), "may I?")
	alice1.message(t, "may I?")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	alice3 := link(t, cluster, alice2, words, "alice-3")
	others := []*device{alice2, alice3}
	everywhere := func(what string, holds func(*device) bool) {
		t.Helper()
		for _, d := range others {
			d.until(t, what, func() bool { return holds(d) })
		}
	}
	ctx := patient(t)

	requests, err := alice1.Requests(ctx)
	if err != nil || len(requests) != 1 || requests[0].Contact.ID != bob.id() || requests[0].Messages != 1 {
		t.Fatalf("requests: got %+v, %v, want Bob's", requests, err)
	}
	_, err = alice1.Contact(bob.id()).Accept(ctx)
	must(t, err)
	everywhere("approval", func(d *device) bool { return d.contact(t, bob.id()).Approved })
	if _, err := alice1.Contact(bob.id()).Accept(ctx); !errors.Is(err, fault.NotFound) {
		t.Errorf("accept again: got %v, want not found", err)
	}
	bob.until(t, "the name of who accepted",
		func() bool { return bob.contact(t, alice1.id()).Name == "Alice" })

	must(t, alice1.Contact(bob.id()).SetNick(ctx, "bobby"))
	everywhere("petname", func(d *device) bool { return d.contact(t, bob.id()).Nick == "bobby" })
	must(t, alice1.Rename(ctx, "Alicia"))
	everywhere("name", func(d *device) bool { return d.Account().Name == "Alicia" })
	must(t, alice1.Set(ctx, "typing", false))
	everywhere("setting", func(d *device) bool {
		all, err := d.Settings(ctx)
		must(t, err)
		return slices.ContainsFunc(all, func(s client.Setting) bool { return s.Name == "typing" && !s.On })
	})
	until := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	must(t, alice1.Conversation(bob.id()).Pin(ctx))
	must(t, alice1.Conversation(bob.id()).Archive(ctx))
	must(t, alice1.Conversation(bob.id()).Mute(ctx, until))
	must(t, alice1.Conversation(bob.id()).MarkUnread(ctx))
	everywhere("marks", func(d *device) bool {
		v := d.conv(t, bob.id())
		return v.Pinned && v.Archived && v.Marked && v.MutedUntil.Equal(until) && v.Name == "bobby"
	})
	must(t, alice1.Conversation(bob.id()).Unpin(ctx))
	everywhere("unpinned", func(d *device) bool { return !d.conv(t, bob.id()).Pinned })

	must(t, alice1.Contact(bob.id()).Block(ctx))
	everywhere("block", func(d *device) bool { return d.contact(t, bob.id()).Blocked })
	if _, err := alice2.Send(ctx, bob.id(), client.Outgoing{Text: "x"}); !errors.Is(err, fault.Denied) {
		t.Errorf("send to who is blocked: got %v, want denied", err)
	}
	sent := bob.send(t, alice1.id(), "into the void")
	_, err = bob.Wait(ctx, sent.ID, client.StateStored)
	must(t, err)
	for _, d := range []*device{alice1, alice2, alice3} {
		must(t, d.SyncToHeads(ctx))
	}
	must(t, alice3.Contact(bob.id()).Unblock(ctx))
	alice1.until(t, "unblock", func() bool { return !alice1.contact(t, bob.id()).Blocked })
	alice2.until(t, "unblock", func() bool { return !alice2.contact(t, bob.id()).Blocked })
	bob.send(t, alice1.id(), "back again")
	for _, d := range []*device{alice1, alice2, alice3} {
		d.message(t, "back again")
		if got := d.texts(t, bob.id()); slices.Contains(got, "into the void") {
			t.Errorf("a message of somebody blocked is there: %q", got)
		}
	}
	same(t, alice1, alice2, alice3)
	unread := alice2.conv(t, bob.id()).Unread
	if n, err := alice2.Conversation(bob.id()).MarkRead(ctx); err != nil || n != unread || n == 0 {
		t.Errorf("read: got %d, %v, want %d", n, err, unread)
	}
	alice1.until(t, "read state", func() bool {
		v := alice1.conv(t, bob.id())
		return v.Unread == 0 &&
			!v.Marked
	})
	must(t, alice2.Contact(bob.id()).Remove(ctx))
	alice1.until(t, "removal", func() bool {
		return !alice1.contact(t, bob.id()).Approved &&
			len(alice1.texts(t, bob.id())) == 0
	})
	bob.send(t, alice1.id(), "who am I to you?")
	if m := alice1.message(t, "who am I to you?"); !m.Request {
		t.Error("a message of a removed contact: want it to be a request")
	}
	same(t, alice1, alice2, alice3)
}

// TestBothOfflineAndTheSameFieldEdited lets two devices change the same things without knowing of each other.
func TestBothOfflineAndTheSameFieldEdited(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	_, err := alice1.AddContact(patient(t), bob.id(), "bob")
	must(t, err)
	alice2 := link(t, cluster, alice1, words, "alice-2")
	same(t, alice1, alice2)
	alice1.stop()
	alice2.stop()
	offline := func(d *device, f func(*client.Client)) *device {
		c, err := client.Open(d.cfg)
		must(t, err)
		f(c)
		if s, err := c.SyncStatus(t.Context()); err != nil ||
			!slices.ContainsFunc(s.Documents, func(d client.DocumentStatus) bool { return d.Pending > 0 }) {
			t.Errorf("status while offline: got %+v, %v, want something pending", s, err)
		}
		must(t, c.Close())
		c, err = client.Open(d.cfg)
		must(t, err)
		return run(t, c, d.cfg)
	}
	ctx := patient(t)
	alice1 = offline(alice1, func(c *client.Client) {
		must(t, c.Contact(bob.id()).SetNick(ctx, "first"))
		must(t, c.Conversation(bob.id()).Pin(ctx))
		must(t, c.Rename(ctx, "Alice the First"))
	})
	alice2 = offline(alice2, func(c *client.Client) {
		must(t, c.Contact(bob.id()).SetNick(ctx, "second"))
		must(t, c.Rename(ctx, "Alice the Second"))
		must(t, c.Conversation(bob.id()).Archive(ctx))
	})
	must(t, alice1.Push(ctx))
	must(t, alice2.Push(ctx))
	for _, d := range []*device{alice1, alice2} {
		must(t, d.SyncToHeads(ctx))
		if v := d.conv(t, bob.id()); v.Name != "second" || !v.Pinned || !v.Archived ||
			d.Account().Name != "Alice the Second" {
			t.Errorf("got %+v of %q, want what was done last, field by field", v, d.Account().Name)
		}
	}
	same(t, alice1, alice2)
}

// TestDeviceThatWasAwayMissesNothing leaves a device out while conversations are cleared, deleted, hidden and
// read.
func TestDeviceThatWasAwayMissesNothing(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	carol, _ := create(t, cluster, "Carol")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	ctx := patient(t)
	alice1.send(t, bob.id(), "to Bob")
	alice1.send(t, carol.id(), "to Carol")
	alice1.send(t, alice1.id(), "note")
	alice2.message(t, "note")
	alice2.until(t, "copies", func() bool {
		return len(alice2.texts(t, bob.id()))+len(alice2.texts(t,
			carol.id())) == 2
	})
	alice2.stop()

	bob.send(t, alice1.id(), "one")
	carol.send(t, alice1.id(), "two")
	alice1.until(t, "both", func() bool {
		return len(alice1.texts(t, bob.id()))+len(alice1.texts(t,
			carol.id())) == 4
	})
	must(t, alice1.Conversation(bob.id()).Clear(ctx))
	must(t, alice1.Conversation(carol.id()).Delete(ctx))
	must(t, alice1.Conversation(alice1.id()).Hide(ctx))
	bob.send(t, alice1.id(), "after")
	alice1.message(t, "after")
	n, err := alice1.Conversation(bob.id()).MarkRead(ctx)
	if err != nil || n != 1 {
		t.Errorf("read: got %d, %v, want 1", n, err)
	}
	must(t, alice1.Push(ctx))

	alice2 = alice2.reopen(t)
	must(t, alice2.SyncToHeads(ctx))
	for _, d := range []*device{alice1, alice2} {
		if got := d.texts(t, bob.id()); !slices.Equal(got, []string{"after"}) {
			t.Errorf("cleared conversation: got %q, want what came after", got)
		}
		if got := d.texts(t, carol.id()); len(got) != 0 {
			t.Errorf("deleted conversation: got %q", got)
		}
		list, err := d.Conversations(ctx)
		must(t, err)
		if len(list) != 1 || list[0].ID != bob.id().String() || list[0].Unread != 0 {
			t.Errorf("list: got %+v, want Bob's alone, read", list)
		}
	}
	carol.send(t, alice1.id(), "still there?")
	alice2.message(t, "still there?")
	if m := alice2.conv(t, carol.id()); m.Request || m.Unread != 1 {
		t.Errorf("deleted conversation after a message: got %+v, want it back, no request", m)
	}
	alice2.send(t, alice2.id(), "another note")
	alice1.message(t, "another note")
	if alice1.conv(t, alice1.id()).Hidden || alice2.conv(t, alice1.id()).Hidden {
		t.Error("hidden note to self: want it shown after another note")
	}
	same(t, alice1, alice2)
}

// TestBurstOfChangesMakesFewDeltas: the first leaves at once, the others go together.
func TestBurstOfChangesMakesFewDeltas(t *testing.T) {
	cfg := config(t, shared(t), "Alice-1")
	cfg.Gather(300 * time.Millisecond)
	alice1, _ := createWith(t, cfg, "Alice")
	ctx := patient(t)
	must(t, alice1.Push(ctx))
	before := alice1.CountDeltas()
	for i := range 20 {
		must(t, alice1.Rename(ctx, fmt.Sprint("Alice ", i)))
	}
	must(t, alice1.Push(ctx))
	if n := alice1.CountDeltas() - before; n < 1 || n > 4 {
		t.Errorf("20 changes: got %d deltas, want the first and a few for the rest", n)
	}
}

// TestDirtyStateSurvivesDeath kills a device between a change and its delta.
func TestDirtyStateSurvivesDeath(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	same(t, alice1, alice2)
	alice1.stop()
	c, err := client.Open(alice1.cfg)
	must(t, err)
	must(t, c.Rename(t.Context(), "Alice reborn"))
	ctx, cancel := context.WithCancel(t.Context())
	// whatever it still does is not written
	c.SetStoreHook(func(string) error { cancel(); return errors.New("killed") })
	_ = c.Run(ctx)
	_ = c.Close()
	c, err = client.Open(alice1.cfg)
	must(t, err)
	alice1 = run(t, c, alice1.cfg)
	alice2.until(t, "name", func() bool { return alice2.Account().Name == "Alice reborn" })
	same(t, alice1, alice2)
}
