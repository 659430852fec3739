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

// written returns the messages of a group's conversation that somebody wrote.
func (d *device) written(t testing.TB, id ident.GroupID) (out []client.Message) {
	t.Helper()
	all, err := d.Messages(t.Context(), client.Filter{Conversation: id.String()})
	must(t, err)
	for _, m := range all {
		if m.Notice == nil {
			out = append(out, m)
		}
	}
	return out
}

// notices returns what a group's conversation says about the group.
func (d *device) notices(t testing.TB, id ident.GroupID) (out []client.Message) {
	t.Helper()
	all, err := d.Messages(t.Context(), client.Filter{Conversation: id.String()})
	must(t, err)
	for _, m := range all {
		if m.Notice != nil {
			out = append(out, m)
		}
	}
	return out
}

func everywhere(t testing.TB, what string, all []*device, holds func(d *device) bool) {
	t.Helper()
	for _, d := range all {
		d.until(t, what, func() bool { return holds(d) })
	}
}

func TestGroupConversationHasWhatADirectOneHas(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol")
	alice, bob, carol := all[0], all[1], all[2]
	ctx := patient(t)
	first := alice.send(t, id, "hello band")
	for _, d := range all[1:] {
		if m := d.message(t, "hello band"); m.From != alice.id() || m.FromName != "Alice" ||
			m.Conversation != id.String() || m.Request || m.Unverified {
			t.Errorf("got %+v, want Alice's message in the group", m)
		}
	}
	if r, err := alice.Wait(ctx, first.ID, client.StateStored); err != nil || r.Replicas != 2 ||
		r.Path[0] == r.Path[1] {
		t.Errorf("receipt: got %+v, %v, want 2 replicas and a path", r, err)
	}
	must(t, carol.Conversation(id).Mute(ctx, client.Forever()))
	second, err := bob.Send(ctx, id, client.Outgoing{Text: "hello Alce, and Carol!", ReplyTo: &first.ID,
		Mentions: []ident.AccountID{carol.id()}})
	must(t, err)
	ref := client.Ref{Author: bob.id(), ID: second.ID}
	if m := carol.message(t, "hello Alce, and Carol!"); !m.MentionsMe ||
		!slices.Equal(m.Mentions, []ident.AccountID{carol.id()}) || m.ReplyTo == nil ||
		*m.ReplyTo != first.ID {
		t.Errorf("got %+v, want an answer that mentions Carol", m)
	}
	if v := carol.conv(t, id); v.Type != "group" || v.Name != "band" || v.Unread != 2 || v.Mentions != 1 ||
		v.MutedUntil.IsZero() {
		t.Errorf("conversation: got %+v, want 2 unread messages, one of which mentions Carol", v)
	}
	if n, err := carol.Conversation(id).MarkRead(ctx); err != nil || n != 2 {
		t.Errorf("mark as read: got %d, %v, want 2", n, err)
	}
	if v := carol.conv(t, id); v.Unread != 0 || v.Mentions != 0 {
		t.Errorf("after reading: got %+v", v)
	}
	_, err = carol.Message(ref).React(ctx, "🎉")
	must(t, err)
	_, err = bob.Message(ref).Edit(ctx, "hello Alice, and Carol!")
	must(t, err)
	everywhere(t, "edit and reaction", all, func(d *device) bool {
		m, _ := d.only(t, second.ID)
		return m.Text == "hello Alice, and Carol!" && m.Edited && len(m.Reactions) == 1 &&
			m.Reactions[0].From == carol.id() && len(m.Mentions) == 1
	})
	if found, err := alice.Search(ctx, "carol", 10); err != nil || len(found) != 1 ||
		found[0].ID != second.ID {
		t.Errorf("search: got %+v, %v", found, err)
	}
	must(t, bob.Conversation(id).SetDraft(ctx, "dear all"))
	if v := bob.conv(t, id); v.Draft != "dear all" {
		t.Errorf("draft: got %q", v.Draft)
	}
	bob.send(t, id, "dear all!")
	if v := bob.conv(t, id); v.Draft != "" {
		t.Errorf("draft after the message: got %q", v.Draft)
	}
	carol.message(t, "dear all!")
	must(t, carol.Conversation(id).Clear(ctx))
	if got := carol.texts(t, id); len(got) != 0 {
		t.Errorf("after clearing: got %q", got)
	}
	bob.send(t, id, "still here?")
	carol.message(t, "still here?")
	if got := len(alice.written(t, id)); got != 4 {
		alice.until(t, "all four messages", func() bool { return len(alice.written(t, id)) == 4 })
	}
}

