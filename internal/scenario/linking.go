package scenario

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// linking is how devices join an account and leave it.
var linking = []Scenario{
	{Name: "link-by-code", About: "a live device reads the code that the new one shows",
		play: playLinkByCode},
	{Name: "link-by-phrase", About: "the new device has the phrase, a live one types its code",
		play: playLinkByPhrase},
	{Name: "restore-alone", About: "no device is alive, the phrase brings the account back",
		play: playRestoreAlone},
	{Name: "restore-and-return",
		About: "the account is restored, then the first device comes back and joins again",
		play:  playRestoreAndReturn},
	{Name: "contest", About: "somebody else restores the account, a device objects, friends stop writing",
		play: playContest},
	{Name: "revoke", About: "a revoked device tries to read, to write and to approve", play: playRevoke},
	{Name: "lost-device", About: "the phrase takes a stolen device off the account", play: playLostDevice},
}

// deviceEvent waits for an event about the account's devices that sub has or gets.
func (s *stage) deviceEvent(d *device, sub *client.Subscription, kind string, of *device) error {
	for {
		e, err := sub.Next(s.ctx)
		if err != nil {
			return fmt.Errorf("%s is not told of %q: %w", d.cfg.Label, kind, err)
		}
		if e.Kind == client.EventDevice && e.Device.Kind == kind && (of == nil ||
			e.Device.Device == of.Account().Device) {
			return nil
		}
	}
}

