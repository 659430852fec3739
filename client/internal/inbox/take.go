package inbox

import (
	"crypto/rand"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// apply takes one opened envelope into the store. What cannot be opened or is malformed is dropped and
// counted: an error of this function is one of the store.
func (c *Inbox) apply(tx *store.Tx, a *core.Batch, o *opened) error {
	switch {
	case o.err != nil:
		c.unopened(tx, a, o)
		return tx.Err()
	case o.in != nil && o.in.Link != nil:
		c.table.link(tx, a, o.in.Link)
		return tx.Err()
	case o.in != nil:
		return c.incoming(tx, a, o)
	case o.doc != nil:
		return c.table.delta(tx, a, o.doc, o.env)
	}
	if take := c.table.copies[o.kind]; take != nil {
		return take(tx, a, o.copy, o.env.StoredAt)
	}
	return nil // of another version
}

// unopened counts what this device cannot read. Mail from before it joined is reported once; the rest is
// noise or forgery.
func (c *Inbox) unopened(tx *store.Tx, a *core.Batch, o *opened) {
	if errors.Is(o.err, fault.NotFound) && o.env.Namespace == envelope.Inbox {
		n := tx.Number(store.MetaUnopened) + 1
		tx.SetNumber(store.MetaUnopened, n)
		if n == 1 {
			a.Tell(core.Fact{Kind: core.FactNotice,
				Text: "a message could not be opened: it was sealed to a key that this device does not " +
					"have or has erased"})
		}
	}
	c.core.Log.Debug("envelope not opened", "namespace", int(o.env.Namespace), "error", o.err)
}

// incoming takes in a message of another account (or of the own one to itself).
func (c *Inbox) incoming(tx *store.Tx, a *core.Batch, o *opened) error {
	in := o.in
	p, err := c.people.Get(tx, in.Sender)
	if err != nil {
		return err
	}
	if in.Verified {
		if !tx.Seen(in.Sender, in.ID, a.Now.UnixMilli()) {
			return tx.Err()
		}
		c.people.LearnSender(tx, a, &p, in)
	}
	if c.people.Blocked(in.Sender) {
		return tx.Err()
	}
	body, ok := content.DecodeBody(in.Body)
	if !ok {
		return tx.Err()
	}
	m := &Mail{Incoming: in, From: p, Body: body, Envelope: o.env}
	if take := c.table.unverified[kindOf(body)]; take != nil {
		return take(tx, a, m)
	}
	if !in.Verified {
		tx.KeepUnverified(o.env.Seq, in.Sender, o.env.Encode())
		if body.GetText() == nil {
			return tx.Err() // nothing but a text is believed before its sender is known
		}
		return c.table.rest(tx, a, m)
	}
	c.people.LearnProfile(tx, a, &m.From, body.GetProfile())
	if take := c.table.mail[kindOf(body)]; take != nil {
		return take(tx, a, m)
	}
	return c.table.rest(tx, a, m)
}

// queueReceipts acknowledges what came from approved contacts, after a random delay: a node that hosts both
// mailboxes must not pair a message and its receipt by time.
func (c *Inbox) queueReceipts(tx *store.Tx, a *core.Batch) {
	for peer, ids := range a.Receipts {
		if peer == c.core.Me {
			continue
		}
		r := &bodyv1.Receipt{Kind: bodyv1.Receipt_KIND_DELIVERED, At: a.Now.UnixMilli()}
		for _, id := range ids {
			r.MessageIds = append(r.MessageIds, id[:])
		}
		body, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_Receipt{Receipt: r}})
		if err != nil {
			continue // only for invalid UTF-8, of which there is none
		}
		leg := store.Leg{Kind: store.LegReceipt, Peer: peer.Key(), SentAt: a.Now.UnixMilli(), Body: body,
			Due: a.Now.Add(core.Spread(c.core.Pace.ReceiptMin, c.core.Pace.ReceiptMax)).UnixMilli()}
		rand.Read(leg.Message[:])
		tx.AddLeg(&leg)
		a.Kick(peer)
	}
}
