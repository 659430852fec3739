package scenario

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// apart is what happens to devices that are not there, or die.
var apart = []Scenario{
	{Name: "both-offline", About: "devices change the same field while none is online: the newest counts",
		play: playBothOffline},
	{Name: "offline-long", About: "a device misses so many changes that only a snapshot has them",
		Heavy: true, play: playOfflineLong},
	{Name: "kill-in-push", About: "a device dies right after a change, before anybody has it",
		play: playKillInPush},
	{Name: "kill-in-snapshot", About: "a device dies while a snapshot is written", Heavy: true,
		play: playKillInSnapshot},
	{Name: "kill-in-generation", About: "a device dies while it lets another one in",
		play: playKillInGeneration},
}

// same waits until every device of the account holds the same documents.
func (s *stage) same() error {
	if err := s.settle(); err != nil {
		return err
	}
	var first []client.DocumentStatus
	for i, d := range s.devices {
		st, err := d.SyncStatus(s.ctx)
		if err != nil {
			return err
		}
		if i == 0 {
			first = st.Documents
			continue
		}
		for j, doc := range st.Documents {
			if doc.Version != first[j].Version || doc.Pending != 0 {
				return fmt.Errorf("document %s: version %q on %s, %q on %s (%d changes wait)", doc.Name,
					first[j].Version, s.devices[0].cfg.Label,
					doc.Version, d.cfg.Label, doc.Pending)
			}
		}
	}
	return nil
}

