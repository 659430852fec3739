package scenario

import (
	"errors"
	"fmt"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// documents are the changes of profile, contacts and settings.
var documents = []Scenario{
	{Name: "name", About: "the account gets another name", play: playName},
	{Name: "contact", About: "somebody is added, and removed again", play: playContact},
	{Name: "petname", About: "a contact is called differently, here and there", play: playPetname},
	{Name: "block", About: "a contact is blocked on one device and unblocked on another", play: playBlock},
	{Name: "accept", About: "an unknown sender is accepted", play: playAccept},
	{Name: "decline", About: "an unknown sender is declined", play: playDecline},
	{Name: "verify", About: "a contact's safety number is compared on one device", play: playVerify},
	{Name: "settings", About: "settings are switched", play: playSettings},
	{Name: "rename-device", About: "a device gets another label", play: playRenameDevice},
}

func playName(s *stage) error {
	if err := s.family(); err != nil {
		return err
	}
	for i := range s.devices {
		name := fmt.Sprintf("Alice the %d.", i+1)
		err := s.change("rename", i, func(d *device) error { return d.Rename(s.ctx, name) },
			func(d *device) (bool, error) { return d.Account().Name == name, nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// contactIs is a view of a contact that must hold; who is not known is the zero contact.
func contactIs(id ident.AccountID, want func(client.Contact) bool) shows {
	return func(d *device) (bool, error) {
		c, err := d.Contact(id).Get(d.stage.ctx)
		if errors.Is(err, fault.NotFound) {
			err = nil
		}
		return want(c), err
	}
}

func playContact(s *stage) error {
	if err := s.family(); err != nil {
		return err
	}
	bob, _, err := s.person("bob")
	if err != nil {
		return err
	}
	err = s.change("add contact", 0, func(d *device) error {
		_, err := d.AddContact(s.ctx, bob.id(),
			"bobby")
		return err
	},
		contactIs(bob.id(), func(c client.Contact) bool { return c.Approved && c.Nick == "bobby" }))
	if err != nil {
		return err
	}
	return s.change("remove contact", 1, func(d *device) error { return d.Contact(bob.id()).Remove(s.ctx) },
		contactIs(bob.id(), func(c client.Contact) bool { return !c.Approved && c.Nick == "" }))
}

func playPetname(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	for round := range 3 {
		for i := range s.devices {
			nick := fmt.Sprintf("bob %d.%d", round, i)
			err := s.change("petname", i, func(d *device) error {
				return d.Contact(bob.id()).SetNick(s.ctx,
					nick)
			},
				contactIs(bob.id(), func(c client.Contact) bool { return c.Nick == nick }))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func playBlock(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	err = s.change("block", 0, func(d *device) error { return d.Contact(bob.id()).Block(s.ctx) },
		contactIs(bob.id(), func(c client.Contact) bool { return c.Blocked }))
	if err != nil {
		return err
	}
	if err := s.sendAndWait(bob, s.devices[0].id(), "can you hear me?"); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	for _, d := range s.devices {
		got, err := d.Messages(s.ctx, client.Filter{Conversation: bob.id().String()})
		if err := check(err == nil && len(got) == 0, "%s has %d messages of somebody blocked, %v",
			d.cfg.Label, len(got), err); err != nil {
			return err
		}
		_, err = d.Send(s.ctx, bob.id(), client.Outgoing{Text: "x"})
		if err := refused(d.cfg.Label+" writes to somebody blocked", err, fault.Denied); err != nil {
			return err
		}
	}
	last := len(s.devices) - 1
	err = s.change("unblock", last, func(d *device) error { return d.Contact(bob.id()).Unblock(s.ctx) },
		contactIs(bob.id(), func(c client.Contact) bool { return !c.Blocked }))
	if err != nil {
		return err
	}
	_, err = s.hear(bob, "and now?")
	return err
}

// stranger makes somebody who has written to the account, unknown to it.
func (s *stage) stranger() (*device, error) {
	if err := s.family(); err != nil {
		return nil, err
	}
	carol, _, err := s.person("carol")
	if err != nil {
		return nil, err
	}
	m, err := s.hear(carol, "do you know me?")
	if err == nil {
		err = check(m.Request, "a stranger's message is no request: %+v", m)
	}
	return carol, err
}

func requests(n int) shows {
	return func(d *device) (bool, error) {
		r, err := d.Requests(d.stage.ctx)
		return len(r) == n, err
	}
}

func playAccept(s *stage) error {
	carol, err := s.stranger()
	if err != nil {
		return err
	}
	err = s.change("accept", 1, func(d *device) error {
		_,
			err := d.Contact(carol.id()).Accept(s.ctx)
		return err
	}, requests(0))
	if err != nil {
		return err
	}
	m, err := s.hear(carol, "so you do")
	if err != nil {
		return err
	}
	return check(!m.Request, "a message of an accepted sender is still a request: %+v", m)
}

func playDecline(s *stage) error {
	carol, err := s.stranger()
	if err != nil {
		return err
	}
	err = s.change("decline", 0, func(d *device) error { return d.Contact(carol.id()).Decline(s.ctx) },
		func(d *device) (bool, error) {
			m, err := d.Messages(s.ctx, client.Filter{Conversation: carol.id().String()})
			return len(m) == 0, err
		})
	if err != nil {
		return err
	}
	for _, d := range s.devices {
		if ok, err := requests(0)(d); err != nil || !ok {
			return fmt.Errorf("%s still has a request, %w", d.cfg.Label, orNone(err))
		}
	}
	return nil
}

func playVerify(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	theirs, err := bob.Contact(s.devices[0].id()).Safety(s.ctx)
	if err != nil {
		return err
	}
	return s.change("verify", 0, func(d *device) error {
		_, err := d.Contact(bob.id()).Verify(s.ctx, theirs.Number)
		return err
	}, contactIs(bob.id(), func(c client.Contact) bool { return c.Verified }))
}

func playSettings(s *stage) error {
	if err := s.family(); err != nil {
		return err
	}
	for i, name := range client.SettingNames() {
		for _, on := range []bool{false, true} {
			err := s.change("switch "+name, i%len(s.devices),
				func(d *device) error { return d.Set(s.ctx, name, on) }, func(d *device) (bool, error) {
					all, err := d.Settings(s.ctx)
					for _, o := range all {
						if o.Name == name {
							return o.On == on, err
						}
					}
					return false, err
				})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func playRenameDevice(s *stage) error {
	if err := s.family(); err != nil {
		return err
	}
	id := s.devices[0].Account().Device
	err := s.middle()
	if err == nil {
		_, err = s.devices[1].Device(id).Rename(s.ctx, "kitchen")
	}
	if err == nil {
		err = s.settle()
	}
	if err != nil {
		return err
	}
	for _, d := range s.devices {
		if found, err := d.ResolveDevice(s.ctx, "kitchen"); err != nil || found.ID != id {
			return fmt.Errorf("%s finds %v under the new label, %w", d.cfg.Label, found, orNone(err))
		}
	}
	return nil
}

// sendAndWait sends a message that is stored when it returns.
func (s *stage) sendAndWait(by *device, to ident.AccountID, text string) error {
	sent, err := by.Send(s.ctx, to, client.Outgoing{Text: text})
	if err == nil {
		_, err = by.Wait(s.ctx, sent.ID, client.StateStored)
	}
	if err != nil {
		return fmt.Errorf("send %q: %w", text, err)
	}
	return nil
}

// has says whether a device has a message with a text.
func has(text string) shows {
	return func(d *device) (bool, error) {
		_, ok, err := d.find(text)
		return ok, err
	}
}

func (d *device) find(text string) (client.Message, bool, error) {
	all, err := d.Messages(d.stage.ctx, client.Filter{})
	for _, m := range all {
		if m.Text == text {
			return m, true, err
		}
	}
	return client.Message{}, false, err
}

// hear lets somebody write to the account and waits until all its devices have it.
func (s *stage) hear(from *device, text string) (client.Message, error) {
	to := s.devices[0].id()
	var running []*device
	for _, d := range s.devices {
		if d.cancel != nil {
			running = append(running, d)
		}
	}
	err := s.watch("message "+text, func() error {
		_, err := from.Send(s.ctx, to, client.Outgoing{Text: text})
		return err
	}, has(text), running...)
	if err != nil {
		return client.Message{}, err
	}
	m, ok, err := running[0].find(text)
	if err == nil && !ok {
		err = fmt.Errorf("message %q is gone", text)
	}
	return m, err
}
