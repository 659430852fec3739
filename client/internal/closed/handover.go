package closed

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// addHandover queues the keys of a group for own devices, and returns the leg.
func (c *Groups) addHandover(tx *store.Tx, g *group) int64 {
	cp := account.GroupCopy{Kind: account.GroupHandover, From: c.core.Keys.Device(), Group: g.ID,
		Body: g.state.Handover()}
	return c.addGroupCopy(tx, cp)
}

// HandOver queues the keys of all groups for own devices: one joined, which would otherwise have to ask for
// them.
func (c *Groups) HandOver() error {
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		for _, id := range tx.GroupIDs() {
			g, err := c.get(tx, id)
			if err != nil {
				return err
			}
			if g.state != nil && Status(g.Status) == Joined {
				c.addHandover(tx, g)
			}
		}
		return tx.Err()
	})
}

func (c *Groups) addGroupCopy(tx *store.Tx, cp account.GroupCopy) int64 {
	now := c.core.NowMS()
	leg := store.Leg{Kind: store.LegGroupCopy, Peer: c.core.Me.Key(), SentAt: now,
		Body: cp.Encode(), Due: now}
	rand.Read(leg.Message[:])
	tx.AddLeg(&leg)
	c.core.Kick(c.core.Me)
	return leg.ID
}

// takeOwnCopy takes in what another own device says of a group.
func (c *Groups) takeOwnCopy(tx *store.Tx, a *core.Batch, b []byte, _ int64) error {
	cp, err := account.DecodeGroupCopy(b)
	if err != nil || cp.From == c.core.Keys.Device() {
		return nil
	}
	g, err := c.get(tx, cp.Group)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	c.WakeKeeper()
	here := g != nil && g.state != nil && Status(g.Status) == Joined
	switch {
	case cp.Kind == account.GroupAsk && here:
		c.put(tx, cp.Group, errandAnswer, core.Spread(0, c.core.Pace.GroupAnswer), nil)
	case cp.Kind == account.GroupHandover && here:
		tx.DropGroupErrands(cp.Group, errandAnswer) // somebody else was faster
		switch err := g.state.TakeHandover(cp.Body); {
		case errors.Is(err, fault.Stale):
			// perhaps of the next stay, whose beginning this device has not read yet
			tx.AddGroupHandover(store.GroupHandover{Group: cp.Group, Body: cp.Body})
			return tx.Err()
		case err != nil:
			c.core.Log.Debug("handover not taken", "error", err)
			return tx.Err()
		}
		c.saveState(tx, g)
		c.leafHeard(tx, cp.Group)
	case cp.Kind == account.GroupHandover:
		tx.AddGroupHandover(store.GroupHandover{Group: cp.Group, Body: cp.Body})
	}
	return tx.Err()
}

// askDevices asks the other devices for the keys of a group. When none of them answers, the account comes
// back with its spare keys if it has some, and else asks the admins.
func (c *Groups) askDevices(e store.GroupErrand) error {
	return c.errand(e, func(tx *store.Tx, g *group) error {
		tx.DropGroupErrands(e.Group, errandAsk)
		if g.state != nil || Status(g.Status) != Returning && Status(g.Status) != Waiting {
			return tx.Err()
		}
		spare := len(c.spares(e.Group)) > 0
		wait := c.core.Pace.GroupAlone
		switch {
		case c.core.Keys.ManyDevices():
			wait = c.core.Pace.GroupPatience
			c.addGroupCopy(tx, account.GroupCopy{Kind: account.GroupAsk, From: c.core.Keys.Device(),
				Group: e.Group})
		case spare:
			wait = 0 // until then a lost device is an admin
		}
		next := errandReturn
		if spare {
			next = errandSpare
		}
		c.put(tx, e.Group, next, wait, nil)
		return tx.Err()
	})
}

// answerDevice hands the keys of a group over to a device that asked.
func (c *Groups) answerDevice(e store.GroupErrand) error {
	return c.errand(e, func(tx *store.Tx, g *group) error {
		tx.DropGroupErrands(e.Group, errandAnswer)
		if g.state != nil && Status(g.Status) == Joined {
			c.addHandover(tx, g)
		}
		return tx.Err()
	})
}

// handed is what lets this account enter a group.
type handed struct {
	key    private.Key // seed of a key that reads its log
	ticket *groups.Ticket
	index  uint64 // a commit that the log has, with its hash; 0: none
	hash   [32]byte
}

// takeHandover enters a group with what another own device or an admin gave.
func (c *Groups) takeHandover(ctx context.Context, h store.GroupHandover) error {
	given, ok, err := c.ticketOf(h)
	if err != nil {
		return err
	}
	mailbox, merr := account.GroupMailboxOf(h.Group, c.core.Cluster.ID)
	if !ok || merr != nil {
		return c.dropHandover(h)
	}
	w := &worker{c: c, id: h.Group, mailbox: mailbox}
	s, place, err := w.enterWith(ctx, given)
	switch fault.KindOf(err) {
	case fault.Denied, fault.NotFound, fault.Corrupt, fault.Unauthenticated:
		c.core.Log.Debug("handover is of no use", "error", err)
		return c.dropHandover(h)
	}
	if err != nil {
		return err
	}
	return c.enterHandedOver(h, s, place, h.Welcome)
}

