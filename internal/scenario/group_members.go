package scenario

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
)

func playGroupAway(s *stage) error {
	p, err := s.gather((*party).theBob, (*party).theCarol)
	if err != nil {
		return err
	}
	away := p.bob[1]
	if err := away.stop(); err != nil {
		return err
	}
	present := slices.DeleteFunc(p.everybody(), func(d *device) bool { return d == away })
	if err := p.middle(); err != nil {
		return err
	}
	const rounds = 12
	for i := range rounds {
		if err := p.tell(p.carol[i%2], fmt.Sprintf("while you were away %d", i)); err != nil {
			return err
		}
		if err := p.alice[i%2].Group(p.group).Rekey(p.ctx); err != nil {
			return fmt.Errorf("rekey: %w", err)
		}
		if err := p.tell(p.bob[0], fmt.Sprintf("and again %d", i)); err != nil {
			return err
		}
	}
	if err := p.startRepair(); err != nil {
		return err
	}
	if err := p.await("the last message", p.has(fmt.Sprintf("and again %d", rounds-1)),
		present...); err != nil {
		return err
	}
	if err := away.start(); err != nil {
		return err
	}
	at := time.Now()
	if err := p.await("what was missed", p.has(fmt.Sprintf("and again %d", rounds-1)), away); err != nil {
		return err
	}
	p.took(time.Since(at))
	return p.converged(p.alice, p.bob, p.carol)
}

func playGroupRestored(s *stage) error {
	p, err := s.gather((*party).theBob, (*party).theCarol)
	if err != nil {
		return err
	}
	if err := p.hears(p.bob[0], "before the loss", p.everybody()...); err != nil {
		return err
	}
	if err := p.bob[0].Push(p.ctx); err != nil {
		return err
	}
	bob := p.bob.id()
	for _, d := range p.bob {
		if err := d.stop(); err != nil {
			return err
		}
	}
	fresh, err := p.recover("bob-new")
	if err != nil {
		return err
	}
	if err := p.middle(); err != nil {
		return err
	}
	without := p.is(func(g client.Group) bool { return g.Status == client.GroupReturning })
	if err := p.await("the group without its keys", without, fresh); err != nil {
		return err
	}
	if err := p.tell(p.carol[0], "is bob still bob?"); err != nil {
		return err
	}
	asks := p.is(func(g client.Group) bool {
		return slices.ContainsFunc(g.Pending, func(w client.GroupPending) bool {
			return w.Kind == "return" &&
				w.Account == bob
		})
	})
	if err := p.await("the request to return", asks, p.alice[0]); err != nil {
		return err
	}
	if err := p.alice[0].Group(p.group).Approve(p.ctx, bob); err != nil {
		return fmt.Errorf("approve: %w", err)
	}
	back := p.is(func(g client.Group) bool { return g.Status == client.GroupJoined })
	if err := p.await("the return", back, fresh); err != nil {
		return err
	}
	if err := p.startRepair(); err != nil {
		return err
	}
	p.bob = household{fresh}
	if err := p.hears(p.carol[1], "welcome back", slices.Concat(p.alice, p.bob, p.carol)...); err != nil {
		return err
	}
	return p.converged(p.alice, p.bob, p.carol)
}

func playGroupOwnDevices(s *stage) error {
	p, err := s.gather((*party).theBob)
	if err != nil {
		return err
	}
	// Carol joins on one device: the other is in as well.
	if err := p.letIn(p.alice[0], p.carol); err != nil {
		return err
	}
	other := p.carol[1]
	conversation := func(want func(client.Conversation) bool) shows {
		return func(d *device) (bool, error) {
			v, err := d.Conversation(p.group).Get(p.ctx)
			if errors.Is(err, fault.NotFound) {
				return false, nil
			}
			return err == nil && want(v), err
		}
	}
	if err := p.hears(p.alice[0], "read this", p.carol...); err != nil {
		return err
	}
	if err := p.await("unread", conversation(func(v client.Conversation) bool { return v.Unread > 0 }),
		p.carol...); err != nil {
		return err
	}
	read := func() error { _, err := p.carol[0].Conversation(p.group).MarkRead(p.ctx); return err }
	if err := p.watch("reading", read,
		conversation(func(v client.Conversation) bool { return v.Unread == 0 }), other); err != nil {
		return err
	}
	until := time.Now().Add(time.Hour)
	mute := func() error { return p.carol[0].Conversation(p.group).Mute(p.ctx, until) }
	if err := p.watch("muting", mute,
		conversation(func(v client.Conversation) bool { return v.MutedUntil.After(time.Now()) }),
		other); err != nil {
		return err
	}
	if err := p.hears(other, "from my other device", p.everybody()...); err != nil {
		return err
	}
	// A device that comes later gets the group from those that have it.
	third, _, err := p.join(p.carol[0], "carol-3")
	if err != nil {
		return err
	}
	p.carol = append(p.carol, third)
	joined := p.is(func(g client.Group) bool { return g.Status == client.GroupJoined })
	if err := p.await("the group on a new device", joined, third); err != nil {
		return err
	}
	if err := p.hears(third, "from my third device", p.everybody()...); err != nil {
		return err
	}
	leave := func() error { return third.Group(p.group).Leave(p.ctx) }
	left := p.is(func(g client.Group) bool { return g.Status == client.GroupLeft })
	if err := p.watch("leaving", leave, left, p.carol[:2]...); err != nil {
		return err
	}
	if err := p.awaitMembers(2, slices.Concat(p.alice, p.bob)...); err != nil {
		return err
	}
	return p.converged(p.alice, p.bob)
}
