package closed

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// All devices of an account are the same member of a group, each with a state of its own. Which groups there are, the groups
// document says; the keys travel in copies from device to device. A device that has none asks the others.

// entered tells the other devices of a group that this one made or joined, and begins its schedules.
func (c *Groups) entered(tx *store.Tx, g *group) error {
	if err := c.isHere(tx, g); err != nil {
		return err
	}
	if c.core.Keys.ManyDevices() {
		c.addHandover(tx, g)
	}
	return tx.Err()
}

// isHere writes down that this device has the keys of a group.
func (c *Groups) isHere(tx *store.Tx, g *group) error {
	me := g.state.Member(c.core.Me)
	if me == nil {
		return tx.Err() // the follow loop is about to find that out
	}
	tx.DropGroupErrands(g.ID)
	tx.DropGroupHandovers(g.ID)
	tx.SetGroupErrand(store.GroupErrand{Group: g.ID, Kind: errandStay, Due: store.Held, Note: binary.BigEndian.AppendUint64(nil, me.Joined)})
	c.scheduleGroup(tx, g)
	if err := c.writeStanding(tx, g, devicesync.GroupJoined, me.Joined); err != nil {
		return err
	}
	if err := c.writeGroup(g); err != nil {
		return err
	}
	return c.core.SaveDocuments(tx)
}

// addHandover queues the keys of a group for own devices, and returns the leg.
func (c *Groups) addHandover(tx *store.Tx, g *group) int64 {
	cp := account.GroupCopy{Kind: account.GroupHandover, From: c.core.Keys.Device(), Group: g.ID, Body: g.state.Handover()}
	return c.addGroupCopy(tx, cp)
}

// HandOver queues the keys of all groups for own devices: one joined, which would otherwise have to ask for them.
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
	leg := store.Leg{Kind: store.LegGroupCopy, Peer: c.core.Me.Key(), SentAt: now, Body: cp.Encode(), Due: now}
	rand.Read(leg.Message[:])
	tx.AddLeg(&leg)
	c.core.Kick(c.core.Me)
	return leg.ID
}

// writeStanding puts what the account is to a group into the document, unless it is there.
func (c *Groups) writeStanding(tx *store.Tx, g *group, status devicesync.GroupStatus, joined uint64) error {
	subject := string(g.ID[:])
	want := devicesync.Standing{Status: status, Joined: joined}
	if old, ok := c.standing(g.ID); ok && old == want {
		return nil
	}
	now := c.core.NowMS()
	if err := c.core.Docs.Set(now, devicesync.GroupStanding, subject, want.Pack()); err != nil {
		return err
	}
	if status == devicesync.GroupJoined {
		if err := c.core.Docs.Set(now, devicesync.GroupJoinedAt, subject, devicesync.Uint(uint64(now))); err != nil {
			return err
		}
	}
	c.core.Kick(c.core.Me)
	return tx.Err()
}

func (c *Groups) standing(id ident.GroupID) (s devicesync.Standing, ok bool) {
	b, _ := c.core.Docs.Get(devicesync.GroupStanding, string(id[:]))
	return devicesync.UnpackStanding(b)
}

