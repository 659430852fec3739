package scenario

import (
	"fmt"

	"github.com/starling-swarm/starling/client"
)

// messages are what changes single messages. Copies of what a device sends come to the others some seconds
// later on purpose, so that no node pairs the two by time: that is not measured.
var messages = []Scenario{
	{Name: "message", About: "a message to the account comes to all devices, one from it is copied to the " +
		"others", Heavy: true, play: playMessage},
	{Name: "reaction", About: "a message gets a reaction, which is taken back", Heavy: true,
		play: playReaction},
	{Name: "edit", About: "an own message is edited", Heavy: true, play: playEdit},
	{Name: "delete-for-me", About: "somebody's message is deleted from the account's devices",
		play: playDeleteForMe},
	{Name: "delete-for-everyone", About: "an own message is deleted everywhere", Heavy: true,
		play: playDeleteForEveryone},
}

// await waits until each of on shows something; it is not measured.
func (s *stage) await(what string, want shows, on ...*device) error {
	for _, d := range on {
		sub := d.Events()
		err := d.until(s.ctx, sub, want)
		sub.Close()
		if err != nil {
			return fmt.Errorf("%s: not on %s: %w", what, d.cfg.Label, err)
		}
	}
	return nil
}

// say sends a message from the n-th device and waits until the friend and the other devices have it.
func (s *stage) say(n int, to *device, text string) error {
	if err := s.middle(); err != nil {
		return err
	}
	if _, err := s.devices[n].Send(s.ctx, to.id(), client.Outgoing{Text: text}); err != nil {
		return fmt.Errorf("send %q: %w", text, err)
	}
	if err := s.await("message "+text, has(text), append([]*device{to}, s.devices...)...); err != nil {
		return err
	}
	return s.startRepair()
}

func playMessage(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	for i := range 5 {
		if _, err := s.hear(bob, fmt.Sprintf("hello %d", i)); err != nil {
			return err
		}
	}
	for i := range s.devices {
		if err := s.say(i, bob, fmt.Sprintf("this is device %d", i+1)); err != nil {
			return err
		}
	}
	return s.sameMessages()
}

// sameMessages compares what the devices of the account have.
func (s *stage) sameMessages() error {
	var first string
	for i, d := range s.devices {
		all, err := d.Messages(s.ctx, client.Filter{})
		if err != nil {
			return err
		}
		got := fingerprint(all)
		if i == 0 {
			first = got
		}
		if got != first {
			return fmt.Errorf("messages of %s:\n%s\nand of %s:\n%s", s.devices[0].cfg.Label, first,
				d.cfg.Label, got)
		}
	}
	return nil
}

// refOf names the message with a text on a device.
func (d *device) refOf(text string) (client.Ref, error) {
	m, ok, err := d.find(text)
	if err == nil && !ok {
		err = fmt.Errorf("%s does not have %q", d.cfg.Label, text)
	}
	return m.Ref(), err
}

func playReaction(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	m, err := s.hear(bob, "shall we?")
	if err != nil {
		return err
	}
	for i, remove := range []bool{false, true} {
		reacted := func(d *device) (bool, error) {
			m, ok, err := d.find("shall we?")
			return ok && (len(m.Reactions) == 0) == remove, err
		}
		err := s.change("reaction", i, func(d *device) error { return react(d, m.Ref(), "👍", !remove) },
			reacted)
		if err != nil {
			return err
		}
		if err := s.await("reaction", reacted, bob); err != nil {
			return err
		}
	}
	return nil
}

func playEdit(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	if err := s.say(0, bob, "see you at sevn"); err != nil {
		return err
	}
	// From another device than the one that sent it.
	err = s.change("edit", 1, func(d *device) error {
		ref, err := d.refOf("see you at sevn")
		if err == nil {
			_, err = d.Message(ref).Edit(s.ctx, "see you at seven")
		}
		return err
	}, has("see you at seven"))
	if err != nil {
		return err
	}
	return s.await("edit", has("see you at seven"), bob)
}

func playDeleteForMe(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	m, err := s.hear(bob, "not for the record")
	if err != nil {
		return err
	}
	err = s.change("delete for me", 0, func(d *device) error {
		_,
			err := d.Message(m.Ref()).Delete(s.ctx)
		return err
	}, func(d *device) (bool, error) {
		ok, err := has("not for the record")(d)
		return !ok, err
	})
	if err != nil {
		return err
	}
	ok, err := has("not for the record")(bob)
	return check(ok, "what was deleted for us is gone at the sender's, %v", err)
}

func playDeleteForEveryone(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	if err := s.say(0, bob, "oops"); err != nil {
		return err
	}
	ref, err := s.devices[0].refOf("oops")
	if err != nil {
		return err
	}
	gone := func(d *device) (bool, error) {
		all, err := d.Messages(s.ctx, client.Filter{ID: &ref.ID})
		return len(all) == 1 && all[0].Deleted && all[0].Text == "", err
	}
	err = s.change("delete for everyone", 1, func(d *device) error {
		_,
			err := d.Message(ref).DeleteForEveryone(s.ctx)
		return err
	}, gone)
	if err != nil {
		return err
	}
	return s.await("deletion", gone, bob)
}

// react puts an emoji on a message, or takes it off.
func react(d *device, ref client.Ref, emoji string, on bool) error {
	do := client.MessageHandle.React
	if !on {
		do = client.MessageHandle.Unreact
	}
	_, err := do(d.Message(ref), d.stage.ctx, emoji)
	return err
}
