package closed

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// The only admin of a group has nobody to ask when its devices are lost. So the groups document, which the
// phrase opens after a recovery, has spare keys of such a group: they open no message, but begin a generation
// with a new leaf key. That makes the account an admin with keys again, and shuts the lost devices out.

const (
	maxComebacks   = 4                      // commits of which it is not known whether they reached the log
	comebackLooks  = 20                     // at the log, for a commit that was stored
	comebackPauses = 250 * time.Millisecond // between two of them
)

// writeSpare puts the spare keys of a generation into the document, or takes out what is there. Those of a
// later generation stay, alone or beside these: another device is ahead, or a commit is on its way.
func (c *Groups) writeSpare(id ident.GroupID, generation uint32, want []byte) error {
	old, _ := c.core.Docs.Get(devicesync.GroupSpare, string(id[:]))
	if all := c.spares(id); len(all) > 0 && all[0].Generation() > generation ||
		len(want) > 0 && bytes.HasPrefix(old, want) {
		return nil
	}
	return c.setSpare(id, want)
}

func (c *Groups) setSpare(id ident.GroupID, value []byte) error {
	if old, _ := c.core.Docs.Get(devicesync.GroupSpare, string(id[:])); len(old)+len(value) == 0 {
		return nil
	}
	return c.core.Docs.Set(c.core.NowMS(), devicesync.GroupSpare, string(id[:]), value)
}

// spareAhead puts the spare keys of the generation that a commit begins beside those in force, before it
// leaves: the device may be lost before it has read in the log that the generation began.
func (c *Groups) spareAhead(tx *store.Tx, g *group, p *groups.Proposal) error {
	if commit, err := envelope.DecodeCommit(p.Commit); err != nil ||
		commit.Generation == g.state.Generation() {
		return err
	}
	after := g.state.Clone()
	at, _, err := after.Needs(p.Commit)
	if err == nil {
		err = after.Apply(c.core.Net.Now(), p.Commit, p.Find(at))
	}
	if err != nil {
		return err
	}
	if ahead := after.Spare(); ahead != nil {
		if err := c.setSpare(g.ID, append(g.state.Spare(), ahead...)); err != nil {
			return err
		}
	}
	return c.core.SaveDocuments(tx)
}

// spares returns the spare keys of a group that the document has, the older ones first. Only inside a
// transaction.
func (c *Groups) spares(id ident.GroupID) (out []*groups.Spare) {
	b, _ := c.core.Docs.Get(devicesync.GroupSpare, string(id[:]))
	for ; len(b) >= groups.SpareSize; b = b[groups.SpareSize:] {
		if p, err := groups.DecodeSpare(b[:groups.SpareSize]); err == nil && p.Group() == id &&
			p.Self() == c.core.Me {
			out = append(out, p)
		}
	}
	return out
}

// comeBack begins a generation with spare keys and enters the group with it. If that cannot be, the admins
// are asked.
func (c *Groups) comeBack(ctx context.Context, e store.GroupErrand) error {
	var all []*groups.Spare
	err := c.core.View(func(tx *store.Tx) error {
		all = c.spares(e.Group)
		return tx.Err()
	})
	if err != nil {
		return core.Broken(err)
	}
	mailbox, err := account.GroupMailboxOf(e.Group, c.core.Cluster.ID)
	if len(all) == 0 || err != nil {
		return c.askInstead(e)
	}
	w := &worker{c: c, id: e.Group, mailbox: mailbox}
	entered, log, err := w.enterComeback(ctx, all, comebacks(e.Note))
	if entered || err != nil {
		return c.unlessHopeless(e, err)
	}
	var back *groups.Comeback
	for _, p := range all {
		if back, err = p.Comeback(rand.Reader, c.core.Net.Now(), c.core.Cluster.ID, bodies(log)); err == nil {
			break
		}
	}
	if err != nil {
		return c.unlessHopeless(e, err)
	}
	kept, err := c.keepComeback(e, back.Handover)
	if !kept || err != nil {
		return err
	}
	t := &attempt{p: back.Proposal, admin: back.Admin, head: log[len(log)-1].Seq, index: back.Index}
	if err := w.submit(ctx, t); err != nil {
		return err // perhaps it is in the log all the same: the next attempt looks there first
	}
	for range comebackLooks {
		if entered, _, err = w.enterComeback(ctx, all, [][]byte{back.Handover}); entered || err != nil {
			return err
		}
		c.core.Sleep(ctx, comebackPauses)
	}
	return fault.New(fault.Unavailable, "come back to group", "the log does not show the commit yet")
}

