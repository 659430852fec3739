package scenario

import (
	"fmt"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client"
)

// groupPatience is that of plays with six devices: deliberate delays add up, and so do their machines' loads.
const groupPatience = 5 * time.Minute

// groupPlays are what people do in groups. Three accounts with two devices each play them.
var groupPlays = []Scenario{
	{Name: "group-talk", About: "everybody talks while members come, go, rise and fall: all have the same " +
		"messages in the same order", play: talkAs(client.GroupShared)},
	{Name: "group-own-keys", About: "the same in a group whose members store with keys of their own",
		play: talkAs(client.GroupOwnKeys)},
	{Name: "group-kick", About: "a member is removed and invited again, over and over", play: playGroupKick},
	{Name: "group-stale-removal",
		About: "an admin who was away removes somebody who was removed and invited again meanwhile: " +
			"that changes nothing", play: playGroupStaleRemoval},
	{Name: "group-two-admins", About: "two admins change different things at once: both come about",
		play: playGroupTwoAdmins},
	{Name: "group-fallen-admin", About: "an admin loses the role in the middle of changes",
		play: playGroupFallenAdmin},
	{Name: "group-removed-admin", About: "an admin is removed in the middle of changes",
		play: playGroupRemovedAdmin},
	{Name: "group-kill-in-rekey",
		About: "an admin's device dies while it removes a member, and goes on when it is back",
		play:  playGroupKillInRekey},
	{Name: "group-away", About: "a member misses many changes and generations, and has everything when it " +
		"is back", play: playGroupAway},
	{Name: "group-restored", About: "a member who lost all devices is let in again by an admin",
		play: playGroupRestored},
	{Name: "group-only-admin",
		About: "the only admin lost all devices, and is an admin again with the phrase alone",
		play:  playGroupOnlyAdmin},
	{Name: "group-own-devices",
		About: "joining, muting, reading and leaving come to a member's other device, and to a new one",
		play:  playGroupOwnDevices},
	{Name: "group-leave", About: "a member leaves, an admin who comes online later finishes it",
		play: playGroupLeave},
	{Name: "group-link", About: "somebody joins by a link, which is good for one", play: playGroupLink},
	{Name: "group-public", About: "two come by a public link and talk while no admin is there; " +
		"one is removed later, and neither link nor keys let it back", play: playGroupPublic},
}

func init() {
	for i := range groupPlays {
		groupPlays[i].Heavy, groupPlays[i].Fixed, groupPlays[i].patience = true, true, groupPatience
	}
}

// talkAs plays everybody talking in a group of a form.
func talkAs(form client.GroupForm) func(*stage) error {
	return func(s *stage) error {
		p, err := s.gatherAs(form, (*party).theBob)
		if err != nil {
			return err
		}
		return p.talk()
	}
}

func (p *party) talk() error {
	insiders := slices.Concat(p.alice, p.bob)
	c := p.sing(p.everybody()...)
	err := p.comeAndGo(c, insiders)
	said, cerr := c.end()
	if err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	p.note = fmt.Sprintf("%d messages", len(said))
	if err := p.converged(p.alice, p.bob, p.carol); err != nil {
		return err
	}
	always := []span{{to: time.Now()}}
	if err := p.heard(said, always, nil, insiders...); err != nil {
		return err
	}
	return p.heard(said, p.carolIn, nil, p.carol...)
}

// comeAndGo is what happens while everybody talks. It notes when Carol was a member for sure.
func (p *party) comeAndGo(c *chorus, insiders []*device) error {
	if err := c.more(10); err != nil {
		return err
	}
	for round := range 2 {
		if err := p.letIn(p.alice[round%2], p.carol); err != nil {
			return err
		}
		in := time.Now()
		if err := c.more(10); err != nil {
			return err
		}
		if round == 1 {
			p.carolIn = append(p.carolIn, span{in, time.Now().Add(time.Hour)})
			break
		}
		bobIs := func(role client.GroupRole) shows {
			return p.is(func(g client.Group) bool { return memberOf(g, p.bob.id()).Role == role })
		}
		promote := func() error {
			return p.alice[1].Group(p.group).SetRole(p.ctx, p.bob.id(), client.RoleAdmin)
		}
		if err := p.watch("promotion", promote, bobIs(client.RoleAdmin), p.everybody()...); err != nil {
			return err
		}
		name := "Good friends"
		rename := func() error {
			return p.bob[1].Group(p.group).SetInfo(p.ctx,
				client.GroupInfo{Name: &name})
		}
		if err := p.watch("new name", rename, p.is(func(g client.Group) bool { return g.Name == name }),
			p.everybody()...); err != nil {
			return err
		}
		leaves := time.Now()
		if err := p.kick(p.bob[0], p.carol); err != nil {
			return err
		}
		p.carolIn = append(p.carolIn, span{in, leaves})
		out := time.Now()
		demote := func() error {
			return p.alice[0].Group(p.group).SetRole(p.ctx, p.bob.id(), client.RoleModerator)
		}
		if err := p.watch("demotion", demote, bobIs(client.RoleModerator), insiders...); err != nil {
			return err
		}
		if err := c.more(10); err != nil {
			return err
		}
		// While she is out. Back in, she may open what was said today.
		if err := p.heard(c.soFar(), nil, []span{{out, time.Now()}}, p.carol...); err != nil {
			return err
		}
	}
	return nil
}