func playBothOffline(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	for _, d := range s.devices {
		if err := d.stop(); err != nil {
			return err
		}
		if err := d.open(); err != nil {
			return err
		}
	}
	if err := s.middle(); err != nil {
		return err
	}
	// One after the other, so that it is known which is the newest; every device also changes something of
	// its own.
	var last string
	for i, d := range s.devices {
		last = fmt.Sprintf("bob %d", i)
		if err := d.Contact(bob.id()).SetNick(s.ctx, last); err != nil {
			return err
		}
	}
	own := []func(*device) error{
		func(d *device) error { return d.Conversation(bob.id()).Pin(s.ctx) },
		func(d *device) error { return d.Conversation(bob.id()).MarkUnread(s.ctx) },
		func(d *device) error { return d.Set(s.ctx, "typing", false) },
	}
	for i, d := range s.devices {
		if err := own[i%len(own)](d); err != nil {
			return err
		}
	}
	want := contactIs(bob.id(), func(c client.Contact) bool { return c.Nick == last })
	pinned := conversationIs(bob.id(), func(v client.Conversation) bool { return v.Pinned && v.Marked })
	g, ctx := errgroup.WithContext(s.ctx)
	for _, d := range s.devices {
		sub := d.Events()
		defer sub.Close()
		d.run()
		at := time.Now()
		g.Go(func() error {
			for _, w := range []shows{want, pinned} {
				if err := d.until(ctx, sub, w); err != nil {
					return fmt.Errorf("%s: %w", d.cfg.Label, err)
				}
			}
			s.took(time.Since(at))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.startRepair(); err != nil {
		return err
	}
	return s.same()
}

// manyChanges are more than a device writes before it makes a snapshot of them.
const manyChanges = 70

// changeOften makes so many changes, each acknowledged, that a snapshot takes their place.
func (s *stage) changeOften(d *device, bob ident.AccountID, n int) error {
	for i := range n {
		if err := d.Contact(bob).SetNick(s.ctx, fmt.Sprintf("bob %d", i)); err != nil {
			return err
		}
		if err := d.Push(s.ctx); err != nil {
			return err
		}
	}
	return nil
}

func playOfflineLong(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	last := len(s.devices) - 1
	away := s.devices[last]
	if err := away.stop(); err != nil {
		return err
	}
	s.devices = s.devices[:last]
	if err := s.middle(); err != nil {
		return err
	}
	if err := s.changeOften(s.devices[0], bob.id(), manyChanges); err != nil {
		return err
	}
	for i := range 5 {
		if _, err := s.hear(bob, fmt.Sprintf("where is your other device? %d", i)); err != nil {
			return err
		}
	}
	s.devices = append(s.devices, away)
	if err := away.open(); err != nil {
		return err
	}
	sub := away.Events()
	defer sub.Close()
	at := time.Now()
	away.run()
	want := contactIs(bob.id(), func(c client.Contact) bool {
		return c.Nick == fmt.Sprintf("bob %d",
			manyChanges-1)
	})
	for _, w := range []shows{want, has("where is your other device? 4")} {
		if err := away.until(s.ctx, sub, w); err != nil {
			return err
		}
	}
	s.took(time.Since(at))
	if err := s.same(); err != nil {
		return err
	}
	return s.sameMessages()
}

// crash ends a device in the middle of what it does, as far as its own process can, and starts it again from
// its disk.
func (d *device) crash() error {
	if err := d.stop(); err != nil {
		return err
	}
	return d.open()
}

func playKillInPush(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	for i, d := range s.devices {
		nick := fmt.Sprintf("bob %d", i)
		if err := d.Contact(bob.id()).SetNick(s.ctx, nick); err != nil {
			return err
		}
		if err := d.crash(); err != nil {
			return err
		}
		var others []*device
		for _, o := range s.devices {
			if o != d {
				others = append(others, o)
			}
		}
		// The change may have left before the end came: what counts is that it is everywhere afterwards.
		if err := s.middle(); err != nil {
			return err
		}
		d.run()
		if err := s.await("change of a device that died",
			contactIs(bob.id(), func(c client.Contact) bool { return c.Nick == nick }),
			others...); err != nil {
			return err
		}
		if err := s.startRepair(); err != nil {
			return err
		}
	}
	sent := "sent by a device that died"
	if _, err := s.devices[0].Send(s.ctx, bob.id(), client.Outgoing{Text: sent}); err != nil {
		return err
	}
	if err := s.devices[0].crash(); err != nil {
		return err
	}
	s.devices[0].run()
	if err := s.await("message", has(sent), append([]*device{bob}, s.devices...)...); err != nil {
		return err
	}
	all, err := bob.Messages(s.ctx, client.Filter{})
	if err := check(err == nil && len(all) == 1, "the friend has %d messages, %v, want one", len(all),
		err); err != nil {
		return err
	}
	return s.same()
}

func playKillInSnapshot(s *stage) error {
	bob, err := s.familyAndFriend()
	if err != nil {
		return err
	}
	if err := s.middle(); err != nil {
		return err
	}
	// The snapshot is due with one of these changes; the device dies after each.
	if err := s.changeOften(s.devices[0], bob.id(), 60); err != nil {
		return err
	}
	for i := range 8 {
		d := s.devices[i%len(s.devices)]
		if err := d.Contact(bob.id()).SetNick(s.ctx, fmt.Sprintf("bobby %d", i)); err != nil {
			return err
		}
		if err := d.Push(s.ctx); err != nil {
			return err
		}
		if err := d.crash(); err != nil {
			return err
		}
		d.run()
		if err := d.SyncToHeads(s.ctx); err != nil {
			return err
		}
	}
	if err := s.same(); err != nil {
		return err
	}
	// A device that has nothing yet sees the same.
	d, _, err := s.join(s.devices[0], "alice-new")
	if err != nil {
		return err
	}
	s.devices = append(s.devices, d)
	c, err := d.Contact(bob.id()).Get(s.ctx)
	if err := check(err == nil && c.Nick == "bobby 7", "the new device knows the friend as %+v, %v", c,
		err); err != nil {
		return err
	}
	return s.same()
}

func playKillInGeneration(s *stage) error {
	bob, err := s.smallFamily()
	if err != nil {
		return err
	}
	cfg := s.config("alice-new")
	shown := make(chan string, 1)
	joined := make(chan error, 1)
	var c *client.Client
	go func() {
		var err error
		c, err = client.Join(s.ctx, cfg, client.JoinOptions{OnInvite: func(text string,
			_ ident.DeviceID) {
			shown <- text
		}})
		joined <- err
	}()
	var text string
	select {
	case text = <-shown:
	case err := <-joined:
		return err
	}
	by := s.devices[0]
	ctx, die := context.WithCancel(s.ctx)
	tried := make(chan error, 1)
	go func() {
		_, err := by.LinkDevice(ctx, text)
		tried <- err
	}()
	// Somewhere in the middle; the seed says where.
	timer := time.NewTimer(time.Duration(s.rng.IntN(60)) * time.Millisecond)
	select {
	case <-timer.C:
	case err := <-tried:
		tried <- err
	}
	die()
	first := <-tried
	if err := by.crash(); err != nil {
		return err
	}
	if err := s.middle(); err != nil {
		return err
	}
	by.run()
	if first != nil {
		// Doing it again goes on where it was, which may be the end: the answer is there, or the new device
		// has it already.
		if _, err := by.LinkDevice(s.ctx, text); err != nil {
			return fmt.Errorf("link again after %v: %w", first, err)
		}
	}
	if err := <-joined; err != nil {
		return err
	}
	s.devices = append(s.devices, s.enter(c, cfg))
	return s.inStep(bob)
}