// writeGroup puts name, admins and spare keys into the document, as far as they are not there: they are what a device knows of
// the group that has no keys, whom it asks for them, and what it has if there is nobody to ask.
func (c *Groups) writeGroup(g *group) error {
	if err := c.writeSpare(g.ID, g.state.Generation(), g.state.Spare()); err != nil {
		return err
	}
	subject := string(g.ID[:])
	if b, _ := c.core.Docs.Get(devicesync.GroupName, subject); string(b) != g.state.Info().Name {
		if err := c.core.Docs.Set(c.core.NowMS(), devicesync.GroupName, subject, devicesync.Text(g.state.Info().Name)); err != nil {
			return err
		}
	}
	var admins []string
	for _, m := range g.state.Members() {
		if m.Role == groups.Admin && m.Account != c.core.Me && len(admins) < devicesync.MaxGroupAdmins {
			admins = append(admins, string(m.Account[:]))
		}
	}
	var known []string
	for _, b := range c.core.Docs.Elements(devicesync.GroupAdmins, subject) {
		known = append(known, string(b))
		if !slices.Contains(admins, string(b)) {
			if err := c.core.Docs.Discard(devicesync.GroupAdmins, subject, b); err != nil {
				return err
			}
		}
	}
	for _, id := range admins {
		if !slices.Contains(known, id) {
			if err := c.core.Docs.Add(devicesync.GroupAdmins, subject, []byte(id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// gone tells the other devices that the account is no member any more, or does not want to be one, and forgets what only
// a member needs.
func (c *Groups) gone(tx *store.Tx, g *group) error {
	stay, had := c.stay(tx, g.ID)
	c.forgetKeys(tx, g.ID)
	old, ok := c.standing(g.ID)
	var err error
	switch joined := ok && old.Status == devicesync.GroupJoined; {
	case g.Status == Declined && !joined:
		err = c.writeStanding(tx, g, devicesync.GroupDeclined, 0)
	case had && joined && old.Joined <= stay && Status(g.Status) == Left:
		err = c.writeStanding(tx, g, devicesync.GroupLeft, stay)
	case had && joined && old.Joined <= stay:
		err = c.writeStanding(tx, g, devicesync.GroupRemoved, stay)
	}
	if err != nil {
		return err
	}
	if now, ok := c.standing(g.ID); !ok || now.Status != devicesync.GroupJoined {
		if err := c.writeSpare(g.ID, math.MaxUint32, nil); err != nil {
			return err
		}
	}
	return c.core.SaveDocuments(tx)
}

func (c *Groups) stay(tx *store.Tx, id ident.GroupID) (joined uint64, ok bool) {
	e, ok := tx.GroupErrand(id, errandStay)
	return devicesync.AsUint(e.Note), ok
}

// forgetKeys erases all that could open a group, but its state, which leaveGroup erases.
func (c *Groups) forgetKeys(tx *store.Tx, id ident.GroupID) {
	tx.DropGroupErrands(id, errandAsk, errandAnswer, errandSpare, errandReturn, errandJudge, errandLeaf, errandUrgent, errandRekey, errandRest, errandErase)
	tx.DropGroupHandovers(id)
	for _, l := range tx.GroupLinks(id) {
		tx.DropGroupLink(id, l.Serial)
	}
}

// committed keeps documents and schedules in step with a commit that was taken in.
func (c *Groups) committed(tx *store.Tx, g *group, b before) error {
	if b.Generation != g.state.Generation() {
		c.scheduleRekey(tx, g)
	}
	if me := g.state.Member(c.core.Me); me != nil {
		c.leafTaken(tx, g.ID, b.leafNumber(c.core.Me), me.LeafNumber)
	}
	if err := c.welcomeBack(tx, g, b); err != nil {
		return err
	}
	if err := c.writeGroup(g); err != nil {
		return err
	}
	return c.core.SaveDocuments(tx)
}

// Merged brings a group in step with what another device wrote into the document.
func (c *Groups) Merged(tx *store.Tx, a *core.Batch, id ident.GroupID) {
	if err := c.stands(tx, id); err != nil {
		c.core.Log.Error("group not brought in step", "error", err)
	}
	c.changed(a, id)
	c.WakeKeeper()
}

// stands brings a group in step with the document.
func (c *Groups) stands(tx *store.Tx, id ident.GroupID) error {
	s, ok := c.standing(id)
	if !ok {
		return nil
	}
	g, err := c.get(tx, id)
	if errors.Is(err, fault.NotFound) {
		name, _ := c.core.Docs.Get(devicesync.GroupName, string(id[:]))
		g, err = &group{Group: store.Group{ID: id, Since: c.core.NowMS(), Name: string(name)}}, nil
	}
	if err != nil {
		return err
	}
	if g.state != nil {
		return c.standsWithKeys(tx, g, s)
	}
	if Status(g.Status) == Disbanded {
		return nil // nothing follows that
	}
	invited := Status(g.Status) == Invited || Status(g.Status) == Waiting
	if since := c.core.Docs.ChangedAt(devicesync.GroupStanding, string(id[:])); invited && s.Status != devicesync.GroupJoined && since <= g.Since {
		return nil // the invitation came after what ended
	}
	switch s.Status {
	case devicesync.GroupJoined:
		if Status(g.Status) != Waiting { // a request of this device may be answered as well
			g.Status = string(Returning)
		}
		c.save(tx, g)
		_, returning := tx.GroupErrand(id, errandReturn)
		if _, trying := tx.GroupErrand(id, errandSpare); !returning && !trying {
			c.putNew(tx, id, errandAsk, c.core.Pace.GroupAsk)
		}
		return tx.Err()
	case devicesync.GroupLeft:
		g.Status = string(Left)
	case devicesync.GroupRemoved:
		if stay, ok := c.stay(tx, id); ok && stay == s.Joined && Status(g.Status) == Left {
			return c.writeStanding(tx, g, devicesync.GroupLeft, stay) // another device saw how an admin finished it
		}
		g.Status = string(Removed)
	case devicesync.GroupDeclined:
		if Status(g.Status) != Invited && g.Status != "" {
			return nil
		}
		g.Status = Declined
	}
	g.Keys, g.Request, g.Asked = nil, nil, false
	c.forgetKeys(tx, id)
	c.save(tx, g)
	return tx.Err()
}

// standsWithKeys is groupStands for a group whose keys this device has: they go if the stay that they are of has ended.
func (c *Groups) standsWithKeys(tx *store.Tx, g *group, s devicesync.Standing) error {
	stay, ok := c.stay(tx, g.ID)
	if ok && g.Leaving && s.Status == devicesync.GroupRemoved && s.Joined == stay {
		return c.writeStanding(tx, g, devicesync.GroupLeft, stay) // as in groupStands; this device has not seen yet how it was finished
	}
	if !ok || s.Status == devicesync.GroupJoined || g.Leaving || Status(g.Status) != Joined {
		return nil
	}
	if s.Status == devicesync.GroupDeclined || s.Joined < stay { // old news
		return c.writeStanding(tx, g, devicesync.GroupJoined, stay)
	}
	how := Removed
	if s.Status == devicesync.GroupLeft {
		how = Left
	}
	c.leave(tx, g, how)
	c.forgetKeys(tx, g.ID)
	return tx.Err()
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
		case errors.Is(err, fault.Stale): // perhaps of the next stay, whose beginning this device has not read yet
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

// askDevices asks the other devices for the keys of a group. When none of them answers, the account comes back with its spare
// keys if it has some, and else asks the admins.
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
			c.addGroupCopy(tx, account.GroupCopy{Kind: account.GroupAsk, From: c.core.Keys.Device(), Group: e.Group})
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
		return nil, placed{}, fault.New(fault.Unavailable, "enter group", "the node has %d commits, want %d at least", len(log), n)
	} else if n > 0 && envelope.CommitHash(log[n-1].Body) != given.hash {
		return nil, placed{}, fault.New(fault.Corrupt, "enter group", "commit %d is not the one that an admin knows", n)
	}
	bodies := bodies(log)
	refused := error(fault.New(fault.NotFound, "enter group", "none of its commits has a slot for this account"))
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
			first := min(generationSeq(log, s.Generation()), lastBefore(log, s.Since())) // it may open days of earlier generations
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

// enterHandedOver puts a state in force, unless the stay that it is of has ended or another one is in force. fresh: its keys
// are new to the other own devices.
func (c *Groups) enterHandedOver(h store.GroupHandover, s *groups.State, place placed, fresh bool) error {
	err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		tx.DropGroupHandover(h.N)
		g, err := c.get(tx, h.Group)
		if err := orNoGroup(err); err != nil {
			return err
		}
		me := s.Member(c.core.Me)
		if stay, here := c.stay(tx, h.Group); me == nil || here && g != nil && g.state != nil && me.Joined <= stay {
			return tx.Err()
		}
		if old, ok := c.standing(h.Group); ok && old.Status != devicesync.GroupJoined && old.Status != devicesync.GroupDeclined && old.Joined >= me.Joined {
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
