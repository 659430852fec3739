package closed

import (
	"context"
	"errors"
	"slices"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Whoever has a link of a public group needs no admin: the link opens a slot with the keys of the generation,
// and with these its holder makes the commit that lets it in. The wish lies in the store like any wish to
// join, with keys and without a request; a commit that went in before the process died is found in the log by
// those keys. What cannot be done so is asked of the admins, as by any link.

// knocks reports whether the account is about to come in without an admin.
func (g *group) knocks() bool {
	return Status(g.Status) == Waiting && g.Keys != nil && g.Request == nil
}

// backsOut reports whether the account declined while it was about to come in: a commit may have gone in, and
// then it leaves.
func (g *group) backsOut() bool {
	return g.Status == Declined && g.Keys != nil && g.Invitation != nil
}

// asksAt reports whether the account waits for an admin who was asked because an invitation did not let it in
// at once: that may have changed.
func (g *group) asksAt(in *groups.Invitation) bool {
	if !in.Door || Status(g.Status) != Waiting || g.Request == nil {
		return false
	}
	of, err := groups.DecodeInvitation(g.Invitation)
	return err == nil && of.Serial == in.Serial
}

// door is what the attempts to come in by one invitation have read.
type door struct {
	serial uint64
	log    []envelope.Envelope
	head   uint64 // a sequence number that the log is known to reach
	denied int    // attempts that found no way in
	shared groups.Shared
}

// knock is one attempt to come in.
type knock struct {
	*door
	backsOut   bool // it only looks whether an earlier one went in
	in         *groups.Invitation
	ticket     *groups.Ticket
	credential []byte
}

// newKnock begins an attempt, with the log as it is now; nil: the account does not want to come in any more.
func (w *worker) newKnock(ctx context.Context) (k *knock, err error) {
	err = w.c.core.View(func(tx *store.Tx) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || !g.knocks() && !g.backsOut() {
			return orNoGroup(err)
		}
		in, err := groups.DecodeInvitation(g.Invitation)
		if err != nil {
			return err
		}
		keys, err := groups.UnmarshalKeys(g.Keys)
		if err != nil {
			return err
		}
		k = &knock{backsOut: g.backsOut(), in: in, ticket: in.DoorTicket(w.c.core.Me, keys)}
		k.credential, err = w.c.groupCredential(w.id, keys.SignPublic()) // of the account's newest generation
		return err
	})
	if err != nil {
		return nil, core.Broken(err)
	}
	if k == nil {
		w.door = nil
		return nil, nil
	}
	if w.door == nil || w.door.serial != k.in.Serial {
		w.door = &door{serial: k.in.Serial}
	}
	k.door = w.door
	return k, w.readDoor(ctx, k)
}

// readDoor reads what came to the log since the last attempt.
func (w *worker) readDoor(ctx context.Context, k *knock) error {
	after := uint64(0)
	if n := len(k.log); n > 0 {
		after = k.log[n-1].Seq
	}
	more, err := w.fetchLog(ctx, seedKey{k.in.ReadKey()}, after, k.head)
	if err != nil {
		if k.head = 0; errors.Is(err, fault.Corrupt) {
			w.c.core.Net.Elsewhere(w.mailbox)
		}
		return err
	}
	if k.backsOut || k.denied > 0 { // a replica that lags must not hide a commit
		if n := len(more); n > 0 {
			after = more[n-1].Seq
		}
		res, err := w.strict(ctx, course{key: k.in.ReadKey(), cursor: after}, memberNamespaces[:1], 0)
		if err != nil {
			return err
		}
		more = append(more, res.Envelopes...)
	}
	if k.log = append(k.log, more...); uint64(len(k.log)) < k.in.HeadIndex {
		w.door = nil // what a node made up does not add up
		w.c.core.Net.Elsewhere(w.mailbox)
		return fault.New(fault.Unavailable, "join group", "the node has %d commits, want %d at least",
			len(k.log), k.in.HeadIndex)
	}
	return nil
}

// doorSlot is where a slot of the door may lie.
type doorSlot struct {
	at         groups.Locator
	generation uint32
}

// slots returns where the door's slots may lie, the newest first.
func (k *knock) slots() (out []doorSlot) {
	for _, e := range slices.Backward(k.log) {
		at, ok := k.ticket.Locator(e.Body)
		if !ok || slices.ContainsFunc(out, func(s doorSlot) bool { return s.at == at }) {
			continue
		}
		if c, err := envelope.DecodeCommit(e.Body); err == nil {
			out = append(out, doorSlot{at, c.Generation})
		}
	}
	return out
}

