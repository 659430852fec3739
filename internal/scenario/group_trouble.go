package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
)

// withAdmin is a group of all three in which Bob is an admin too.
func (s *stage) withAdmin() (*party, error) {
	p, err := s.gather((*party).theBob, (*party).theCarol)
	if err != nil {
		return nil, err
	}
	if err := p.alice[0].Group(p.group).SetRole(p.ctx, p.bob.id(), client.RoleAdmin); err != nil {
		return nil, fmt.Errorf("promote: %w", err)
	}
	admin := p.is(func(g client.Group) bool { return g.Role == client.RoleAdmin })
	return p, p.await("the role", admin, p.bob...)
}

func playGroupStaleRemoval(s *stage) error {
	p, err := s.withAdmin()
	if err != nil {
		return err
	}
	// Bob's device wants Carol out, but does not get that far.
	away := p.bob[0]
	if err := away.crash(); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(p.ctx, time.Second)
	err = away.Group(p.group).Remove(ctx, p.carol.id())
	stop()
	if err := check(errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fault.Unavailable),
		"remove without a network: got %v, want it to wait", err); err != nil {
		return err
	}
	if err := p.kick(p.alice[0], p.carol); err != nil {
		return err
	}
	if err := p.letIn(p.alice[0], p.carol); err != nil {
		return err
	}
	away.run()
	done := p.is(func(g client.Group) bool { return len(changesOf(g)) == 0 && count(g) == 3 })
	if err := p.await("the old removal is over", done, away); err != nil {
		return err
	}
	if err := p.converged(p.alice, p.bob, p.carol); err != nil {
		return err
	}
	g, err := p.carol[1].Group(p.group).Get(p.ctx)
	return check(err == nil && g.Status == client.GroupJoined, "Carol is %q, %v, want a member", g.Status,
		err)
}

func playGroupTwoAdmins(s *stage) error {
	p, err := s.withAdmin()
	if err != nil {
		return err
	}
	if err := p.middle(); err != nil {
		return err
	}
	const rounds = 6
	var name, about string
	g, ctx := errgroup.WithContext(p.ctx)
	g.Go(func() error {
		for i := range rounds {
			name = fmt.Sprintf("name %d", i)
			if err := p.alice[i%2].Group(p.group).SetInfo(ctx, client.GroupInfo{Name: &name}); err != nil {
				return fmt.Errorf("name: %w", err)
			}
		}
		return nil
	})
	g.Go(func() error {
		for i := range rounds {
			about = fmt.Sprintf("about %d", i)
			if err := p.bob[i%2].Group(p.group).SetInfo(ctx,
				client.GroupInfo{Description: &about}); err != nil {
				return fmt.Errorf("description: %w", err)
			}
			if err := p.bob[i%2].Group(p.group).Rekey(ctx); err != nil {
				return fmt.Errorf("rekey: %w", err)
			}
		}
		return nil
	})
	// Both want the same: one of them does it, and the other finds it done.
	roles := []client.GroupRole{client.RoleModerator, client.RoleMember}
	for _, by := range []household{p.alice, p.bob} {
		g.Go(func() error {
			for _, r := range roles {
				if err := by[1].Group(p.group).SetRole(ctx, p.carol.id(), r); err != nil &&
					!errors.Is(err, fault.Exists) {
					return fmt.Errorf("role: %w", err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := p.converged(p.alice, p.bob, p.carol); err != nil {
		return err
	}
	got, err := p.carol[0].Group(p.group).Get(p.ctx)
	return check(err == nil && got.Name == name && got.Description == about,
		"the group is %q, %q, %v, want %q, %q", got.Name, got.Description, err, name, about)
}

// changeUntilDenied makes changes one after the other, as fast as a person could, until the account may not
// any more.
func (p *party) changeUntilDenied(by *device) error {
	pause := time.NewTicker(breath)
	defer pause.Stop()
	for n := 0; ; n++ {
		select {
		case <-pause.C:
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
		about := fmt.Sprintf("%s was here %d times", by.cfg.Label, n)
		err := by.Group(p.group).SetInfo(p.ctx, client.GroupInfo{Description: &about})
		if errors.Is(err, fault.Denied) || errors.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", about, err)
		}
	}
}

// endsChanges plays how Bob, who changes things on both devices, is stopped by what do does.
func (p *party) endsChanges(do func() error) error {
	if err := p.middle(); err != nil {
		return err
	}
	g := new(errgroup.Group)
	for _, d := range p.bob {
		g.Go(func() error {
			return p.changeUntilDenied(d)
		})
	}
	begun := p.is(func(g client.Group) bool { return g.Description != "" })
	if err := p.await("changes", begun, p.alice...); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return p.startRepair()
}

func playGroupFallenAdmin(s *stage) error {
	p, err := s.withAdmin()
	if err != nil {
		return err
	}
	err = p.endsChanges(func() error {
		return p.alice[0].Group(p.group).SetRole(p.ctx, p.bob.id(), client.RoleMember)
	})
	if err != nil {
		return err
	}
	return p.converged(p.alice, p.bob, p.carol)
}

func playGroupRemovedAdmin(s *stage) error {
	p, err := s.withAdmin()
	if err != nil {
		return err
	}
	err = p.endsChanges(func() error { return p.alice[0].Group(p.group).Remove(p.ctx, p.bob.id()) })
	if err != nil {
		return err
	}
	gone := p.is(func(g client.Group) bool { return g.Status == client.GroupRemoved })
	if err := p.await("removal", gone, p.bob...); err != nil {
		return err
	}
	return p.converged(p.alice, p.carol)
}

func playGroupKillInRekey(s *stage) error {
	p, err := s.gather((*party).theBob, (*party).theCarol)
	if err != nil {
		return err
	}
	insiders := slices.Concat(p.alice, p.bob)
	for round := range 4 {
		by := p.alice[round%2]
		ctx, die := context.WithCancel(p.ctx)
		tried := make(chan error, 1)
		go func() { tried <- by.Group(p.group).Remove(ctx, p.carol.id()) }()
		// Somewhere in the middle; the seed says where.
		timer := time.NewTimer(time.Duration(s.rng.IntN(40*(round+1))) * time.Millisecond)
		select {
		case <-timer.C:
		case err := <-tried:
			tried <- err
		}
		die()
		<-tried
		if err := by.crash(); err != nil {
			return err
		}
		if err := p.middle(); err != nil {
			return err
		}
		by.run()
		// The call may have died before its change was on the disk: the user would do it again.
		if err := by.Group(p.group).Remove(p.ctx, p.carol.id()); err != nil &&
			!errors.Is(err, fault.Exists) && !errors.Is(err, fault.NotFound) {
			return fmt.Errorf("remove again: %w", err)
		}
		if err := p.startRepair(); err != nil {
			return err
		}
		if err := p.awaitMembers(2, insiders...); err != nil {
			return err
		}
		gone := p.is(func(g client.Group) bool { return g.Status == client.GroupRemoved })
		if err := p.await("removal", gone, p.carol...); err != nil {
			return err
		}
		if err := p.hears(by, fmt.Sprintf("after death %d", round), insiders...); err != nil {
			return err
		}
		if err := p.letIn(p.alice[0], p.carol); err != nil {
			return err
		}
	}
	return p.converged(p.alice, p.bob, p.carol)
}