// told does something and waits until each of on is told of what it did to the device list.
func (s *stage) told(kind string, do func() (time.Time, *device, error), on ...*device) error {
	if err := s.middle(); err != nil {
		return err
	}
	subs := make([]*client.Subscription, len(on))
	for i, d := range on {
		subs[i] = d.Events()
		defer subs[i].Close()
	}
	at, of, err := do()
	if err != nil {
		return err
	}
	var g errgroup.Group
	for i, d := range on {
		g.Go(func() error {
			err := s.deviceEvent(d, subs[i], kind, of)
			if err == nil {
				s.took(time.Since(at))
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.startRepair()
}

// inStep lets a friend write and checks that every device of the account has contacts and message.
func (s *stage) inStep(bob *device) error {
	if _, err := s.hear(bob, fmt.Sprintf("hello all %d", len(s.devices))); err != nil {
		return err
	}
	for _, d := range s.devices {
		c, err := d.Contact(bob.id()).Get(s.ctx)
		if err := check(err == nil && c.Nick == "bobby", "%s knows the friend as %+v, %v", d.cfg.Label, c,
			err); err != nil {
			return err
		}
	}
	return nil
}

// smallFamily is an account with one device less than the play has, and a friend.
func (s *stage) smallFamily() (*device, error) {
	if err := s.familyOf(s.cfg.Devices - 1); err != nil {
		return nil, err
	}
	bob, err := s.friend("bob")
	if err != nil {
		return nil, err
	}
	if err := s.devices[0].Contact(bob.id()).SetNick(s.ctx, "bobby"); err != nil {
		return nil, err
	}
	return bob, s.settle()
}

func playLinkByCode(s *stage) error {
	bob, err := s.smallFamily()
	if err != nil {
		return err
	}
	err = s.told("linked", func() (time.Time, *device, error) {
		d, at, err := s.join(s.devices[0], "alice-new")
		if err == nil {
			s.took(time.Since(at))
			s.devices = append(s.devices, d)
		}
		return at, d, err
	}, slices.Clone(s.devices[1:])...)
	if err != nil {
		return err
	}
	return s.inStep(bob)
}

// linkByPhrase restores the account on a new device and lets by approve it.
func (s *stage) linkByPhrase(by *device, label string) (*device, time.Time, error) {
	cfg := s.config(label)
	codes := make(chan string, 1)
	var c *client.Client
	var at time.Time
	asked := by.Events()
	defer asked.Close()
	g, ctx := errgroup.WithContext(s.ctx)
	g.Go(func() (err error) {
		var recovered bool
		c, recovered, err = client.Restore(ctx, cfg, s.words,
			client.RestoreOptions{OnPending: func(code string, _ ident.DeviceID) { codes <- code }})
		if err == nil && recovered {
			err = errors.New("the account was recovered, not linked")
		}
		return err
	})
	g.Go(func() error {
		var code string
		select {
		case code = <-codes:
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			e, err := asked.Next(ctx)
			if err != nil {
				return err
			}
			if e.Kind == client.EventLink {
				break
			}
		}
		if _, err := by.Approve(ctx, "AAAA-AAAA"); err == nil {
			return errors.New("a wrong code was approved")
		}
		_, err := by.Approve(ctx, code)
		at = time.Now()
		return err
	})
	if err := g.Wait(); err != nil {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
		return nil, at, fmt.Errorf("link %s by phrase: %w", label, err)
	}
	return s.enter(c, cfg), at, nil
}

func playLinkByPhrase(s *stage) error {
	bob, err := s.smallFamily()
	if err != nil {
		return err
	}
	err = s.told("linked", func() (time.Time, *device, error) {
		d, at, err := s.linkByPhrase(s.devices[0], "alice-new")
		if err == nil {
			s.took(time.Since(at))
			s.devices = append(s.devices, d)
		}
		return at, d, err
	}, slices.Clone(s.devices[1:])...)
	if err != nil {
		return err
	}
	return s.inStep(bob)
}

// recover restores the account at once on a new device.
func (s *stage) recover(label string) (*device, error) {
	cfg := s.config(label)
	c, recovered, err := client.Restore(s.ctx, cfg, s.words, client.RestoreOptions{NoWait: true})
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	d := s.enter(c, cfg)
	return d, check(recovered, "the account was not recovered")
}

// restored plays the loss of all devices, and returns those that were lost; the last one of the play is the
// new one.
func (s *stage) restored() (bob *device, lost []*device, err error) {
	bob, err = s.smallFamily()
	if err != nil {
		return nil, nil, err
	}
	mine, err := s.devices[0].Contact(bob.id()).Safety(s.ctx)
	if err != nil {
		return nil, nil, err
	}
	if _, err := bob.Contact(s.devices[0].id()).Verify(s.ctx, mine.Number); err != nil {
		return nil, nil, err
	}
	id := s.devices[0].id()
	if err := s.middle(); err != nil {
		return nil, nil, err
	}
	for _, d := range s.devices {
		if err := d.stop(); err != nil {
			return nil, nil, err
		}
	}
	lost = s.devices
	d, err := s.recover("alice-new")
	if err != nil {
		return nil, nil, err
	}
	s.devices = []*device{d}
	if err := check(d.id() == id, "the account is %s, want %s", d.id(), id); err != nil {
		return nil, nil, err
	}
	// The friend sees it with the next message either way.
	if _, err := d.Send(s.ctx, bob.id(), client.Outgoing{Text: "it is me again"}); err != nil {
		return nil, nil, err
	}
	if err := s.await("message after recovery", has("it is me again"), bob); err != nil {
		return nil, nil, err
	}
	seen := contactIs(id, func(c client.Contact) bool {
		return !c.Verified && len(c.Events) == 1 && c.Events[0].Kind == "recovered"
	})
	if err := s.await("recovery", seen, bob); err != nil {
		return nil, nil, err
	}
	return bob, lost, s.startRepair()
}

func playRestoreAlone(s *stage) error {
	bob, _, err := s.restored()
	if err != nil {
		return err
	}
	return s.inStep(bob)
}

func playRestoreAndReturn(s *stage) error {
	bob, lost, err := s.restored()
	if err != nil {
		return err
	}
	for _, d := range lost {
		if err := d.open(); err != nil {
			return err
		}
		sub := d.Events()
		d.run()
		err := s.deviceEvent(d, sub, "recovered", nil)
		sub.Close()
		if err != nil {
			return err
		}
		if err := s.outside(d, bob); err != nil {
			return err
		}
		if err := d.stop(); err != nil {
			return err
		}
		// It was me: the profile joins the account again.
		again, _, err := s.joinAt(s.devices[0], d.cfg)
		if err != nil {
			return err
		}
		s.devices = append(s.devices, again)
	}
	return s.inStep(bob)
}

// outside checks that a device which is no longer part of the account can do nothing, and says why.
func (s *stage) outside(d, bob *device) error {
	_, err := d.Send(s.ctx, bob.id(), client.Outgoing{Text: "x"})
	err = errors.Join(refused("read", d.SyncToHeads(s.ctx), fault.Denied),
		refused("write", err, fault.Denied))
	_, aerr := d.Approve(s.ctx, "ABCD-EFGH")
	_, lerr := d.Device(d.Account().Device).Rename(s.ctx, "mine")
	return errors.Join(err, refused("approve", aerr, fault.Denied), refused("rename", lerr, fault.Denied),
		check(d.Account().Revoked, "%s does not say that it is out", d.cfg.Label))
}

func playContest(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	if _, err := s.hear(bob, "hello"); err != nil {
		return err
	}
	if err := s.say(0, bob, "hi"); err != nil {
		return err
	}
	id := s.devices[0].id()
	err = s.told("recovered", func() (time.Time, *device, error) {
		_, err := s.recover("thief")
		return time.Now(), nil, err
	}, s.devices...)
	if err != nil {
		return err
	}
	contested := contactIs(id, func(c client.Contact) bool { return c.Contested && !c.Verified })
	err = s.watch("contest", func() error {
		r, err := s.devices[0].Contest(s.ctx)
		if err == nil {
			err = check(r.Recorded && r.Told >= 1, "the contest went to nobody: %+v", r)
		}
		return err
	}, contested, bob)
	if err != nil {
		return err
	}
	_, err = bob.Send(s.ctx, id, client.Outgoing{Text: "who are you?"})
	if err := refused("write to a contested account", err, fault.Denied); err != nil {
		return err
	}
	// The owner takes it back, shows the number, and is written to again.
	back, err := s.recover("alice-back")
	if err != nil {
		return err
	}
	mine, err := back.Contact(bob.id()).Safety(s.ctx)
	if err != nil {
		return err
	}
	if _, err := bob.Contact(id).Verify(s.ctx, mine.Mine); err != nil {
		return fmt.Errorf("verify again: %w", err)
	}
	s.devices = []*device{back}
	_, err = s.hear(bob, "good to see you")
	return err
}

func playRevoke(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	if err := s.devices[0].Contact(bob.id()).SetNick(s.ctx, "bobby"); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	last := len(s.devices) - 1
	out := s.devices[last]
	err = s.told("revoked", func() (time.Time, *device, error) {
		return time.Now(), out, s.devices[0].Device(out.Account().Device).Revoke(s.ctx)
	}, s.devices[1:]...)
	if err != nil {
		return err
	}
	s.devices = s.devices[:last]
	if err := s.outside(out, bob); err != nil {
		return err
	}
	// What is new is for the others only.
	if err := s.inStep(bob); err != nil {
		return err
	}
	all, err := out.Messages(s.ctx, client.Filter{})
	if err := check(err == nil && len(all) == 0, "the revoked device has %d messages, %v", len(all),
		err); err != nil {
		return err
	}
	c, err := bob.Contact(s.devices[0].id()).Get(s.ctx)
	return check(err == nil && len(c.Events) == 0, "the friend notices a revocation: %+v, %v", c.Events, err)
}

func playLostDevice(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	last := len(s.devices) - 1
	stolen := s.devices[last]
	err = s.told("revoked", func() (time.Time, *device, error) {
		err := s.devices[0].Device(stolen.Account().Device).Expel(s.ctx, s.words)
		return time.Now(), nil, err
	}, stolen)
	if err != nil {
		return err
	}
	s.devices = s.devices[:last]
	if err := s.outside(stolen, bob); err != nil {
		return err
	}
	if _, err := s.hear(bob, "did you find it?"); err != nil {
		return err
	}
	if err := s.say(0, bob, "no"); err != nil {
		return err
	}
	return s.await("recovery", contactIs(s.devices[0].id(),
		func(c client.Contact) bool { return len(c.Events) == 1 && c.Events[0].Kind == "recovered" }), bob)
}