// nextDoorSlot takes the first of some slots that the nodes have; nil: none.
func (w *worker) nextDoorSlot(ctx context.Context, k *knock,
	from *[]doorSlot) (slot []byte, generation uint32, err error) {
	for slot == nil && err == nil && len(*from) > 0 {
		generation = (*from)[0].generation
		slot, err = w.fetchSlot(ctx, seedKey{k.in.ReadKey()}, (*from)[0].at)
		*from = (*from)[1:]
	}
	return slot, generation, err
}

// comeIn makes one attempt to come in. nil: look what is left to do.
func (w *worker) comeIn(ctx context.Context) error {
	k, err := w.newKnock(ctx)
	switch {
	case k != nil && (errors.Is(err, fault.NotFound) || errors.Is(err, fault.Denied)):
		return w.noDoor(k, err)
	case err != nil || k == nil:
		return err
	}
	left := k.slots()
	slot, generation, err := w.nextDoorSlot(ctx, k, &left)
	if err != nil {
		return err
	}
	var why error = fault.New(fault.Unavailable, "join group",
		"the newest keys of the group do not lie at this link")
	if newest, err := envelope.DecodeCommit(k.log[len(k.log)-1].Body); slot != nil && !k.backsOut &&
		err == nil && newest.Generation == generation {
		var p *groups.Proposal
		var write private.Key
		if p, write, why = k.shared.Join(cryptoRand, w.c.core.Net.Now(), w.c.core.Cluster.ID, k.ticket, k.in,
			k.credential, bodies(k.log), slot); why == nil {
			return w.storeJoin(ctx, k, p, write, slot)
		}
	}
	for slot != nil { // a commit of an earlier attempt may have gone in
		if s, err := k.shared.Enter(w.c.core.Net.Now(), w.c.core.Cluster.ID, k.ticket, k.in, bodies(k.log),
			slot); err == nil {
			return w.cameIn(s, k.log)
		}
		if slot, _, err = w.nextDoorSlot(ctx, k, &left); err != nil {
			return err
		}
	}
	return w.turnedAway(k, why)
}

// awaitDoor returns once a join that needs no admin was made, or an admin was asked all the same.
func (c *Groups) awaitDoor(ctx context.Context, id ident.GroupID) (out View, err error) {
	for {
		moved, changed := c.Moved.Watch(), c.core.Link.Changed.Watch()
		waits := false
		err := c.core.View(func(tx *store.Tx) error {
			g, err := c.get(tx, id)
			if err != nil {
				return err
			}
			out, waits = c.viewGroup(tx, g), Status(g.Status) == Waiting && !g.Asked
			return nil
		})
		switch {
		case err != nil:
			return out, err
		case !waits && out.Cause != "":
			return out, fault.New(fault.Denied, "join group", "%s", out.Cause)
		case !waits:
			return out, nil
		}
		if _, cause := c.core.Link.Get(); cause != nil {
			return out, cause
		}
		select {
		case <-moved:
		case <-changed:
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
}

// revoke tells the nodes to forget the capabilities of joins that do not count, as many as a request takes:
// whoever has a link can make many. Another admin may have been faster.
func (w *worker) revoke(ctx context.Context) error {
	var rows []int64
	var key private.Key
	admin := false
	r := &envelope.Request{Mailbox: w.mailbox, Mode: envelope.Each}
	err := w.c.core.View(func(tx *store.Tx) error {
		g, err := w.c.get(tx, w.id)
		if err != nil {
			return err
		}
		if admin = g.admin(); admin {
			key, _ = g.state.AdminKey()
		}
		for _, ch := range tx.GroupChanges(w.id) {
			if want, err := decodeWanted(ch.Want); err == nil && want.Revoke != 0 &&
				len(r.Ops) < envelope.MaxOps {
				rows, r.Ops = append(rows, ch.N), append(r.Ops, envelope.Revoke{Serial: want.Revoke})
			}
		}
		return nil
	})
	if err != nil {
		return core.Broken(err)
	}
	if admin && len(rows) > 0 {
		if err := w.each(ctx, r, seedKey{key}); err != nil {
			return err
		}
	}
	return w.c.core.Commit(func(tx *store.Tx, _ *core.Batch) error {
		for _, n := range rows {
			tx.DropGroupChange(n)
		}
		return tx.Err()
	})
}
