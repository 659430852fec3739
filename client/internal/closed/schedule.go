package closed

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

const (
	groupDay = 24 * time.Hour
	// leafLife is how old a leaf key gets; each device draws its own time within the day before, and whoever
	// is first has done it for all of them.
	leafLife = 7 * groupDay
	// generationLife is how old a generation gets. The admins take it up one after the other, a turn apart.
	generationLife = 7 * groupDay
	rekeyTurn      = 6 * time.Hour
	// groupKeyDays is for how many days messages can be opened: longer than any of them waits for a device.
	groupKeyDays = 16
	// leafTTL is how long an admin that is away may take to find a leaf key, in seconds.
	leafTTL = 30 * 24 * 3600
)

// scheduleGroup makes sure that the group's errands of the clock are there.
func (c *Groups) scheduleGroup(tx *store.Tx, g *group) {
	c.putNew(tx, g.ID, errandLeaf, nextLeaf())
	c.putNew(tx, g.ID, errandErase, groupDay)
	if _, ok := tx.GroupErrand(g.ID, errandRekey); !ok {
		c.scheduleRekey(tx, g)
	}
}

func nextLeaf() time.Duration { return core.Spread(leafLife-groupDay, leafLife-2*time.Hour) }

// scheduleRekey puts the next generation off: one has just begun.
func (c *Groups) scheduleRekey(tx *store.Tx, g *group) {
	if g.admin() {
		c.put(tx, g.ID, errandRest, c.core.Pace.Rest, nil)
	}
	if urgentAsked(tx, g) { // a key that came too late for the one that began
		c.hurryRekey(tx, g)
		return
	}
	c.putRekeyOff(tx, g)
}

func (c *Groups) putRekeyOff(tx *store.Tx, g *group) {
	after := generationLife + time.Duration(rank(g.state))*rekeyTurn + core.Spread(0, rekeyTurn/2)
	c.put(tx, g.ID, errandRekey, after, nil)
}

// rekeyGroup begins a generation that nothing else began for a week.
func (c *Groups) rekeyGroup(e store.GroupErrand) error {
	return c.errand(e, func(tx *store.Tx, g *group) error {
		if g.state == nil {
			tx.DropGroupErrands(e.Group, errandRekey)
			return tx.Err()
		}
		c.putRekeyOff(tx, g)
		if !g.admin() {
			return tx.Err()
		}
		w := wantChange(groups.Change{Kind: groups.KindRekey})
		w.Generation = g.state.Generation()
		_, err := c.want(tx, e.Group, w)
		return err
	})
}

// leafTaken notes that a commit took in a leaf key of the own account.
func (c *Groups) leafTaken(tx *store.Tx, id ident.GroupID, was, number uint32) {
	e, ok := tx.GroupErrand(id, errandLeaf)
	if ok && was != number && (len(e.Note) == 0 || leafNumber(e.Note) <= number) {
		c.put(tx, id, errandLeaf, nextLeaf(), nil)
	}
}

// leafHeard notes that another device handed over what may be a new leaf key: this one need not make one.
func (c *Groups) leafHeard(tx *store.Tx, id ident.GroupID) {
	if e, ok := tx.GroupErrand(id, errandLeaf); ok && len(e.Note) == 0 {
		c.put(tx, id, errandLeaf, nextLeaf(), nil)
	}
}

// The note of errandLeaf and errandUrgent, once the key is made: the leg of its handover (0: there are no
// other devices) and the update.
func leafNote(leg int64, u *groups.LeafUpdate) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(leg)), u.Encode()...)
}

func leafOfNote(note []byte) (leg int64, u *groups.LeafUpdate, err error) {
	if len(note) < 8 {
		return 0, nil, fault.New(fault.Corrupt, "read errand", "has %d bytes, want 8 at least", len(note))
	}
	u, err = groups.DecodeLeafUpdate(note[8:])
	return int64(binary.BigEndian.Uint64(note)), u, err
}

func leafNumber(note []byte) uint32 {
	if _, u, err := leafOfNote(note); err == nil {
		return u.Number
	}
	return 0
}