// enterComeback enters the group with one of the handovers whose commit the log has. If there is none it
// returns the log.
func (w *worker) enterComeback(ctx context.Context, all []*groups.Spare,
	handovers [][]byte) (entered bool, log []envelope.Envelope, err error) {
	key := all[0].ReadKey() // the nodes need not know that of the next generation
	if log, err = w.fetchLog(ctx, seedKey{key}, 0, 0); err != nil {
		return false, nil, err
	}
	for _, h := range handovers {
		t, err := groups.DecodeHandover(h)
		if err != nil || !t.InLog(bodies(log)) {
			continue
		}
		s, place, err := w.enterWith(ctx, handed{key: key, ticket: t})
		if err != nil {
			// it is the own commit: there is a way in
			return false, log, fault.Wrap(fault.Unavailable, "come back to group", err)
		}
		err = w.c.enterHandedOver(store.GroupHandover{Group: w.id}, s, place, true)
		return err == nil, log, err
	}
	return false, log, nil
}

// unlessHopeless passes on what may be better later, and asks the admins if the spare keys are of no use.
func (c *Groups) unlessHopeless(e store.GroupErrand, err error) error {
	switch fault.KindOf(err) {
	case fault.Denied, fault.NotFound, fault.Corrupt, fault.Unauthenticated:
		c.core.Log.Debug("spare keys are of no use", "error", err)
		return c.askInstead(e)
	}
	return err
}

func (c *Groups) askInstead(e store.GroupErrand) error {
	return c.errand(e, func(tx *store.Tx, _ *group) error {
		tx.DropGroupErrands(e.Group, errandSpare)
		c.put(tx, e.Group, errandReturn, 0, nil)
		return tx.Err()
	})
}

// keepComeback writes down what enters the group with a commit that is about to leave; false: it is not
// wanted any more.
func (c *Groups) keepComeback(e store.GroupErrand, handover []byte) (kept bool, err error) {
	err = c.errand(e, func(tx *store.Tx, g *group) error {
		if kept = g.state == nil; !kept {
			return tx.Err()
		}
		e.Note = noteOfComebacks(append([][]byte{handover}, comebacks(e.Note)...))
		tx.SetGroupErrand(e)
		return tx.Err()
	})
	return kept, err
}

// keepComebacks adds to a state that was entered with the leaf keys of commits that may still reach the log;
// false: there are none.
func (c *Groups) keepComebacks(tx *store.Tx, id ident.GroupID, s *groups.State) (any bool) {
	e, _ := tx.GroupErrand(id, errandSpare)
	for _, h := range comebacks(e.Note) {
		any = s.TakeHandover(h) == nil || any
	}
	return any
}

// The note of errandSpare: handovers, the newest first, each after its length.
func noteOfComebacks(handovers [][]byte) (note []byte) {
	for _, h := range handovers[:min(len(handovers), maxComebacks)] {
		note = append(binary.BigEndian.AppendUint16(note, uint16(len(h))), h...)
	}
	return note
}

func comebacks(note []byte) (out [][]byte) {
	for len(note) >= 2 {
		n := int(binary.BigEndian.Uint16(note))
		if n > len(note)-2 {
			return out
		}
		out, note = append(out, note[2:2+n]), note[2+n:]
	}
	return out
}
