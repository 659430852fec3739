package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// conversations are the changes of the conversation list.
var conversations = []Scenario{
	{Name: "delete-conversation", About: "a conversation is deleted, and comes back with the next message",
		play: playDeleteConversation},
	{Name: "hide-note-to-self", About: "the notes to self are hidden", play: playHideNotes},
	{Name: "pin", About: "a conversation is pinned", play: onConversation("pin", pinMark,
		func(v client.Conversation) bool { return v.Pinned })},
	{Name: "archive", About: "a conversation is archived", play: onConversation("archive", archiveMark,
		func(v client.Conversation) bool { return v.Archived })},
	{Name: "mark-unread", About: "a conversation is marked unread", play: onConversation("mark unread",
		unreadMark, func(v client.Conversation) bool { return v.Marked })},
	{Name: "mute", About: "a conversation is muted for an hour", play: playMute},
	{Name: "read", About: "what is read on one device is read on all", play: playRead},
	{Name: "timer", About: "messages disappear from all devices", Heavy: true, play: playTimer},
	{Name: "draft", About: "a text is begun on one device and sent from another", play: playDraft},
}

// conversationIs is a view of a conversation that must hold; one that is not there is the zero conversation.
func conversationIs(id ident.AccountID, want func(client.Conversation) bool) shows {
	return func(d *device) (bool, error) {
		v, err := d.Conversation(id).Get(d.stage.ctx)
		if errors.Is(err, fault.NotFound) {
			err = nil
		}
		return want(v), err
	}
}

// mark is what a conversation has or has not.
type mark struct {
	put, take func(client.ConversationHandle, context.Context) error
}

var (
	pinMark     = mark{client.ConversationHandle.Pin, client.ConversationHandle.Unpin}
	archiveMark = mark{client.ConversationHandle.Archive, client.ConversationHandle.Unarchive}
	unreadMark  = mark{client.ConversationHandle.MarkUnread, client.ConversationHandle.Unmark}
	hiddenMark  = mark{client.ConversationHandle.Hide, client.ConversationHandle.Show}
)

// on puts the mark on the conversation with somebody, or takes it away.
func (m mark) on(d *device, peer ident.Peer, on bool) error {
	if on {
		return m.put(d.Conversation(peer), d.stage.ctx)
	}
	return m.take(d.Conversation(peer), d.stage.ctx)
}

// onConversation switches a mark of the conversation with a friend on, on one device, and off on another.
func onConversation(what string, m mark, is func(client.Conversation) bool) func(*stage) error {
	return func(s *stage) error {
		bob, err := s.familyAndFriend()
		if err != nil {
			return err
		}
		for i, on := range []bool{true, false, true} {
			err := s.change(what, i%len(s.devices), func(d *device) error { return m.on(d, bob.id(), on) },
				conversationIs(bob.id(), func(v client.Conversation) bool { return is(v) == on }))
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func playMute(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	for i, t := range []time.Time{until, {}} {
		err := s.change("mute", i, func(d *device) error { return d.Conversation(bob.id()).Mute(s.ctx, t) },
			conversationIs(bob.id(), func(v client.Conversation) bool { return v.MutedUntil.Equal(t) }))
		if err != nil {
			return err
		}
	}
	return nil
}

func playDeleteConversation(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	if _, err := s.hear(bob, "forget this"); err != nil {
		return err
	}
	err = s.change("delete conversation", 0,
		func(d *device) error { return d.Conversation(bob.id()).Delete(s.ctx) }, func(d *device) (bool,
			error) {
			m, err := d.Messages(s.ctx, client.Filter{Conversation: bob.id().String()})
			return len(m) == 0, err
		})
	if err != nil {
		return err
	}
	if _, err := s.hear(bob, "a new beginning"); err != nil {
		return err
	}
	for _, d := range s.devices {
		m, err := d.Messages(s.ctx, client.Filter{Conversation: bob.id().String()})
		if err := check(err == nil && len(m) == 1, "%s has %d messages, %v, want the new one", d.cfg.Label,
			len(m), err); err != nil {
			return err
		}
	}
	return nil
}

// listed says whether a conversation is in the list.
func listed(id ident.AccountID, want bool) shows {
	return func(d *device) (bool, error) {
		all, err := d.Conversations(d.stage.ctx)
		return slices.ContainsFunc(all,
			func(v client.Conversation) bool { return v.ID == id.String() }) == want, err
	}
}

func playHideNotes(s *stage) error {
	if err := s.family(); err != nil {
		return err
	}
	me := s.devices[0].id()
	note := func(d *device) error { _, err := d.Send(s.ctx, me, client.Outgoing{Text: "milk"}); return err }
	if err := s.change("note to self", 0, note, listed(me, true)); err != nil {
		return err
	}
	err := s.change("hide notes", 1, func(d *device) error { return d.Conversation(me).Hide(s.ctx) },
		listed(me, false))
	if err != nil {
		return err
	}
	return s.change("show notes", 0, func(d *device) error { return d.Conversation(me).Show(s.ctx) },
		listed(me, true))
}

func playRead(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	for i := range s.devices {
		for _, text := range []string{"one", "two"} {
			if _, err := s.hear(bob, fmt.Sprintf("%s for %d", text, i)); err != nil {
				return err
			}
		}
		err := s.change("read", i, func(d *device) error {
			n, err := d.Conversation(bob.id()).MarkRead(s.ctx)
			if err == nil {
				err = check(n == 2, "%d messages were unread, want 2", n)
			}
			return err
		}, conversationIs(bob.id(), func(v client.Conversation) bool { return v.Unread == 0 }))
		if err != nil {
			return err
		}
	}
	return nil
}

func playTimer(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	const life = 2 * time.Second
	timer := conversationIs(bob.id(), func(v client.Conversation) bool { return v.Timer.After == life })
	err = s.change("set timer", 0, func(d *device) error {
		return d.Conversation(bob.id()).SetTimer(s.ctx,
			client.Timer{After: life})
	}, timer)
	if err != nil {
		return err
	}
	theirs := conversationIs(s.devices[0].id(),
		func(v client.Conversation) bool { return v.Timer.After == life })
	if err := s.await("timer", theirs, bob); err != nil {
		return err
	}
	m, err := s.hear(bob, "this goes")
	if err != nil {
		return err
	}
	if err := check(!m.ExpiresAt.IsZero(), "the message never disappears: %+v", m); err != nil {
		return err
	}
	return s.await("disappearance", func(d *device) (bool, error) {
		ok, err := has("this goes")(d)
		return !ok, err
	}, s.devices...)
}

func playDraft(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	draft := func(text string) shows {
		return conversationIs(bob.id(), func(v client.Conversation) bool { return v.Draft == text })
	}
	err = s.change("draft", 0, func(d *device) error {
		return d.Conversation(bob.id()).SetDraft(s.ctx,
			"dear Bo")
	}, draft("dear Bo"))
	if err != nil {
		return err
	}
	err = s.change("draft goes on", 1, func(d *device) error {
		return d.Conversation(bob.id()).SetDraft(s.ctx,
			"dear Bob")
	}, draft("dear Bob"))
	if err != nil {
		return err
	}
	if err := s.say(1, bob, "dear Bob,"); err != nil {
		return err
	}
	return s.await("end of the draft", draft(""), s.devices...)
}