// kick removes an account, and returns once all its devices know.
func (p *party) kick(by *device, h household) error {
	do := func() error { return by.Group(p.group).Remove(p.ctx, h.id()) }
	return p.watch("removal", do, p.is(func(g client.Group) bool { return g.Status == client.GroupRemoved }),
		h...)
}

func playGroupKick(s *stage) error {
	p, err := s.gather((*party).theBob, (*party).theCarol)
	if err != nil {
		return err
	}
	insiders := slices.Concat(p.alice, p.bob)
	for round := range 3 {
		before := fmt.Sprintf("carol is here %d", round)
		if err := p.hears(p.carol[round%2], before, p.everybody()...); err != nil {
			return err
		}
		if err := p.kick(p.alice[round%2], p.carol); err != nil {
			return err
		}
		secret := fmt.Sprintf("carol is gone %d", round)
		if err := p.hears(p.bob[0], secret, insiders...); err != nil {
			return err
		}
		for _, d := range p.carol {
			if ok, err := p.has(secret)(d); err != nil || ok {
				return fmt.Errorf("%s has what was said without her (%t), %w", d.cfg.Label, ok, orNone(err))
			}
		}
		if err := p.letIn(p.alice[0], p.carol); err != nil {
			return err
		}
		if err := p.awaitMembers(3, p.everybody()...); err != nil {
			return err
		}
		for _, d := range p.carol {
			if ok, err := p.has(before)(d); err != nil || !ok {
				return fmt.Errorf("%s lost what she had (%t), %w", d.cfg.Label, !ok, orNone(err))
			}
		}
	}
	return p.converged(p.alice, p.bob, p.carol)
}

func playGroupLeave(s *stage) error {
	p, err := s.gather((*party).theBob, (*party).theCarol)
	if err != nil {
		return err
	}
	for _, d := range p.alice {
		if err := d.stop(); err != nil {
			return err
		}
	}
	if err := p.middle(); err != nil {
		return err
	}
	if err := p.carol[0].Group(p.group).Leave(p.ctx); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	gone := p.is(func(g client.Group) bool { return g.Status == client.GroupLeft })
	if err := p.await("leaving", gone, p.carol...); err != nil {
		return err
	}
	// The only admin is back: the keys change without the one who left.
	for _, d := range p.alice {
		if err := d.start(); err != nil {
			return err
		}
	}
	if err := p.startRepair(); err != nil {
		return err
	}
	insiders := slices.Concat(p.alice, p.bob)
	if err := p.awaitMembers(2, insiders...); err != nil {
		return err
	}
	if err := p.hears(p.bob[1], "among ourselves", insiders...); err != nil {
		return err
	}
	for _, d := range p.carol {
		if ok, err := p.has("among ourselves")(d); err != nil || ok {
			return fmt.Errorf("%s has what was said without her (%t), %w", d.cfg.Label, ok, orNone(err))
		}
	}
	return p.converged(p.alice, p.bob)
}

func playGroupLink(s *stage) error {
	p, err := s.gather()
	if err != nil {
		return err
	}
	l, err := p.alice[0].Group(p.group).CreateLink(p.ctx, time.Now().Add(time.Hour), 1, 0)
	if err != nil {
		return fmt.Errorf("make link: %w", err)
	}
	joined := p.is(func(g client.Group) bool { return g.Status == client.GroupJoined })
	join := func() error {
		_, err := p.bob[0].JoinGroup(p.ctx, l.Link)
		return err
	}
	if err := p.watch("joining by link", join, joined, p.bob...); err != nil {
		return err
	}
	used := p.is(func(g client.Group) bool { return len(g.Links) == 0 || g.Links[0].Uses == 0 })
	if err := p.await("the link is used up", used, p.alice...); err != nil {
		return err
	}
	if _, err := p.carol[0].JoinGroup(p.ctx, l.Link); err == nil {
		g, err := p.carol[0].Group(p.group).Get(p.ctx)
		if err := check(err == nil && g.Status != client.GroupJoined,
			"a second account joined by a link for one: %v, %v", g.Status, err); err != nil {
			return err
		}
	}
	if err := p.converged(p.alice, p.bob); err != nil {
		return err
	}
	g, err := p.alice[0].Group(p.group).Get(p.ctx)
	return check(err == nil && count(g) == 2, "%d members, %v, want 2", count(g), err)
}
