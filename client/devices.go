package client

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Devices is the account's device list as this device knows it.
type Devices struct {
	Devices []Device
	Pending []PendingLink
	Events  []DeviceEvent
}

// Device is one device of the account.
type Device struct {
	ID       ident.DeviceID
	Label    string
	This     bool
	AddedAt  time.Time
	LastSeen time.Time // coarse: the day
	Status   string    // "active" or "revoked" ("suspended" is for later versions)
}

// PendingLink is a device that has the phrase and asks to be let in. Code is what its screen shows; a person
// must type it, so lists for people hide it.
type PendingLink struct {
	ID      ident.DeviceID
	Code    string
	Label   string
	AskedAt time.Time
}

// DeviceEvent is a change of the account's device list.
type DeviceEvent struct {
	Kind   string // "linked", "recovered", "contested", "revoked"
	Device ident.DeviceID
	At     time.Time
	By     *ident.DeviceID // the device that made it; nil if the phrase did, or if it is not known
}

// linkLife is how long a request to join is shown: its envelope lives no longer either.
const linkLife = people.InboxTTL * time.Second

// Devices returns the device list, requests to join and what happened. It needs no network; SyncToHeads first
// makes it current.
func (c *Client) Devices(ctx context.Context) (Devices, error) {
	if err := ctx.Err(); err != nil {
		return Devices{}, err
	}
	var out Devices
	me := c.core.Keys.Device()
	now := c.core.Net.Now()
	c.core.Keys.Read(func(s *account.State) {
		for _, d := range s.Devices() {
			status := "active"
			switch {
			case d.ID == me && s.Revoked():
				status = "revoked"
			case d.ID == me:
				d.LastSeen = account.Day(now)
			}
			out.Devices = append(out.Devices, Device{ID: d.ID, Label: d.Label, This: d.ID == me,
				AddedAt:  core.FromMS(d.AddedAt),
				LastSeen: time.Unix(int64(d.LastSeen)*86_400, 0), Status: status})
		}
		for _, t := range s.Tombstones() {
			out.Devices = append(out.Devices, Device{ID: t.ID, This: t.ID == me, LastSeen: core.FromMS(t.At),
				Status: "revoked"})
		}
	})
	err := c.core.View(func(tx *store.Tx) error {
		for _, l := range c.pendingLinks(tx) {
			out.Pending = append(out.Pending, pendingLink(l))
		}
		for _, e := range tx.DeviceEvents() {
			out.Events = append(out.Events, deviceEvent(e))
		}
		return nil
	})
	return out, err
}

// pendingLinks returns the requests that can still be granted.
func (c *Client) pendingLinks(tx *store.Tx) (out []store.Link) {
	oldest := c.core.Net.Now().Add(-linkLife).UnixMilli()
	for _, l := range tx.Links() {
		if l.AskedAt >= oldest {
			out = append(out, l)
		}
	}
	return out
}

func pendingLink(l store.Link) PendingLink {
	return PendingLink{ID: l.Device, Code: l.Code, Label: l.Label, AskedAt: core.FromMS(l.AskedAt)}
}

func deviceEvent(e store.DeviceEvent) DeviceEvent {
	return DeviceEvent{Kind: e.Kind, Device: e.Device, At: core.FromMS(e.At), By: e.By}
}

// recordDevices brings the recorded history of the device list in step with the device group: what the group
// says is the truth, so a process that died between the two makes up for it here. by is the adoption that
// just changed it, if one did: it says who let a device in.
func (c *Client) recordDevices(tx *store.Tx, a *core.Batch, by *account.Adoption) {
	var devices []account.Device
	var tombs []account.Tombstone
	c.core.Keys.Read(func(s *account.State) { devices, tombs = s.Devices(), s.Tombstones() })
	known := map[ident.DeviceID]bool{}
	for _, e := range tx.DeviceEvents() {
		known[e.Device] = known[e.Device] || e.Kind == "linked"
	}
	for _, d := range devices {
		tx.DropLink(d.ID)
		if known[d.ID] {
			continue
		}
		e := store.DeviceEvent{Kind: "linked", Device: d.ID, At: d.AddedAt}
		if by != nil && by.By != d.ID && slices.ContainsFunc(by.Added,
			func(a account.Device) bool { return a.ID == d.ID }) {
			e.By = &by.By
		}
		core.NoteDevice(tx, a, e)
	}
	for _, t := range tombs {
		tx.DropLink(t.ID)
		who := t.By
		e := store.DeviceEvent{Kind: "revoked", Device: t.ID, At: t.At}
		if who != (ident.DeviceID{}) {
			e.By = &who
		}
		if !core.NoteDevice(tx, a, e) {
			continue
		}
		if me := c.core.Keys.Device(); t.ID != me {
			c.groups.ShutOut(tx, t.By == me || by != nil && by.By == me)
		}
	}
}

