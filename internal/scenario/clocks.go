package scenario

import (
	"fmt"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
)

// clocks is what machines with a wrong clock may do, and what not.
var clocks = []Scenario{
	{Name: "clock-ahead", About: "a device's clock is ten minutes ahead: it goes by the nodes' time",
		play: playClock(10 * time.Minute)},
	{Name: "clock-behind", About: "a device's clock is ten minutes behind: it goes by the nodes' time",
		play: playClock(-10 * time.Minute)},
	{Name: "clock-year", About: "a device's clock is a year off: it is refused with a clear error, " +
		"and works again once set", play: playClockYear},
}

// at is a clock that is off.
func at(off time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(off) }
}

// setClock restarts a device with another clock, and does not wait until it is online.
func (d *device) setClock(now func() time.Time) error {
	if err := d.stop(); err != nil {
		return err
	}
	d.cfg.Clock = now
	if err := d.open(); err != nil {
		return err
	}
	d.run()
	return nil
}

// playClock changes the same field on a device with a wrong clock and on others: the last change counts,
// whoever made it, and nobody sees times of another clock.
func playClock(off time.Duration) func(*stage) error {
	return func(s *stage) error {
		bob, err := s.familyAndFriend()
		if err != nil {
			return err
		}
		d := s.devices[0]
		if err := d.setClock(at(off)); err != nil {
			return err
		}
		if err := d.WaitOnline(s.ctx); err != nil {
			return err
		}
		if skew := d.Net().ClockSkew; (skew + off).Abs() > time.Minute {
			return fmt.Errorf("the device finds its clock off by %s, want %s", skew, -off)
		}
		for round := range 2 {
			for i := range s.devices {
				nick := fmt.Sprintf("bob %d.%d", round, i)
				err := s.change("petname", i,
					func(d *device) error { return d.Contact(bob.id()).SetNick(s.ctx, nick) },
					contactIs(bob.id(), func(c client.Contact) bool { return c.Nick == nick }))
				if err != nil {
					return err
				}
			}
		}
		if err := s.sendAndWait(d, bob.id(), "what time is it?"); err != nil {
			return err
		}
		if err := s.await("message", has("what time is it?"), bob); err != nil {
			return err
		}
		m, _, err := bob.find("what time is it?")
		if err := check(err == nil && time.Since(m.SentAt).Abs() < 2*time.Minute, "sent at %s, %v", m.SentAt,
			err); err != nil {
			return err
		}
		return s.same()
	}
}

func playClockYear(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	d := s.devices[len(s.devices)-1]
	for _, off := range []time.Duration{-365 * 24 * time.Hour, 365 * 24 * time.Hour} {
		if err := d.setClock(at(off)); err != nil {
			return err
		}
		if err := refused("go online with a clock that is a year off", d.WaitOnline(s.ctx),
			fault.Denied); err != nil {
			return err
		}
	}
	if err := d.setClock(nil); err != nil {
		return err
	}
	if err := d.WaitOnline(s.ctx); err != nil {
		return err
	}
	_, err = s.hear(bob, "hello")
	return err
}
