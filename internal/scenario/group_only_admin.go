package scenario

import (
	"fmt"
	"slices"

	"github.com/starling-swarm/starling/client"
)

// playGroupOnlyAdmin has Bob take the group over from Alice, and lose all devices.
func playGroupOnlyAdmin(s *stage) error {
	p, err := s.gather((*party).theBob, (*party).theCarol)
	if err != nil {
		return err
	}
	bob, alice := p.bob.id(), p.alice.id()
	if err := p.alice[0].Group(p.group).SetRole(p.ctx, bob, client.RoleAdmin); err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	admin := p.is(func(g client.Group) bool {
		return g.Status == client.GroupJoined &&
			g.Role == client.RoleAdmin
	})
	if err := p.await("bob is an admin", admin, p.bob...); err != nil {
		return err
	}
	if err := p.bob[0].Group(p.group).SetRole(p.ctx, alice, client.RoleMember); err != nil {
		return fmt.Errorf("demote: %w", err)
	}
	only := p.is(func(g client.Group) bool { return memberOf(g, alice).Role == client.RoleMember })
	if err := p.await("bob is the only admin", only, p.everybody()...); err != nil {
		return err
	}
	if err := p.bob[0].Push(p.ctx); err != nil {
		return err
	}
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
	if err := p.await("bob is an admin again", admin, fresh); err != nil {
		return err
	}
	if err := p.startRepair(); err != nil {
		return err
	}
	p.bob = household{fresh}
	if err := p.hears(p.carol[1], "is bob still bob?", slices.Concat(p.alice, p.bob,
		p.carol)...); err != nil {
		return err
	}
	if err := p.kick(fresh, p.carol); err != nil {
		return err
	}
	if err := p.awaitMembers(2, slices.Concat(p.alice, p.bob)...); err != nil {
		return err
	}
	return p.converged(p.alice, p.bob)
}
