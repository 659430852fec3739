// Package histories hands the messages of an account over to a device that joins it.
//
// Such a device gets from the account's documents who the contacts are and how conversations are kept, but no
// message: those were sealed to keys that it never had. The device that let it in hands over its own store
// (send.go) through a one-time mailbox; the new one takes it in while it already works (receive.go).
// docs/formats.md, section 10, has the bytes.
//
// It owns the rows of histories on their way; both loops end with Run.
package histories

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/inbox"
	"github.com/starling-swarm/starling/client/internal/onetime"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync/history"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// PurposeHistory is the purpose of circuits to the one-time mailboxes of histories.
const PurposeHistory = "history"

// Histories sends and takes in the histories of devices.
type Histories struct {
	core   *core.Core
	people *people.People
	rows   *conv.Rows

	sendWoken, receiveWoken chan struct{}
	keep                    atomic.Bool    // devices that this one lets in get no history on their own
	moved                   core.Broadcast // one of them moved on
	chunks                  atomic.Uint64  // that were stored or taken in
}

// New makes Histories.
func New(c *core.Core, p *people.People, r *conv.Rows, in *inbox.Inbox) *Histories {
	h := &Histories{core: c, people: p, rows: r, sendWoken: make(chan struct{}, 1),
		receiveWoken: make(chan struct{}, 1)}
	in.OnCopy(account.CopyHistory, h.takeOffer)
	return h
}

// boxOf is the one-time mailbox of a history.
func boxOf(m *history.Manifest) onetime.Box {
	return onetime.Box{Mailbox: m.Mailbox(), Key: m.MailboxKey(), Authority: m.Authority(),
		Purpose: PurposeHistory, TTL: history.TTL}
}

// Direction says whose histories are meant.
type Direction bool

// The directions.
const (
	Incoming Direction = false // on their way to this device
	Outgoing Direction = true  // that this device sends
)

// Run sends and takes in what waits, one history of each direction at a time, until ctx ends or the local
// store fails.
func (c *Histories) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.loop(ctx, c.sendWoken, c.nextToSend) })
	g.Go(func() error { return c.loop(ctx, c.receiveWoken, c.nextToReceive) })
	return g.Wait()
}

// Keep says that devices which this one lets in get no history from it on their own; SendHistory still works.
// It holds until the client is closed.
func (c *Histories) Keep(keep bool) { c.keep.Store(keep) }

// List returns the histories that are on their way from or to this device, and those that have arrived.
func (c *Histories) List(ctx context.Context) (out []core.Transfer, err error) {
	err = c.core.View(func(tx *store.Tx) error {
		for _, h := range tx.HistoriesOut() {
			m, err := history.DecodeManifest(h.Manifest)
			if err != nil {
				return err
			}
			out = append(out, outTransfer(m, &h))
		}
		for _, h := range tx.HistoriesIn() {
			m, err := history.DecodeManifest(h.Manifest)
			if err != nil {
				return err
			}
			out = append(out, inTransfer(m, &h))
		}
		return nil
	})
	return out, err
}

func outTransfer(m *history.Manifest, h *store.HistoryOut) core.Transfer {
	return core.Transfer{Device: m.To, Outgoing: true, Messages: h.Messages, Total: int(m.Messages),
		Done: h.Stage == store.HistoryDone, MadeAt: core.FromMS(m.MadeAt)}
}

func inTransfer(m *history.Manifest, h *store.HistoryIn) core.Transfer {
	return core.Transfer{Device: m.From, Messages: h.Messages, Total: int(m.Messages),
		Done: h.Stage >= stageTaken, MadeAt: core.FromMS(m.MadeAt)}
}

// Wait returns once every history that is known now, in the given direction, has arrived. It needs Run;
// progress comes as events of kind EventHistory.
func (c *Histories) Wait(ctx context.Context, way Direction) error {
	outgoing := way == Outgoing
	for {
		moved := c.moved.Watch()
		all, err := c.List(ctx)
		if err != nil {
			return err
		}
		waiting := false
		for _, h := range all {
			waiting = waiting || h.Outgoing == outgoing && !h.Done
		}
		if !waiting {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loop runs jobs of one direction until ctx ends: next returns what is to be done, nil for nothing. An error
// of the store ends it; anything else is tried again.
func (c *Histories) loop(ctx context.Context, woken <-chan struct{},
	next func() (job func(context.Context) error, err error)) error {
	for delay := time.Duration(0); ; {
		job, err := next()
		if err != nil {
			return err
		}
		if job == nil {
			select {
			case <-woken:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		before := c.chunks.Load()
		err = job(ctx)
		var broken *core.StoreError
		if errors.As(err, &broken) {
			return broken.Cause
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			delay = 0
			continue
		}
		c.core.Log.Debug("history waits", "error", err)
		if c.chunks.Load() != before {
			delay = 0
		}
		// what a full mailbox asks for is longer than its reader needs to empty it
		delay = core.NextDelay(delay, nil)
		t := time.NewTimer(delay)
		select {
		case <-t.C:
		case <-woken:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// historyMoved tells how far a history has come.
func (c *Histories) historyMoved(t core.Transfer) {
	c.core.Announce(core.Fact{Kind: core.FactHistory, History: &t})
	c.moved.Fire()
}

// overAge reports whether what m names lies in no mailbox any more.
func (c *Histories) overAge(m *history.Manifest) bool {
	return c.core.NowMS()-m.MadeAt > history.TTL*1000
}

// otherDevice returns another active device of the account.
func (c *Histories) otherDevice(op string, id ident.DeviceID) (d account.Device, err error) {
	if id == c.core.Keys.Device() {
		return d, fault.New(fault.Invalid, op, "that is this device")
	}
	found := false
	c.core.Keys.Read(func(s *account.State) { d, found = core.FindDevice(s, id) })
	if !found {
		return d, fault.New(fault.NotFound, op, "no device %s is in the account", id)
	}
	return d, nil
}

// NoteLost remembers that the device came by the phrase alone, for TellRecovered.
func (c *Histories) NoteLost() error {
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		tx.SetNumber(store.MetaTellRecovered, 1)
		return nil
	})
}

// TellRecovered says once, plainly, what a device that came by the phrase alone cannot have.
func (c *Histories) TellRecovered() error {
	var tell bool
	err := c.core.UpdateLazy(func(tx *store.Tx, _ *core.Batch) error {
		if tell = tx.Number(store.MetaTellRecovered) == 1; tell {
			tx.SetNumber(store.MetaTellRecovered, 0)
		}
		return nil
	})
	if tell {
		c.core.Announce(core.Fact{Kind: core.FactNotice,
			Text: "this account was recovered with its phrase: contacts and settings are here; " +
				"messages from before are not and cannot be fetched, because only the devices of then " +
				"could read them"})
	}
	return err
}