// askToLink keeps a request to join, unless the device is or was part of the account.
func (c *Client) askToLink(tx *store.Tx, a *core.Batch, l *account.LinkRequest) {
	known := false
	c.core.Keys.Read(func(s *account.State) {
		for _, d := range s.Devices() {
			known = known || d.ID == l.Device
		}
		for _, t := range s.Tombstones() {
			known = known || t.ID == l.Device
		}
	})
	if known {
		return
	}
	row := store.Link{Device: l.Device, Code: l.Code, Label: l.Label, AskedAt: l.AskedAt, Request: l.Bytes()}
	tx.AddLink(row)
	a.Tell(core.Fact{Kind: core.FactLink, Link: &row})
}

// Approve lets in the device whose screen shows code: one atomic batch makes a generation with it. Another
// device that acts at the same time wins or loses the compare-and-set; the loser reads again and goes on. It
// needs Run.
//
// Errors: Invalid (no code), NotFound (no pending request has it), Denied (this device was revoked),
// Unavailable.
func (c *Client) Approve(ctx context.Context, code string) (Device, error) {
	code, err := account.ParseCode(code)
	if err != nil {
		return Device{}, err
	}
	if err := c.SyncToHeads(ctx); err != nil {
		return Device{}, err
	}
	req, err := c.findLink(code)
	if err != nil {
		return Device{}, err
	}
	// The new device begins with what is in the mailbox: what this one has not shared yet goes first.
	if err := c.shareDocuments(ctx); err != nil {
		return Device{}, err
	}
	if err := c.rotate(ctx, account.Rotation{Add: []*account.LinkRequest{req}}, func(s *account.State) bool {
		_, in := core.FindDevice(s, req.Device)
		return in
	}); err != nil {
		return Device{}, err
	}
	var d account.Device
	c.core.Keys.Read(func(s *account.State) { d, _ = core.FindDevice(s, req.Device) })
	return Device{ID: req.Device, Label: d.Label, AddedAt: core.FromMS(d.AddedAt),
		LastSeen: time.Unix(int64(d.LastSeen)*86_400, 0), Status: "active"}, nil
}

// supply gives devices that were let in what they need besides: the keys of groups, and the history.
func (c *Client) supply(ctx context.Context, r account.Rotation) {
	var added []ident.DeviceID
	for _, l := range r.Add {
		added = append(added, l.Device)
	}
	for _, o := range r.Invite {
		added = append(added, o.Device)
	}
	if len(added) == 0 {
		return
	}
	if err := c.groups.HandOver(); err != nil {
		c.core.Log.Error("groups not handed over", "error", err)
	}
	c.histories.HandOver(ctx, added)
}

func (c *Client) findLink(code string) (req *account.LinkRequest, err error) {
	err = c.core.View(func(tx *store.Tx) error {
		for _, l := range c.pendingLinks(tx) {
			if l.Code == code {
				var err error
				req, err = account.DecodeLinkRequest(c.core.Me, l.Request)
				return err
			}
		}
		return fault.New(fault.NotFound, "approve device", "no pending request has code %s", code)
	})
	return req, err
}

// rotate makes the next generation. done reports, after a lost race, that another device did what was to be
// done.
func (c *Client) rotate(ctx context.Context, r account.Rotation, done func(*account.State) bool) error {
	for range 8 {
		change, err := c.tryRotate(ctx, r)
		if err == nil {
			c.supply(ctx, r)
		}
		if err == nil || !core.Superseded(err) && !errors.Is(err, fault.Exists) {
			return err
		}
		if change == nil && errors.Is(err, fault.Denied) {
			return err
		}
		if err := c.core.CatchUpOwn(ctx, core.HeadOf(err)); err != nil {
			return err
		}
		finished := false
		c.core.Keys.Read(func(s *account.State) { finished = done(s) })
		if finished {
			return nil
		}
		if errors.Is(err, fault.Exists) {
			return err // it was in the account and is no more
		}
	}
	return fault.New(fault.Unavailable, "change devices", "other devices keep changing them: try again")
}

// tryRotate makes one attempt. The change is nil if it was not even sent.
func (c *Client) tryRotate(ctx context.Context, r account.Rotation) (*account.Change, error) {
	var change *account.Change
	var err error
	key, err := c.core.Keys.Authority()
	if err != nil {
		return nil, err
	}
	c.core.Keys.Read(func(s *account.State) {
		change, err = s.Rotate(rand.Reader, r, c.core.Net.Now())
	})
	if err != nil {
		return nil, err
	}
	resp, _, err := c.core.Request(ctx, core.PurposeInbox, change.Request, key)
	if err != nil {
		return change, err
	}
	return change, c.core.TakePart(change, resp)
}
