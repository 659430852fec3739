package client_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// only returns the one message of a conversation that has the given ID.
func (d *device) only(t testing.TB, id ident.MessageID) (client.Message, bool) {
	t.Helper()
	all, err := d.Messages(t.Context(), client.Filter{ID: &id})
	must(t, err)
	if len(all) == 0 {
		return client.Message{}, false
	}
	return all[0], true
}

func TestReactionsEditsAndDeletionsReachEveryDevice(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	ctx := patient(t)
	sent := alice1.send(t, bob.id(), "helo")
	ref := client.Ref{Author: alice1.id(), ID: sent.ID}
	bob.message(t, "helo")
	alice2.message(t, "helo")
	all := []*device{alice1, alice2, bob}
	everywhere := func(what string, holds func(client.Message, bool) bool) {
		t.Helper()
		for _, d := range all {
			d.until(t, what, func() bool { return holds(d.only(t, sent.ID)) })
		}
	}

	if m, err := alice2.Message(ref).Edit(ctx, "hello"); err != nil || m.Text != "hello" || !m.Edited {
		t.Errorf("edit: got %+v, %v", m, err)
	}
	everywhere("edit", func(m client.Message, _ bool) bool { return m.Text == "hello" && m.Edited })
	if _, err := bob.Message(ref).Edit(ctx, "mine"); !errors.Is(err, fault.Denied) {
		t.Errorf("edit of somebody else's message: got %v, want denied", err)
	}
	_, err := bob.Message(ref).React(ctx, "👍")
	must(t, err)
	_, err = alice1.Message(ref).React(ctx, "🎉")
	must(t, err)
	everywhere("reactions", func(m client.Message, _ bool) bool { return len(m.Reactions) == 2 })
	_, err = bob.Message(ref).Unreact(ctx, "👍")
	must(t, err)
	everywhere("reaction taken off", func(m client.Message, _ bool) bool {
		return len(m.Reactions) == 1 && m.Reactions[0].From == alice1.id()
	})

	if _, err := bob.Message(ref).DeleteForEveryone(ctx); !errors.Is(err, fault.Denied) {
		t.Errorf("delete somebody else's message for everyone: got %v, want denied", err)
	}
	_, err = alice2.Message(ref).DeleteForEveryone(ctx)
	must(t, err)
	everywhere("deletion for everyone", func(m client.Message, ok bool) bool {
		return ok && m.Deleted &&
			m.Text == "" && len(m.Reactions) == 0
	})
	if _, err := alice1.Message(ref).Edit(ctx, "zombie"); !errors.Is(err, fault.Invalid) {
		t.Errorf("edit of a deleted message: got %v, want invalid", err)
	}

	second := bob.send(t, alice1.id(), "for you alone")
	alice1.message(t, "for you alone")
	alice2.message(t, "for you alone")
	if m, err := alice1.Message(client.Ref{Author: bob.id(), ID: second.ID}).Delete(ctx); err != nil ||
		!m.Deleted || m.Text != "" {
		t.Errorf("delete for me: got %+v, %v", m, err)
	}
	alice2.until(t, "deletion for me", func() bool { _, ok := alice2.only(t, second.ID); return !ok })
	must(t, bob.SyncToHeads(ctx))
	if m, ok := bob.only(t, second.ID); !ok || m.Deleted {
		t.Errorf("what Alice deleted for herself: Bob has %+v, %v, want it as it was", m, ok)
	}
}