func TestModeratorsDeleteAndPin(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol")
	alice, bob, carol := all[0], all[1], all[2]
	ctx := patient(t)
	must(t, bob.Idle(ctx))
	must(t, carol.Idle(ctx))
	before := alice.Lab().GroupMail(t, id) // the names that the two said when they joined
	own, rude := carol.send(t, id, "oops"), carol.send(t, id, "something rude")
	bob.message(t, "something rude")
	alice.message(t, "something rude")
	ref := client.Ref{Author: carol.id(), ID: rude.ID}
	if _, err := bob.Message(ref).DeleteForEveryone(ctx); !errors.Is(err, fault.Denied) {
		t.Errorf("a plain member deletes for everyone: got %v, want denied", err)
	}
	if _, err := bob.Message(ref).Pin(ctx); !errors.Is(err, fault.Denied) {
		t.Errorf("a plain member pins: got %v, want denied", err)
	}
	_, err := carol.Message(client.Ref{Author: carol.id(), ID: own.ID}).DeleteForEveryone(ctx)
	must(t, err)
	must(t, alice.Group(id).SetRole(ctx, bob.id(), client.RoleModerator))
	bob.in(t, id, "Bob is a moderator", func(g client.Group) bool { return g.Role == client.RoleModerator })
	must(t, carol.Idle(ctx))
	_, err = bob.Message(ref).DeleteForEveryone(ctx)
	must(t, err)
	everywhere(t, "both are deleted", all, func(d *device) bool {
		a, _ := d.only(t, own.ID)
		b, ok := d.only(t, rude.ID)
		return ok && a.Deleted && b.Deleted && b.Text == ""
	})
	must(t, bob.Idle(ctx))
	if n := alice.Lab().GroupMail(t, id) - before; n != 3 {
		// Carol's first, and two deletions: the rude one is gone there, too
		t.Errorf("%d envelopes more lie in the mailbox after the deletion, want 3", n)
	}
	good := carol.send(t, id, "rules: be kind")
	bob.message(t, "rules: be kind")
	ref = client.Ref{Author: carol.id(), ID: good.ID}
	if _, err := bob.Message(client.Ref{Author: carol.id()}).Pin(ctx); !errors.Is(err, fault.NotFound) {
		t.Errorf("pin a message that is not there: got %v, want not found", err)
	}
	_, err = bob.Message(ref).Pin(ctx)
	must(t, err)
	pinned := func(n int) func(d *device) bool {
		return func(d *device) bool {
			got, err := d.Conversation(id).Pinned(ctx)
			must(t, err)
			return len(got) == n && (n == 0 || got[0].ID == good.ID)
		}
	}
	everywhere(t, "it is pinned", all, pinned(1))
	_, err = alice.Message(ref).Unpin(ctx)
	must(t, err)
	everywhere(t, "it is let go", all, pinned(0))
}

func TestGroupTimerMakesMessagesDisappear(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob")
	alice, bob := all[0], all[1]
	ctx := patient(t)
	if err := bob.Conversation(id).SetTimer(ctx, client.Timer{After: time.Hour}); !errors.Is(err,
		fault.Denied) {
		t.Errorf("a plain member sets the timer: got %v, want denied", err)
	}
	must(t, alice.Conversation(id).SetTimer(ctx, client.Timer{After: 2 * time.Second}))
	bob.until(t, "the timer is known", func() bool { return bob.conv(t, id).Timer.After == 2*time.Second })
	sent, err := bob.Send(ctx, id, client.Outgoing{Text: "for a moment",
		Expire: &client.Timer{After: time.Hour}})
	must(t, err)
	if m := alice.message(t, "for a moment"); m.ExpiresAt.IsZero() ||
		m.ExpiresAt.Sub(m.SentAt) != 2*time.Second {
		t.Errorf("it disappears at %v, sent at %v, want 2 s later", m.ExpiresAt, m.SentAt)
	}
	everywhere(t, "it is gone", all, func(d *device) bool { _, ok := d.only(t, sent.ID); return !ok })
}

