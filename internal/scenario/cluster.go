package scenario

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
)

// KillLeader is a Config.Disturb for a cluster in this process: it kills, without flush or leave, the node
// that leads the swarm of the peer's mailbox, so that another one has to take over. The repair starts the
// node again, waits until it is ready, and moves the leadership once more, in order this time.
func KillLeader(c *node.Embedded) Disturb {
	return func(ctx context.Context, id ident.Peer) (func(context.Context) error, error) {
		leader, err := leaderOf(ctx, c, id, -1)
		if err != nil {
			return nil, err
		}
		if err := c.Crash(leader); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			if err := c.Restart(ctx, leader); err != nil {
				return err
			}
			next, err := leaderOf(ctx, c, id, leader)
			if err != nil {
				return err
			}
			if err := c.Stop(next); err != nil {
				return err
			}
			if err := c.Restart(ctx, next); err != nil {
				return err
			}
			return c.WaitReady(ctx)
		}, nil
	}
}

// CutLeader is a Config.Disturb for a cluster in this process: it takes the network of the node that leads
// the swarm of the peer's mailbox away, so that what the node still takes for true is not. The repair gives
// it back.
func CutLeader(c *node.Embedded) Disturb {
	return func(ctx context.Context, id ident.Peer) (func(context.Context) error, error) {
		leader, err := leaderOf(ctx, c, id, -1)
		if err != nil {
			return nil, err
		}
		c.Cut(leader)
		return func(ctx context.Context) error {
			c.Heal(leader)
			return c.WaitReady(ctx)
		}, nil
	}
}

// LeaderOf returns the node that leads the swarm of a peer's mailbox. It waits until there is one.
func LeaderOf(ctx context.Context, c *node.Embedded, id ident.Peer) (int, error) {
	return leaderOf(ctx, c, id, -1)
}

// mailboxOf returns the mailbox of an account or a group.
func mailboxOf(c *node.Embedded, id ident.Peer) (ident.MailboxID, error) {
	if g, ok := id.(ident.GroupID); ok {
		return account.GroupMailboxOf(g, c.ClusterFile().ID)
	}
	return account.MailboxOf(ident.AccountID(id.Key()), c.ClusterFile().ID)
}

// leaderOf asks a running node who leads the swarm of a peer's mailbox.
func leaderOf(ctx context.Context, c *node.Embedded, id ident.Peer, besides int) (int, error) {
	mailbox, err := mailboxOf(c, id)
	if err != nil {
		return 0, err
	}
	for {
		for i, n := range c.Nodes() {
			if !n.Running || i == besides {
				continue
			}
			if leader, err := c.LeaderOf(ctx, i, mailbox); err == nil {
				return leader, nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, fault.Wrap(fault.Unavailable, "find leader", ctx.Err())
		}
	}
}
