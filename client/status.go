package client

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/ident"
)

// SyncStatus is how far the documents that all devices share have come.
type SyncStatus struct {
	Documents []DocumentStatus
	Devices   []DeviceStatus
}

// DocumentStatus is one document on this device.
type DocumentStatus struct {
	Name     string
	Version  string // equal on devices that hold the same; "": nothing is there
	Pending  int    // changes that wait to be stored
	MergedAt time.Time
}

// DeviceStatus is how many changes a device has not taken in yet.
type DeviceStatus struct {
	ID     ident.DeviceID
	This   bool
	Behind int  // of the changes that no snapshot contains yet
	Known  bool // it said how far it is
}

// SyncStatus returns the state of the documents. It needs no network; SyncToHeads first makes it current.
func (c *Client) SyncStatus(ctx context.Context) (out SyncStatus, err error) {
	if err := ctx.Err(); err != nil {
		return out, err
	}
	var devices []account.Device
	c.core.Keys.Read(func(s *account.State) { devices = s.Devices() })
	me := c.core.Keys.Device()
	err = c.core.View(func(tx *store.Tx) error {
		for _, d := range devicesync.Docs {
			out.Documents = append(out.Documents, DocumentStatus{Name: d.String(),
				Version: c.core.Docs.Version(d), Pending: c.core.Docs.Pending(d),
				MergedAt: core.FromMS(int64(tx.Number(mergedKey(d))))})
		}
		for _, d := range devices {
			s := DeviceStatus{ID: d.ID, This: d.ID == me}
			if s.This {
				s.Known = true // what it has not taken in it does not know of
			} else if at := tx.Number(fetchedBy(d.ID)); at > 0 {
				s.Known, s.Behind = true, tx.CountDeltasSince(int64(at))
			}
			out.Devices = append(out.Devices, s)
		}
		return tx.Err()
	})
	return out, err
}

func mergedKey(d devicesync.Doc) string { return "merged_" + d.String() }

// Push returns once every change of the documents is stored. Errors: Unavailable as soon as the cluster
// proves to be out of reach, ctx's. It needs Run.
func (c *Client) Push(ctx context.Context) error {
	if err := c.core.WaitOnline(ctx); err != nil {
		return err
	}
	return c.shareDocuments(ctx)
}

// Flush returns once everything that is due has left: messages, changes of messages, documents, what is
// wanted of groups. Copies and receipts that wait for their time may stay. Errors: as Push.
func (c *Client) Flush(ctx context.Context) error {
	if err := c.core.WaitOnline(ctx); err != nil {
		return err
	}
	for {
		gone, moved, changed := c.out.Gone.Watch(), c.groups.Moved.Watch(), c.core.Link.Changed.Watch()
		busy := 0
		err := c.core.View(func(tx *store.Tx) error {
			busy = tx.CountLegs(c.core.NowMS()) + c.core.Docs.Dirty() + tx.CountGroupChanges()
			return nil
		})
		if err != nil || busy == 0 {
			return err
		}
		if _, cause := c.core.Link.Get(); cause != nil {
			return cause
		}
		select {
		case <-gone:
		case <-moved:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
