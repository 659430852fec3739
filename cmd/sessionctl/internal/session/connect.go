package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// lingerAtMost bounds how long a command stays after its answer so that copies and receipts still leave.
const lingerAtMost = 6 * time.Second

// Start connects the open client to its cluster, in the background, and hands its events to OnEvent.
func (s *Session) Start(ctx context.Context, c *client.Client) {
	s.Client = c
	ctx, s.stopRun = context.WithCancel(context.WithoutCancel(ctx))
	s.ran = make(chan error, 1)
	events := c.Events()
	go func() {
		defer events.Close()
		for {
			e, err := events.Next(ctx)
			if err != nil {
				return
			}
			if s.OnEvent != nil {
				s.OnEvent(ctx, c, e)
			}
		}
	}()
	go func() { s.ran <- c.Run(ctx) }()
}

// Online opens the profile and connects it. It does not wait for the connection. Errors: those of Open.
func (s *Session) Online(ctx context.Context) (*client.Client, error) {
	c, err := s.Open(ctx)
	if err != nil {
		return nil, err
	}
	s.Start(ctx, c)
	return c, nil
}

// Linger stays until what is due has left: copies for the account's other devices, receipts. The answer is
// printed by then, so Ctrl-C or the bound simply leave the rest in the outbox.
func (s *Session) Linger(ctx context.Context, c *client.Client) {
	ctx, cancel := context.WithTimeout(ctx, lingerAtMost)
	defer cancel()
	_ = c.Idle(ctx)
}

// Fresh opens the profile and brings it up to what the cluster holds now. Errors: those of Open; Unavailable
// and DeadlineExceeded if the cluster cannot be reached, Denied on a device that was removed, with what to
// type.
func (s *Session) Fresh(ctx context.Context) (*client.Client, error) {
	c, err := s.Online(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.fetch(ctx, c); err != nil {
		return nil, s.fetchError(ctx, err)
	}
	return c, nil
}

// FreshOrOffline is Fresh for what the profile can answer alone: without a connection it serves what the
// profile knew last, and reports that.
func (s *Session) FreshOrOffline(ctx context.Context) (*client.Client, error) {
	c, err := s.Online(ctx)
	if err != nil {
		return nil, err
	}
	err = s.fetch(ctx, c)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() == nil && (errors.Is(err, fault.Unavailable) || errors.Is(err, context.DeadlineExceeded)):
		s.Report.Warn("offline, this is what the profile knew last: %v", err)
		return c, nil
	}
	return nil, s.fetchError(ctx, err)
}

// fetch takes in what the cluster holds, and then does what others wait for.
func (s *Session) fetch(ctx context.Context, c *client.Client) error {
	limited, cancel := s.Deadline(ctx, DefaultTimeout)
	defer cancel()
	stop := s.Report.Waiting("fetching")
	err := c.SyncToHeads(limited)
	stop()
	if err == nil {
		s.seeToGroups(ctx, c)
	}
	return err
}

// fetchError is the error of a fetch that ctx did not let go on, or that failed.
func (s *Session) fetchError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.Unreachable("fetch", err)
}

// WaitOnline returns once the inbox subscription is live. Errors: those of the client, with what to type.
func (s *Session) WaitOnline(ctx context.Context, c *client.Client) error {
	stop := s.Report.Waiting("connecting")
	defer stop()
	return s.Unreachable("connect", c.WaitOnline(ctx))
}

// Share waits until what a command changed has left for the other devices, and for others where it concerns
// them. Without a connection the change stays in the profile and leaves with the next command.
func (s *Session) Share(ctx context.Context, c *client.Client, what string) error {
	limited, cancel := s.Deadline(ctx, DefaultTimeout)
	defer cancel()
	stop := s.Report.Waiting("sharing")
	err := c.Flush(limited)
	stop()
	switch {
	case err == nil:
		s.Linger(ctx, c)
		return nil
	case errors.Is(err, fault.Unavailable), errors.Is(err, context.DeadlineExceeded):
		return cli.Fail(what+": done here, but not shared yet", err,
			s.Self()+" sync push   # it also leaves with the next command that gets through")
	}
	return cli.Fail(what, err)
}

// CatchUp brings a profile that is open up to what the cluster holds; offline, the local state serves.
func (s *Session) CatchUp(ctx context.Context, c *client.Client) error {
	limited, cancel := s.Deadline(ctx, DefaultTimeout)
	defer cancel()
	if err := c.SyncToHeads(limited); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.Report.Warn("offline, this is what the profile knew last: %v", err)
	}
	return nil
}

// seeToGroups stays until this device has done what others wait for, as far as that is quick: an admin's lets
// people in, and who accepts an invitation by itself asks to be let in.
func (s *Session) seeToGroups(ctx context.Context, c *client.Client) {
	all, err := c.Groups(ctx)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lingerAtMost)
	defer cancel()
	stop := s.Report.Waiting("seeing to groups")
	defer stop()
	for _, g := range all {
		if g.Status == client.GroupWaiting {
			_ = c.Flush(ctx) // the request to join leaves
		}
		if !settled(g) {
			_, _ = c.Group(g.ID).Wait(ctx, settled)
		}
	}
}

// settled reports whether nothing of a group waits for this device: nobody who may come in, nobody who has
// left.
func settled(g client.Group) bool {
	leaving := func(m client.GroupMember) bool { return m.Status == "removing" }
	if g.Role == client.RoleAdmin && slices.ContainsFunc(g.Members, leaving) {
		return false
	}
	return !slices.ContainsFunc(g.Pending,
		func(p client.GroupPending) bool { return sessionapi.WaitsFor(p) == sessionapi.WaitsForDevice })
}

// NoteOffline reports once if the cluster cannot be reached; the client keeps trying.
func (s *Session) NoteOffline(ctx context.Context, c *client.Client) {
	go func() {
		if err := c.WaitOnline(ctx); errors.Is(err, fault.Unavailable) && ctx.Err() == nil {
			s.Report.Warn("offline, trying again: %v", err)
		}
	}()
}