// TestChangesThatComeBeforeTheirMessage makes changes on one device of messages that another has not sent
// yet.
func TestChangesThatComeBeforeTheirMessage(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	ctx := patient(t)
	alice1.send(t, bob.id(), "first")
	bob.message(t, "first")
	alice2.message(t, "first")
	edited, deleted, removed := ident.MessageID{1, 1}, ident.MessageID{2, 2}, ident.MessageID{3, 3}
	ref := func(id ident.MessageID) client.Ref { return client.Ref{Author: alice1.id(), ID: id} }
	must(t, alice2.ChangeEarly(bob.id(), ref(edited), ref(deleted), ref(removed), "edited"))
	must(t, alice2.Flush(ctx))
	must(t, bob.SyncToHeads(ctx)) // what comes before its message is no news: no event tells of it
	bob.until(t, "early changes", func() bool {
		return bob.CountChanges(ref(edited)) == 1 &&
			bob.CountChanges(ref(deleted)) == 1
	})
	for _, id := range []ident.MessageID{edited, deleted, removed} {
		_, err := alice1.Send(ctx, bob.id(), client.Outgoing{ID: id, Text: "original " + id.Short()})
		must(t, err)
	}
	last := alice1.send(t, bob.id(), "last")
	_ = last
	bob.message(t, "last")
	alice2.message(t, "last")
	for _, d := range []*device{bob, alice2} {
		if m, ok := d.only(t, edited); !ok || m.Text != "edited" || !m.Edited || len(m.Reactions) != 1 {
			t.Errorf("message after its edit and reaction: got %+v, %v", m, ok)
		}
		if m, ok := d.only(t, deleted); !ok || !m.Deleted || m.Text != "" {
			t.Errorf("message after its deletion: got %+v, %v, want only a mark", m, ok)
		}
		if _, ok := d.only(t, removed); ok != (d == bob) {
			t.Errorf("message that Alice removed for herself: there %v, want it on Bob's device only", ok)
		}
	}
	if waiting, err := bob.Messages(ctx, client.Filter{NotHandedOut: true}); err != nil ||
		slices.ContainsFunc(waiting, func(m client.Message) bool { return m.Deleted }) {
		t.Errorf("to hand out: got %+v, %v, want nothing that is deleted", waiting, err)
	}
}

func TestTimersMakeMessagesDisappearOnBothSides(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	ctx := patient(t)
	alice1.send(t, bob.id(), "stays")
	bob.message(t, "stays")
	bob.send(t, alice1.id(), "stays too")
	alice2.message(t, "stays too")
	if err := alice1.Conversation(bob.id()).SetTimer(ctx,
		client.Timer{After: time.Millisecond}); !errors.Is(err, fault.Invalid) {
		t.Errorf("timer of a millisecond: got %v, want invalid", err)
	}
	day := client.Timer{After: 24 * time.Hour, AfterRead: true}
	must(t, alice1.Conversation(bob.id()).SetTimer(ctx, day))
	bob.until(t, "timer", func() bool { return bob.conv(t, alice1.id()).Timer == day })
	alice2.until(t, "timer", func() bool { return alice2.conv(t, bob.id()).Timer == day })
	soon := client.Timer{After: time.Second}
	must(t, bob.Conversation(alice1.id()).SetTimer(ctx, soon))
	for _, d := range []*device{alice1, alice2} {
		d.until(t, "Bob's timer", func() bool { return d.conv(t, bob.id()).Timer == soon })
	}
	sent := bob.send(t, alice1.id(), "gone in a second")
	for _, d := range []*device{alice1, alice2, bob} {
		d.next(t, "expiry", func(e client.Event) bool {
			return e.Kind == client.EventUpdate && e.Message.ID == sent.ID && e.Message.Deleted
		})
		if _, ok := d.only(t, sent.ID); ok {
			t.Error("a message is there after its time")
		}
	}
	must(t, alice1.Conversation(bob.id()).SetTimer(ctx, client.Timer{}))
	bob.until(t, "no timer", func() bool { return bob.conv(t, alice1.id()).Timer == client.Timer{} })
	read := client.Timer{After: time.Second, AfterRead: true}
	s, err := bob.Send(ctx, alice1.id(), client.Outgoing{Text: "read me", Expire: &read})
	must(t, err)
	for _, d := range []*device{alice1, alice2} {
		if m := d.message(t, "read me"); !m.ExpiresAt.IsZero() {
			t.Errorf("unread message: disappears at %s, want not before it is read", m.ExpiresAt)
		}
	}
	_, err = alice1.Conversation(bob.id()).MarkRead(ctx)
	must(t, err)
	for _, d := range []*device{alice1, alice2} {
		d.until(t, "expiry after reading", func() bool { _, ok := d.only(t, s.ID); return !ok })
	}
}

