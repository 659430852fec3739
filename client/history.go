package client

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync/history"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// A device that joins the account gets from its documents who the contacts are and how conversations are kept, but no
// message: those were sealed to keys that it never had. The device that let it in hands over its own store
// (history_send.go) through a one-time mailbox; the new one takes it in while it already works (history_receive.go).

// PurposeHistory is the purpose of circuits to the one-time mailboxes of histories.
const PurposeHistory = "history"

// history is what the two loops are woken by, and what those who watch wait for.
type histories struct {
	sendWoken, receiveWoken chan struct{}
	keep                    atomic.Bool   // new devices get no history unless they are named
	moved                   broadcast     // one of them moved on
	chunks                  atomic.Uint64 // that were stored or taken in
}

func (h *histories) init() {
	h.sendWoken, h.receiveWoken = make(chan struct{}, 1), make(chan struct{}, 1)
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// HistoryTransfer is a history on its way between two devices of the account, or one that has arrived.
type HistoryTransfer struct {
	Device   ident.DeviceID // the other one
	Outgoing bool
	Messages int // that are stored, or taken in
	Total    int
	Done     bool
	MadeAt   time.Time
}

// KeepHistory says that devices which this one lets in get no history from it on their own; SendHistory still works. It
// holds until the client is closed.
func (c *Client) KeepHistory(keep bool) { c.histories.keep.Store(keep) }

// Histories returns the histories that are on their way from or to this device, and those that have arrived.
func (c *Client) Histories(ctx context.Context) (out []HistoryTransfer, err error) {
	err = c.p.db.View(func(tx *store.Tx) error {
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

func outTransfer(m *history.Manifest, h *store.HistoryOut) HistoryTransfer {
	return HistoryTransfer{Device: m.To, Outgoing: true, Messages: h.Messages, Total: int(m.Messages), Done: h.Stage == store.HistoryDone, MadeAt: fromMS(m.MadeAt)}
}

func inTransfer(m *history.Manifest, h *store.HistoryIn) HistoryTransfer {
	return HistoryTransfer{Device: m.From, Messages: h.Messages, Total: int(m.Messages), Done: h.Stage >= stageTaken, MadeAt: fromMS(m.MadeAt)}
}

// WaitHistory returns once every history that is known now, in the given direction, has arrived. It needs Run; progress
// comes as events of kind EventHistory.
func (c *Client) WaitHistory(ctx context.Context, outgoing bool) error {
	for {
		moved := c.histories.moved.watch()
		all, err := c.Histories(ctx)
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

// historyLoop runs jobs of one direction until ctx ends: next returns what is to be done, nil for nothing. An error of the
// store ends it; anything else is tried again.
func (c *Client) historyLoop(ctx context.Context, woken <-chan struct{}, next func() (job func(context.Context) error, err error)) error {
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
		before := c.histories.chunks.Load()
		err = job(ctx)
		var broken *storeError
		if errors.As(err, &broken) {
			return broken.cause
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			delay = 0
			continue
		}
		c.log.Debug("history waits", "error", err)
		if c.histories.chunks.Load() != before {
			delay = 0
		}
		delay = nextDelay(delay, nil) // what a full mailbox asks for is longer than its reader needs to empty it
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
func (c *Client) historyMoved(t HistoryTransfer) {
	c.bus.publish(Event{Kind: EventHistory, At: c.net.Now(), History: &t})
	c.histories.moved.fire()
}

// overAge reports whether what m names lies in no mailbox any more.
func (c *Client) overAge(m *history.Manifest) bool {
	return c.nowMS()-m.MadeAt > history.TTL*1000
}

// otherDevice returns another active device of the account.
func (c *Client) otherDevice(op string, id ident.DeviceID) (d account.Device, err error) {
	if id == c.keys.device() {
		return d, fault.New(fault.Invalid, op, "that is this device")
	}
	found := false
	c.keys.read(func(s *account.State) { d, found = findDevice(s, id) })
	if !found {
		return d, fault.New(fault.NotFound, op, "no device %s is in the account", id)
	}
	return d, nil
}

// noteHistoryLost remembers that the device came by the phrase alone, for tellRecovered.
func (c *Client) noteHistoryLost() error {
	return c.p.db.Update(func(tx *store.Tx) error {
		tx.SetNumber("tell_recovered", 1)
		return nil
	})
}

// tellRecovered says once, plainly, what a device that came by the phrase alone cannot have.
func (c *Client) tellRecovered() error {
	var tell bool
	err := c.p.db.UpdateLazy(func(tx *store.Tx) error {
		if tell = tx.Number("tell_recovered") == 1; tell {
			tx.SetNumber("tell_recovered", 0)
		}
		return nil
	})
	if tell {
		c.bus.publish(Event{Kind: EventNotice, At: c.net.Now(), Text: "this account was recovered with its phrase: contacts and settings are here; messages from before" +
			" are not and cannot be fetched, because only the devices of then could read them"})
	}
	return err
}
