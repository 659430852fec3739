package closed

import (
	"context"
	"errors"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// takeMessages takes in messages and notices between two commits, in one transaction. A message whose sender
// has another log than this device, or a longer one, stops it: the nodes give commits before what was written
// after them, so something is wrong.
func (w *worker) takeMessages(ctx context.Context, batch []envelope.Envelope) error {
	for checked := uint64(0); len(batch) > 0; {
		n, odd := 0, (*groups.Message)(nil)
		err := w.c.core.Commit(func(tx *store.Tx, a *core.Batch) (err error) {
			n, odd, err = w.c.takeGroupMail(tx, a, w, batch, checked)
			return err
		})
		if err != nil {
			return err
		}
		w.c.Moved.Fire()
		if batch = batch[n:]; len(batch) == 0 {
			break
		}
		explained, err := w.lookInto(ctx, batch[0], odd)
		if err != nil {
			return err
		}
		if !explained {
			checked = batch[0].Seq
		}
	}
	return nil
}

// takeGroupMail takes in envelopes until one names a commit that this device has not, or another than it has:
// that is odd, without a sender if its keys have not come. The one with the number checked is let pass.
func (c *Groups) takeGroupMail(tx *store.Tx, a *core.Batch, w *worker, batch []envelope.Envelope,
	checked uint64) (n int, odd *groups.Message, err error) {
	g, err := c.get(tx, w.id)
	if err != nil {
		return 0, nil, err
	}
	for ; n < len(batch); n++ {
		e := batch[n]
		if e.Seq <= g.Cursor {
			continue // a resumed subscription may repeat what was under way
		}
		if e.Namespace == envelope.GroupMail && g.state != nil && Status(g.Status) == Joined {
			m, err := g.state.Open(e.Body)
			switch {
			case errors.Is(err, fault.Stale) && e.Seq != checked: // its sender has another log
				return n, m, c.saveCursor(tx, a, g)
			case err != nil && groups.GenerationOf(e.Body) > g.state.Generation() && e.Seq != checked:
				return n, new(groups.Message), c.saveCursor(tx, a, g)
			case err != nil:
				c.core.Log.Debug("group message not opened", "error", err)
			case m.Generation != g.state.Generation() && e.Seq > g.HeadSeq:
				// No node takes a message of a generation that is over: whoever was left out must not speak
				// through one that lies.
				c.core.Log.Debug("group message of a generation that is over")
			case m.Behind && e.Seq != checked:
				return n, m, c.saveCursor(tx, a, g)
			default:
				if err := c.groupMessage(tx, a, g, m, e); err != nil {
					return n, nil, err
				}
			}
		}
		g.Cursor = e.Seq
	}
	return n, nil, c.saveCursor(tx, a, g)
}

func (c *Groups) saveCursor(tx *store.Tx, a *core.Batch, g *group) error {
	c.save(tx, g)
	return tx.Err()
}

// strict reads what follows the cursor, most envelopes of it at most (0: as many as fit), from the swarm's
// leader.
func (w *worker) strict(ctx context.Context, p course, ns []envelope.Namespace,
	most uint16) (envelope.Result, error) {
	res, _, err := w.throughLeader(ctx, seedKey{p.key}, envelope.Retrieve{Namespaces: ns, After: p.cursor,
		MaxCount: most})
	return res, err
}

// throughLeader reads in the order of writes, and returns the head of the group's log at that point. The
// delete is refused, but as a write it goes through the swarm's log: a replica that lags, or leads no more,
// cannot answer.
func (w *worker) throughLeader(ctx context.Context, key account.Signer,
	read envelope.Op) (res envelope.Result, head uint64, err error) {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	r := &envelope.Request{Mailbox: w.mailbox, Mode: envelope.Each,
		Ops: []envelope.Op{envelope.DeleteBefore{Namespace: envelope.GroupNotice}, read}}
	resp, _, err := w.c.core.Request(ctx, core.PurposeInbox, r, key)
	if err != nil {
		return res, 0, err
	}
	if res = resp.Results[1]; res.Err != nil {
		return res, resp.CertsHead, res.Err
	}
	return res, resp.CertsHead, nil
}