func TestDraftsFollowAndEndWithTheMessage(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	ctx := patient(t)
	alice1.send(t, bob.id(), "hi")
	alice2.message(t, "hi")
	must(t, alice1.Conversation(bob.id()).SetDraft(ctx, "dear"))
	must(t, alice1.Conversation(bob.id()).SetDraft(ctx, "dear Bob"))
	alice2.until(t, "draft", func() bool { return alice2.conv(t, bob.id()).Draft == "dear Bob" })
	alice2.send(t, bob.id(), "dear Bob, hello")
	if d := alice2.conv(t, bob.id()).Draft; d != "" {
		t.Errorf("draft after the message: got %q, want none", d)
	}
	alice1.until(t, "end of the draft", func() bool { return alice1.conv(t, bob.id()).Draft == "" })
}

func TestReadingIsToldAsTheSettingSays(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	ctx := patient(t)
	sent := alice.send(t, bob.id(), "read this")
	bob.message(t, "read this")
	bob.send(t, alice.id(), "in a minute")
	alice.message(t, "in a minute")
	if n, err := bob.Conversation(alice.id()).MarkRead(ctx); err != nil || n != 1 {
		t.Errorf("read: got %d, %v, want 1", n, err)
	}
	if r, err := alice.Wait(ctx, sent.ID, client.StateRead); err != nil || r.Read.IsZero() {
		t.Errorf("receipt: got %+v, %v, want read", r, err)
	}
	must(t, bob.Set(ctx, "receipts", false))
	second := alice.send(t, bob.id(), "and this")
	bob.message(t, "and this")
	if n, err := bob.Conversation(alice.id()).MarkRead(ctx); err != nil || n != 1 {
		t.Errorf("read: got %d, %v, want 1", n, err)
	}
	must(t, bob.Idle(ctx))
	must(t, alice.SyncToHeads(ctx))
	if r, err := alice.Receipt(ctx, second.ID); err != nil || r.State == client.StateRead {
		t.Errorf("receipt with the setting off: got %+v, %v, want not read", r, err)
	}
	if err := bob.Set(ctx, "colour", true); !errors.Is(err, fault.NotFound) {
		t.Errorf("unknown setting: got %v, want not found", err)
	}
	must(t, bob.Conversation(alice.id()).Typing(ctx))
	alice.next(t, "typing", func(e client.Event) bool {
		return e.Kind == client.EventTyping &&
			*e.Contact == bob.id()
	})
}

func TestDeclinedRequestIsGoneEverywhere(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	ctx := patient(t)
	bob.send(t, alice1.id(), "buy this")
	for _, d := range []*device{alice1, alice2} {
		d.message(t, "buy this")
	}
	must(t, alice1.Contact(bob.id()).Decline(ctx))
	alice2.until(t, "decline", func() bool { return len(alice2.texts(t, bob.id())) == 0 })
	if err := alice2.Contact(bob.id()).Decline(ctx); !errors.Is(err, fault.NotFound) {
		t.Errorf("decline again: got %v, want not found", err)
	}
	must(t, alice1.Set(ctx, "requests", false))
	must(t, alice1.Push(ctx))
	must(t, alice2.SyncToHeads(ctx))
	bob.send(t, alice1.id(), "buy that")
	alice2.until(t, "quiet request", func() bool { return len(alice2.texts(t, bob.id())) == 1 })
	if waiting, err := alice2.Messages(ctx, client.Filter{NotHandedOut: true}); err != nil ||
		len(waiting) != 0 {
		t.Errorf("to hand out with requests off: got %d, %v, want none", len(waiting), err)
	}
	if r, err := alice2.Requests(ctx); err != nil || len(r) != 1 {
		t.Errorf("requests: got %d, %v, want one", len(r), err)
	}
}