// changeLeaf gives the account a new leaf key: first every own device has it, then the admins hear of it.
func (c *Groups) changeLeaf(ctx context.Context, e store.GroupErrand) error {
	if len(e.Note) < 8 {
		return c.makeLeaf(e)
	}
	leg, u, err := leafOfNote(e.Note)
	if err != nil {
		return c.errand(e, func(tx *store.Tx, _ *group) error {
			tx.DropGroupErrands(e.Group, e.Kind)
			c.putNew(tx, e.Group, errandLeaf, nextLeaf())
			return tx.Err()
		})
	}
	var word []byte
	var key seedKey
	var generation uint32
	waits := false
	err = c.core.View(func(tx *store.Tx) error {
		g, err := c.get(tx, e.Group)
		if err != nil || g.state == nil {
			return orNoGroup(err)
		}
		if waits = leg != 0 && tx.HasLeg(leg); waits {
			return nil
		}
		key, generation = seedKey{g.state.WriteKey()}, g.state.Generation()
		seal := g.state.SealLeaf
		if e.Kind == errandUrgent {
			seal = g.state.SealUrgentLeaf
		}
		word, err = seal(rand.Reader, u)
		return err
	})
	if err != nil {
		return core.Broken(err)
	}
	if waits { // handoverStored ends that
		return c.errand(e, func(tx *store.Tx, _ *group) error {
			c.put(tx, e.Group, e.Kind, time.Minute, e.Note)
			return tx.Err()
		})
	}
	if word != nil {
		put := envelope.Store{Namespace: envelope.GroupLeaves, TTL: leafTTL, IfGeneration: &generation,
			Body: word}
		if _, _, err := c.request(ctx, e.Group, key, put); err != nil {
			return err
		}
	}
	return c.errand(e, func(tx *store.Tx, g *group) error {
		tx.DropGroupErrands(e.Group, e.Kind)
		c.put(tx, e.Group, errandLeaf, nextLeaf(), nil)
		if e.Kind == errandUrgent && g.admin() {
			tx.AddGroupAsk(&store.GroupAsk{Group: g.ID, Kind: askUrgent, Account: c.core.Me, Body: u.Encode(),
				At: c.core.NowMS()})
			c.put(tx, g.ID, errandRekey, 0, nil)
			c.WakeKeeper()
		}
		return tx.Err()
	})
}

// handoverStored lets a leaf key go to the admins whose handover is in the account's mailbox.
func (c *Groups) handoverStored(tx *store.Tx, leg store.Leg) {
	for _, e := range tx.GroupErrands() {
		if e.Kind != errandLeaf && e.Kind != errandUrgent || len(e.Note) < 8 {
			continue
		}
		if of, _, err := leafOfNote(e.Note); err == nil && of == leg.ID {
			c.put(tx, e.Group, e.Kind, 0, e.Note)
			c.WakeKeeper()
		}
	}
}

// makeLeaf draws a leaf key and hands it over to the other devices.
func (c *Groups) makeLeaf(e store.GroupErrand) error {
	return c.errand(e, func(tx *store.Tx, g *group) error {
		if g.state == nil {
			tx.DropGroupErrands(e.Group, e.Kind)
			return tx.Err()
		}
		if e.Kind == errandUrgent && changedSince(g, e.Note) {
			tx.DropGroupErrands(e.Group, e.Kind)
			return tx.Err()
		}
		u, err := g.state.NewLeaf(rand.Reader)
		if err != nil {
			return err
		}
		c.saveState(tx, g)
		leg := int64(0)
		if c.core.Keys.ManyDevices() {
			leg = c.addHandover(tx, g)
		}
		c.put(tx, e.Group, e.Kind, 0, leafNote(leg, u))
		c.WakeKeeper()
		return tx.Err()
	})
}

// eraseGroup erases keys of days that are over, and leaf keys that were superseded long ago. First everything
// sealed to them is fetched.
func (c *Groups) eraseGroup(ctx context.Context, e store.GroupErrand) error {
	t, err := c.core.SureTime(ctx)
	if err != nil {
		return err
	}
	fctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	if err := c.catchUp(fctx, e.Group); err != nil {
		return errors.Join(err, ctx.Err())
	}
	return c.errand(e, func(tx *store.Tx, g *group) error {
		if g.state == nil {
			tx.DropGroupErrands(e.Group, errandErase)
			return tx.Err()
		}
		g.state.Erase(groups.Day(t)-groupKeyDays, t)
		c.saveState(tx, g)
		c.put(tx, e.Group, errandErase, groupDay, nil)
		return c.tidyGroup(tx, g)
	})
}

// leafNumber is the number of a member's leaf key before the commit.
func (b *before) leafNumber(id ident.AccountID) uint32 {
	for _, m := range b.Members {
		if m.Account == id {
			return m.LeafNumber
		}
	}
	return 0
}