func TestNoticesAreTheSameOnAllDevices(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob")
	alice, bob := all[0], all[1]
	ctx := patient(t)
	must(t, alice.Group(id).SetInfo(ctx, client.GroupInfo{Name: ptr("trio"),
		Description: ptr("three of us")}))
	must(t, alice.Group(id).Rekey(ctx))
	must(t, alice.Group(id).SetRole(ctx, bob.id(), client.RoleAdmin))
	bob.in(t, id, "Bob is an admin", func(g client.Group) bool { return g.Role == client.RoleAdmin })
	alice.in(t, id, "Bob is an admin", func(g client.Group) bool {
		return slices.ContainsFunc(g.Members,
			func(m client.GroupMember) bool { return m.Account == bob.id() && m.Role == client.RoleAdmin })
	})
	tail := func(d *device) (ids []ident.MessageID, kinds []client.NoticeKind) {
		rows := d.notices(t, id)
		for _, m := range rows[max(0, len(rows)-3):] {
			ids, kinds = append(ids, m.ID), append(kinds, m.Notice.Kind)
		}
		return ids, kinds
	}
	ids, kinds := tail(alice)
	if want := []client.NoticeKind{client.NoticeRenamed, client.NoticeDescribed,
		client.NoticeRole}; !slices.Equal(kinds, want) {
		t.Errorf("Alice has %v, want %v", kinds, want)
	}
	if others, kinds := tail(bob); !slices.Equal(ids, others) {
		t.Errorf("Bob has %v %v, want %v", others, kinds, ids)
	}
	first := alice.notices(t, id)[0]
	if first.Notice.Kind != client.NoticeCreated || first.Text != "You created the group “band”" {
		t.Errorf("the first notice is %+v, want that Alice created the group", first)
	}
	if last := bob.notices(t, id); last[len(last)-1].Text != "Alice made you an admin" ||
		last[0].Text != "You joined" {
		t.Errorf("Bob reads %q first and %q last", last[0].Text, last[len(last)-1].Text)
	}
	if v := bob.conv(t, id); v.Unread != 0 {
		t.Errorf("%d unread, want none: notices do not count", v.Unread)
	}
	if news, err := bob.Messages(ctx, client.Filter{NotHandedOut: true}); err != nil || len(news) != 0 {
		t.Errorf("%d messages to hand out, %v, want none", len(news), err)
	}
}

func TestMessageThatWaitedIsSealedForTheNewGeneration(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol")
	alice, bob, carol := all[0], all[1], all[2]
	ctx := patient(t)
	bob.stop()
	c, err := client.Open(bob.cfg)
	must(t, err)
	sent, err := c.Send(ctx, id, client.Outgoing{Text: "without Carol"})
	must(t, err)
	ref := client.Ref{Author: c.Account().ID, ID: sent.ID}
	for _, text := range []string{"without Carol?", "without Carol!"} {
		_, err = c.Message(ref).Edit(ctx, text)
		must(t, err)
	}
	must(t, c.Close())
	must(t, alice.Group(id).Remove(ctx, carol.id()))
	bob = bob.reopen(t)
	if r, err := bob.Wait(ctx, sent.ID, client.StateStored); err != nil || r.Replicas != 2 {
		t.Errorf("receipt: got %+v, %v", r, err)
	}
	everywhere(t, "the last edit counts", []*device{alice, bob}, func(d *device) bool {
		m, ok := d.only(t, sent.ID)
		return ok && m.Text == "without Carol!"
	})
	must(t, bob.Idle(ctx))
	must(t, alice.SyncToHeads(ctx))
	if got := alice.written(t, id); len(got) != 1 || got[0].Text != "without Carol!" ||
		!got[0].SentAt.Equal(sent.QueuedAt.Truncate(time.Millisecond)) {
		t.Errorf("Alice has %+v, want one message of when it was written", got)
	}
	if _, ok := carol.only(t, sent.ID); ok {
		t.Error("who was removed reads what was sent after it")
	}
}