// TakeHandovers enters every group that was handed over so far, as far as that is possible now.
func (c *Groups) TakeHandovers(ctx context.Context) {
	var all []store.GroupHandover
	c.core.View(func(tx *store.Tx) error {
		all = tx.GroupHandovers()
		return nil
	})
	for _, h := range all {
		if err := c.takeHandover(ctx, h); err != nil {
			c.core.Log.Debug("handover waits", "error", err) // the keeper tries it again
		}
	}
}

// ticketOf returns what a handover enters with; false: it is of no use.
func (c *Groups) ticketOf(h store.GroupHandover) (handed, bool, error) {
	if h.Welcome {
		return c.welcomeTicket(h)
	}
	t, err := groups.DecodeHandover(h.Body)
	if err != nil || t.Group() != h.Group {
		return handed{}, false, nil
	}
	return handed{key: t.ReadKey(), ticket: t}, true, nil
}

func (c *Groups) dropHandover(h store.GroupHandover) error {
	return c.core.Commit(func(tx *store.Tx, _ *core.Batch) error {
		tx.DropGroupHandover(h.N)
		return tx.Err()
	})
}

// placed is where in the mailbox a state stands that was entered with.
type placed struct {
	cursor  uint64 // of a commit: what it opens comes after it
	headSeq uint64 // of its head
}

// enterWith makes a state from the group's log and the slot that a ticket opens.
func (w *worker) enterWith(ctx context.Context, given handed) (*groups.State, placed, error) {
	key, t := seedKey{given.key}, given.ticket
	log, err := w.fetchLog(ctx, key, 0, 0)
	if err != nil {
		return nil, placed{}, err
	}
	if n := given.index; n > uint64(len(log)) {
		return nil, placed{}, fault.New(fault.Unavailable, "enter group",
			"the node has %d commits, want %d at least", len(log), n)
	} else if n > 0 && envelope.CommitHash(log[n-1].Body) != given.hash {
		return nil, placed{}, fault.New(fault.Corrupt, "enter group",
			"commit %d is not the one that an admin knows", n)
	}
	bodies := bodies(log)
	refused := error(fault.New(fault.NotFound, "enter group",
		"none of its commits has a slot for this account"))
	for i := len(log) - 1; i >= 0; i-- {
		at, ok := t.Locator(log[i].Body)
		if !ok {
			continue
		}
		slot, err := w.fetchSlot(ctx, key, at)
		if err != nil {
			return nil, placed{}, err
		}
		if slot == nil {
			continue
		}
		s, err := groups.Enter(w.c.core.Net.Now(), w.c.core.Cluster.ID, t, nil, bodies, slot)
		if err == nil {
			index, _ := s.Head()
			// it may open days of earlier generations
			first := min(generationSeq(log, s.Generation()), lastBefore(log, s.Since()))
			return s, placed{cursor: first, headSeq: log[index-1].Seq}, nil
		}
		refused = err
	}
	return nil, placed{}, refused
}

// generationSeq returns the sequence number of the commit that began a generation.
func generationSeq(log []envelope.Envelope, g uint32) uint64 {
	for _, e := range log {
		if c, err := envelope.DecodeCommit(e.Body); err == nil && c.Generation == g {
			return e.Seq
		}
	}
	return 0
}

// enterHandedOver puts a state in force, unless the stay that it is of has ended or another one is in force.
// fresh: its keys are new to the other own devices.
func (c *Groups) enterHandedOver(h store.GroupHandover, s *groups.State, place placed, fresh bool) error {
	err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		tx.DropGroupHandover(h.N)
		g, err := c.get(tx, h.Group)
		if err := orNoGroup(err); err != nil {
			return err
		}
		me := s.Member(c.core.Me)
		if stay, here := c.stay(tx, h.Group); me == nil || here && g != nil && g.state != nil &&
			me.Joined <= stay {
			return tx.Err()
		}
		if old, ok := c.standing(h.Group); ok && old.Status != devicesync.GroupJoined &&
			old.Status != devicesync.GroupDeclined && old.Joined >= me.Joined {
			return tx.Err()
		}
		fresh = c.keepComebacks(tx, h.Group, s) || fresh
		if err := c.enter(tx, a, h.Group, s, place.cursor); err != nil {
			return err
		}
		if g, err = c.get(tx, h.Group); err != nil {
			return err
		}
		g.HeadSeq = place.headSeq
		c.save(tx, g)
		c.changed(a, h.Group)
		if fresh {
			return c.entered(tx, g)
		}
		return c.isHere(tx, g)
	})
	if err != nil {
		return core.Broken(err)
	}
	c.core.Kick(c.core.Me)
	c.core.Kick(h.Group)
	return nil
}
