package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
)

func playGroupPublic(s *stage) error {
	p, err := s.gatherAs(client.GroupPublic)
	if err != nil {
		return err
	}
	l, err := p.alice[0].Group(p.group).CreateLink(p.ctx, time.Now().Add(time.Hour), 10, 0)
	if err != nil {
		return fmt.Errorf("make link: %w", err)
	}
	before, err := p.withoutAdmin(l.Link)
	if err != nil {
		return err
	}
	if err := p.adminSees(before); err != nil {
		return err
	}
	return p.shutsOut(l, before)
}

// withoutAdmin has Bob and Carol come by a link and talk while no device of the only admin runs. It returns
// what they said.
func (p *party) withoutAdmin(link string) ([]line, error) {
	for _, d := range p.alice {
		if err := d.stop(); err != nil {
			return nil, err
		}
	}
	guests := slices.Concat(p.bob, p.carol)
	joined := p.is(func(g client.Group) bool {
		return g.Status == client.GroupJoined &&
			g.Form == client.GroupPublic
	})
	come := func() error { return p.comeBy(link, p.bob, p.carol) }
	if err := p.watch("coming by the link", come, joined, guests...); err != nil {
		return nil, err
	}
	c := p.sing(guests...)
	err := c.more(20)
	said, cerr := c.end()
	if err = errors.Join(err, cerr); err != nil {
		return nil, err
	}
	return said, p.awaitAll(said, guests...)
}

// comeBy has accounts follow a link at the same time. What the nodes cannot do at once their devices go on
// with; an admin is not asked.
func (p *party) comeBy(link string, all ...household) error {
	g := new(errgroup.Group)
	for _, h := range all {
		g.Go(func() error {
			got, err := h[0].JoinGroup(p.ctx, link)
			if err != nil && !errors.Is(err, fault.Unavailable) {
				return fmt.Errorf("%s follows the link: %w", h[0].cfg.Label, err)
			}
			for _, w := range got.Pending {
				if w.Kind == "join" && w.Held {
					return fmt.Errorf("%s has to ask an admin: %s", h[0].cfg.Label, w.Cause)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (p *party) awaitAll(said []line, on ...*device) error {
	for _, l := range said {
		if err := p.await("message "+l.text, p.has(l.text), on...); err != nil {
			return err
		}
	}
	return nil
}

// adminSees has the admin come back to a group that grew and talked without her.
func (p *party) adminSees(before []line) error {
	for _, d := range p.alice {
		if err := d.start(); err != nil {
			return err
		}
	}
	if err := p.awaitMembers(3, p.everybody()...); err != nil {
		return err
	}
	if err := p.awaitAll(before, p.alice...); err != nil {
		return err
	}
	return p.converged(p.alice, p.bob, p.carol)
}

// shutsOut has the admin remove Carol while all talk, and close the link. Neither brings her back, and those
// who stay lose nothing.
func (p *party) shutsOut(l client.GroupLink, before []line) error {
	c := p.sing(p.everybody()...)
	err := c.more(10)
	leaves := time.Now()
	if err == nil {
		err = p.kick(p.alice[0], p.carol)
	}
	out := time.Now()
	if err == nil {
		err = c.more(10)
	}
	after, cerr := c.end()
	if err = errors.Join(err, cerr); err != nil {
		return err
	}
	p.note = fmt.Sprintf("%d messages", len(before)+len(after))
	for _, l := range after {
		if l.began.After(out) && strings.HasPrefix(l.text, "carol") {
			return fmt.Errorf("%q was stored after the removal of who sent it", l.text)
		}
	}
	if err := p.refusedLink(l.Link); err != nil {
		return fmt.Errorf("open link: %w", err)
	}
	g, err := p.alice[1].Group(p.group).Get(p.ctx)
	if err != nil {
		return err
	}
	if err := p.alice[1].Group(p.group).RevokeLink(p.ctx, l.Serial); err != nil {
		return fmt.Errorf("close link: %w", err)
	}
	closed := p.is(func(now client.Group) bool {
		return now.Generation > g.Generation &&
			len(now.Links) == 0
	})
	if err := p.await("new keys and no link", closed, slices.Concat(p.alice, p.bob)...); err != nil {
		return err
	}
	if err := p.refusedLink(l.Link); err != nil {
		return fmt.Errorf("closed link: %w", err)
	}
	if err := p.converged(p.alice, p.bob); err != nil {
		return err
	}
	always := []span{{to: time.Now()}}
	if err := p.heard(append(before, after...), always, nil, slices.Concat(p.alice, p.bob)...); err != nil {
		return err
	}
	return p.heard(append(before, after...), []span{{to: leaves}}, []span{{out, time.Now()}}, p.carol...)
}

// refusedLink checks that no device of Carol's comes in by a link, nor does what she stores.
func (p *party) refusedLink(link string) error {
	for _, d := range p.carol {
		if _, err := d.JoinGroup(p.ctx, link); !errors.Is(err, fault.Denied) &&
			!errors.Is(err, fault.NotFound) {
			return fmt.Errorf("%s follows it after her removal: got %v, want it to be refused",
				d.cfg.Label, err)
		}
		g, err := d.Group(p.group).Get(p.ctx)
		if err := check(err == nil && g.Status == client.GroupRemoved, "%s is %q, %v, want removed",
			d.cfg.Label, g.Status, err); err != nil {
			return err
		}
		if err := p.tell(d, "am I in?"); !errors.Is(err, fault.Denied) {
			return fmt.Errorf("%s sends after her removal: got %v, want %v", d.cfg.Label, err, fault.Denied)
		}
	}
	return nil
}
