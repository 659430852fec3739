package closed

import (
	"context"
	"errors"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// keeper does for groups what the account's devices owe each other and what time brings: it enters groups
// with what other devices or admins handed over (devices.go, return.go) or with spare keys (spare.go),
// changes and erases keys by the clock (schedule.go), and checks for whose keys their accounts answer
// (credential.go). What it has to do lies in the store as errands.
type keeper struct {
	vouches
	woken chan struct{}
}

func (k *keeper) init() {
	k.vouches.init()
	k.woken = make(chan struct{}, 1)
}

// wake makes the keeper look now.
func (k *keeper) wake() { core.Wake(k.woken) }

// WakeKeeper makes the keeper look at its errands now.
func (c *Groups) WakeKeeper() { c.keeper.wake() }

// The kinds of errands.
const (
	errandAsk    = "ask"    // ask own devices for the keys
	errandAnswer = "answer" // give them to a device that asked
	// come back with the spare keys; Note is the handovers of commits on their way (spare.go)
	errandSpare  = "spare"
	errandReturn = "return" // ask the admins to be let in again
	errandJudge  = "judge"  // decide whether members who want to return may without an admin's word
	errandLeaf   = "leaf"   // change the leaf key; Note is the update on its way
	errandUrgent = "urgent" // change the leaf key for a generation at once: a device was shut out (urgent.go)
	errandRekey  = "rekey"  // begin a generation
	// nothing to do: until it is due, nobody else's urgent leaf key begins another generation
	errandRest  = "rest"
	errandErase = "erase" // erase the keys of days and leaf keys that are over
	// nothing to do: a member asked to return and is welcomed once it is in again; its account follows
	errandBack = "back/"
	errandStay = "stay" // nothing to do: Note is the commit that began the account's stay
)

// keep runs until ctx ends or the local store fails.
func (c *Groups) keep(ctx context.Context) error {
	if err := c.resumeGroups(); err != nil {
		return err
	}
	delay := time.Duration(0)
	for ctx.Err() == nil {
		err := c.keepOnce(ctx)
		var broken *core.StoreError
		if errors.As(err, &broken) {
			return broken.Cause
		}
		next, ok := c.nextErrand()
		switch {
		case err != nil && ctx.Err() == nil:
			c.core.Log.Debug("group errand not done", "error", err)
			delay = core.NextDelay(delay, err)
			next, ok = delay, true
		default:
			delay = 0
		}
		c.keeper.sleep(ctx, next, ok)
	}
	return ctx.Err()
}

// sleep waits for d, for ever if it is not timed, or until the keeper is woken.
func (k *keeper) sleep(ctx context.Context, d time.Duration, timed bool) {
	var after <-chan time.Time
	if timed {
		t := time.NewTimer(max(d, 10*time.Millisecond))
		defer t.Stop()
		after = t.C
	}
	select {
	case <-after:
	case <-k.woken:
	case <-ctx.Done():
	}
}

// resumeGroups finds what a device has to do that knows of groups but has no keys, or whose process ended in
// between.
func (c *Groups) resumeGroups() error {
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		for _, subject := range c.core.Docs.Subjects(devicesync.Groups) {
			if len(subject) != len(ident.GroupID{}) {
				continue
			}
			if err := c.stands(tx, ident.GroupID([]byte(subject))); err != nil {
				return err
			}
		}
		for _, id := range tx.GroupIDs() {
			g, err := c.get(tx, id)
			if err != nil {
				return err
			}
			if g.state != nil && Status(g.Status) == Joined {
				c.wantMarked(tx, g)
				if err := c.watchDoor(tx, g); err != nil {
					return err
				}
				c.scheduleGroup(tx, g)
			}
			if err := c.tidyGroup(tx, g); err != nil {
				return err
			}
		}
		return c.core.SaveDocuments(tx)
	})
}

// keepOnce does all that is due. One task that fails does not keep the others from theirs.
func (c *Groups) keepOnce(ctx context.Context) (failed error) {
	var handovers []store.GroupHandover
	var due []store.GroupErrand
	now := c.core.NowMS()
	err := c.core.View(func(tx *store.Tx) error {
		handovers = tx.GroupHandovers()
		for _, e := range tx.GroupErrands() {
			if e.Due <= now {
				due = append(due, e)
			}
		}
		return tx.Err()
	})
	if err != nil {
		return core.Broken(err)
	}
	tasks := []func(context.Context) error{c.checkVouches}
	for _, h := range handovers {
		tasks = append(tasks, func(ctx context.Context) error { return c.takeHandover(ctx, h) })
	}
	for _, e := range due {
		tasks = append(tasks, func(ctx context.Context) error { return c.runErrand(ctx, e) })
	}
	for _, task := range tasks {
		if failed = errors.Join(failed, task(ctx)); ctx.Err() != nil {
			return failed
		}
	}
	return failed
}

// nextErrand returns how long it is until the next errand; false: there is none.
func (c *Groups) nextErrand() (d time.Duration, ok bool) {
	now := c.core.NowMS()
	c.core.View(func(tx *store.Tx) error {
		for _, e := range tx.GroupErrands() {
			if e.Due != store.Held {
				d, ok = time.Duration(max(e.Due-now, 0))*time.Millisecond, true
				return nil
			}
		}
		return nil
	})
	return d, ok
}

// runErrand does one errand, which then is dropped or has another time.
func (c *Groups) runErrand(ctx context.Context, e store.GroupErrand) error {
	switch e.Kind {
	case errandAsk:
		return c.askDevices(e)
	case errandAnswer:
		return c.answerDevice(e)
	case errandSpare:
		return c.comeBack(ctx, e)
	case errandReturn:
		return c.askAdmins(e)
	case errandJudge:
		return c.judgeReturns(ctx, e)
	case errandLeaf, errandUrgent:
		return c.changeLeaf(ctx, e)
	case errandRekey:
		return c.rekeyGroup(e)
	case errandErase:
		return c.eraseGroup(ctx, e)
	}
	return c.errand(e, func(tx *store.Tx, _ *group) error {
		tx.DropGroupErrands(e.Group, e.Kind) // errandRest, or of another version
		return nil
	})
}

// errand runs f in a transaction if the errand is still there as it was; an errand of a group that is gone is
// dropped.
func (c *Groups) errand(e store.GroupErrand, f func(*store.Tx, *group) error) error {
	err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		if now, ok := tx.GroupErrand(e.Group, e.Kind); !ok || now.Due != e.Due ||
			string(now.Note) != string(e.Note) {
			return tx.Err()
		}
		g, err := c.get(tx, e.Group)
		if errors.Is(err, fault.NotFound) {
			tx.DropGroupErrands(e.Group)
			return tx.Err()
		}
		if err != nil {
			return err
		}
		c.changed(a, e.Group)
		if err := f(tx, g); err != nil {
			return err
		}
		return c.core.SaveDocuments(tx)
	})
	if err != nil {
		return core.Broken(err)
	}
	c.core.Kick(c.core.Me)
	return nil
}

// put sets an errand of a group, due after a time from now.
func (c *Groups) put(tx *store.Tx, id ident.GroupID, kind string, after time.Duration, note []byte) {
	tx.SetGroupErrand(store.GroupErrand{Group: id, Kind: kind, Due: c.core.Net.Now().Add(after).UnixMilli(),
		Note: note})
}

// putNew is put unless there is one of its kind.
func (c *Groups) putNew(tx *store.Tx, id ident.GroupID, kind string, after time.Duration) {
	if _, ok := tx.GroupErrand(id, kind); !ok {
		c.put(tx, id, kind, after, nil)
	}
}
