package closed

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// All devices of an account are the same member of a group, each with a state of its own. Which groups there
// are, the groups document says; the keys travel in copies from device to device. A device that has none asks
// the others.

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
	tx.SetGroupErrand(store.GroupErrand{Group: g.ID, Kind: errandStay, Due: store.Held,
		Note: binary.BigEndian.AppendUint64(nil, me.Joined)})
	c.scheduleGroup(tx, g)
	if err := c.writeStanding(tx, g, devicesync.GroupJoined, me.Joined); err != nil {
		return err
	}
	if err := c.writeGroup(g); err != nil {
		return err
	}
	return c.core.SaveDocuments(tx)
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
		if err := c.core.Docs.Set(now, devicesync.GroupJoinedAt, subject,
			devicesync.Uint(uint64(now))); err != nil {
			return err
		}
	}
	return tx.Err()
}

func (c *Groups) standing(id ident.GroupID) (s devicesync.Standing, ok bool) {
	b, _ := c.core.Docs.Get(devicesync.GroupStanding, string(id[:]))
	return devicesync.UnpackStanding(b)
}

// writeGroup puts name, admins and spare keys into the document, as far as they are not there: they are what
// a device knows of the group that has no keys, whom it asks for them, and what it has if there is nobody to
// ask.
func (c *Groups) writeGroup(g *group) error {
	if err := c.writeSpare(g.ID, g.state.Generation(), g.state.Spare()); err != nil {
		return err
	}
	subject := string(g.ID[:])
	if b, _ := c.core.Docs.Get(devicesync.GroupName, subject); string(b) != g.state.Info().Name {
		if err := c.core.Docs.Set(c.core.NowMS(), devicesync.GroupName, subject,
			devicesync.Text(g.state.Info().Name)); err != nil {
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

// gone tells the other devices that the account is no member any more, or does not want to be one, and
// forgets what only a member needs.
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

// forgetKeys erases all that could open a group, but its state, which leave erases.
func (c *Groups) forgetKeys(tx *store.Tx, id ident.GroupID) {
	tx.DropGroupErrands(id, errandAsk, errandAnswer, errandSpare, errandReturn, errandJudge, errandLeaf,
		errandUrgent, errandRekey, errandRest, errandErase)
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
	if since := c.core.Docs.ChangedAt(devicesync.GroupStanding, string(id[:])); invited &&
		s.Status != devicesync.GroupJoined && since <= g.Since {
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
			// another device saw how an admin finished it
			return c.writeStanding(tx, g, devicesync.GroupLeft, stay)
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

// standsWithKeys is stands for a group whose keys this device has: they go if the stay that they are of
// has ended.
func (c *Groups) standsWithKeys(tx *store.Tx, g *group, s devicesync.Standing) error {
	stay, ok := c.stay(tx, g.ID)
	if ok && g.Leaving && s.Status == devicesync.GroupRemoved && s.Joined == stay {
		// as in stands; this device has not seen yet how it was finished
		return c.writeStanding(tx, g, devicesync.GroupLeft, stay)
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