func TestDeathLosesAndDoublesNoGroupMessage(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob")
	alice, bob := all[0], all[1]
	var want []string
	for i := range 4 {
		text := string(rune('a' + i))
		alice.send(t, id, text)
		want = append(want, text)
		alice.kill(t)
		alice = alice.reopen(t)
	}
	ctx := patient(t)
	must(t, alice.Idle(ctx))
	must(t, bob.SyncToHeads(ctx))
	for _, d := range []*device{alice, bob} {
		var got []string
		for _, m := range d.written(t, id) {
			got = append(got, m.Text)
			if m.Mine && m.State != client.StateStored {
				t.Errorf("%q is %v, want stored", m.Text, m.State)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestWhoIsNoMemberDoesNotSend(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob")
	alice, bob := all[0], all[1]
	ctx := patient(t)
	bob.stop()
	c, err := client.Open(bob.cfg)
	must(t, err)
	sent, err := c.Send(ctx, id, client.Outgoing{Text: "too late"})
	must(t, err)
	must(t, c.Close())
	must(t, alice.Group(id).Remove(ctx, bob.id()))
	bob = bob.reopen(t)
	if r, err := bob.Wait(ctx, sent.ID, client.StateStored); !errors.Is(err, fault.Denied) ||
		r.State != client.StateFailed {
		t.Errorf("message of who was removed: got %+v, %v, want failed, denied", r, err)
	}
	if _, err := bob.Send(ctx, id, client.Outgoing{Text: "hello?"}); !errors.Is(err, fault.Denied) {
		t.Errorf("send: got %v, want denied", err)
	}
	if m, err := bob.Message(client.Ref{Author: bob.id(), ID: sent.ID}).Delete(ctx); err != nil ||
		!m.Deleted {
		t.Errorf("delete here: got %+v, %v", m, err)
	}
	last := bob.notices(t, id)
	if n := last[len(last)-1]; n.Notice.Kind != client.NoticeRemoved || n.Text != "You were removed" {
		t.Errorf("the last notice is %+v, want that Bob was removed", n)
	}
	if v := bob.conv(t, id); v.Status != client.GroupRemoved {
		t.Errorf("the conversation's status is %q, want %q", v.Status, client.GroupRemoved)
	}
}

func TestLeavingIsNoRemoval(t *testing.T) {
	all, id := band(t, shared(t), "Alice", "Bob", "Carol")
	bob := all[1]
	must(t, bob.Group(id).Leave(patient(t)))
	bob.in(t, id, "left", status(client.GroupLeft))
	last := func(d *device) client.Message {
		rows := d.notices(t, id)
		return rows[len(rows)-1]
	}
	everywhere(t, "it is said that he left", []*device{all[0], all[2]}, func(d *device) bool {
		n := last(d).Notice
		return n.Kind == client.NoticeLeft && slices.Equal(n.Members, []ident.AccountID{bob.id()})
	})
	if got := last(bob); got.Notice.Kind != client.NoticeLeft || got.Text != "You left" {
		t.Errorf("Bob reads %q last, want that he left", got.Text)
	}
}

func TestMessageWaitsUntilAnAdminLetsItsSenderIn(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	g := alice.group(t, "band")
	link, err := alice.Group(g.ID).CreateLink(patient(t), time.Now().Add(time.Hour), 1, 0)
	must(t, err)
	must(t, alice.Idle(patient(t)))
	alice.stop()
	_, err = bob.JoinGroup(patient(t), link.Link)
	must(t, err)
	sent := bob.send(t, g.ID, "may I come in?")
	bob.next(t, "a cause", func(e client.Event) bool {
		return e.Kind == client.EventState && e.Receipt.ID == sent.ID &&
			e.Receipt.State == client.StateQueued && errors.Is(e.Receipt.Cause, fault.Unavailable)
	})
	alice = alice.reopen(t)
	if _, err := bob.Wait(patient(t), sent.ID, client.StateStored); err != nil {
		t.Errorf("wait: %v", err)
	}
	if m := alice.message(t, "may I come in?"); m.FromName != "Bob" {
		t.Errorf("the message is of %q, want Bob", m.FromName)
	}
}
