package client

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync/phrase"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// ResolveDevice finds a device of the account by its ID, the beginning of it, or its label. Errors: NotFound,
// Invalid (several match).
func (c *Client) ResolveDevice(ctx context.Context, s string) (Device, error) {
	ds, err := c.Devices(ctx)
	if err != nil {
		return Device{}, err
	}
	var exact, prefixed []Device
	for _, d := range ds.Devices {
		if d.Status != "active" {
			continue
		}
		if d.ID.String() == strings.ToLower(s) || strings.EqualFold(d.Label, s) {
			exact = append(exact, d)
		} else if len(s) >= 4 && strings.HasPrefix(d.ID.String(), strings.ToLower(s)) {
			prefixed = append(prefixed, d)
		}
	}
	for _, found := range [][]Device{exact, prefixed} {
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return Device{}, fault.New(fault.Invalid, "find device", "%q fits %d devices: use the ID", s,
				len(found))
		}
	}
	return Device{}, fault.New(fault.NotFound, "find device", "no device of the account is called %q", s)
}

// DeviceHandle is one device of the account to act on.
type DeviceHandle struct {
	c  *Client
	id ident.DeviceID
}

// Device returns the handle of a device, known or not.
func (c *Client) Device(id ident.DeviceID) DeviceHandle { return DeviceHandle{c, id} }

// SendHistory hands everything that this device has to the device, in the background: it needs Run. A history
// that is on its way to it goes on. Errors: Invalid (this device), NotFound (no such device), Denied (this
// device was revoked).
func (h DeviceHandle) SendHistory(ctx context.Context) error { return h.c.histories.Send(ctx, h.id) }

// Rename gives the device another label, on all devices. It needs Run. Errors: Invalid (an empty or
// too long label), NotFound, Denied (this device was revoked), Unavailable.
func (h DeviceHandle) Rename(ctx context.Context, label string) (Device, error) {
	c, id := h.c, h.id
	label = strings.TrimSpace(label)
	if label == "" || len(label) > account.MaxLabel || !utf8.ValidString(label) {
		return Device{}, fault.New(fault.Invalid, "rename device", "label of %d bytes, want 1 to %d of UTF-8",
			len(label), account.MaxLabel)
	}
	if err := c.SyncToHeads(ctx); err != nil {
		return Device{}, err
	}
	err := c.rotate(ctx, account.Rotation{Rename: map[ident.DeviceID]string{id: label}},
		func(s *account.State) bool {
			d, ok := core.FindDevice(s, id)
			return ok && d.Label == label
		})
	if err != nil {
		return Device{}, err
	}
	return c.deviceNow(id), nil
}

// Revoke makes a generation without the device, and gives the documents a new data key: from then on it can
// neither fetch nor open anything new. Contacts notice nothing. It needs Run.
//
// Errors: Invalid (this device itself), NotFound (no such device), Denied (this device was revoked itself),
// Unavailable.
func (h DeviceHandle) Revoke(ctx context.Context) error {
	c, id := h.c, h.id
	if err := c.SyncToHeads(ctx); err != nil {
		return err
	}
	return c.rotate(ctx, account.Rotation{Remove: []ident.DeviceID{id}}, func(s *account.State) bool {
		_, in := core.FindDevice(s, id)
		return !in
	})
}

// Expel revokes the device that was lost or stolen with the recovery phrase, which outranks whoever holds the
// account's keys. If the thief was faster and this device is out, it recovers the account for this device
// alone. Contacts see it as a recovery. It needs Run; after it the client of a device that was out has to be
// opened again.
//
// Errors: Invalid (a mistyped phrase, or this device itself), Denied (the phrase of another account),
// NotFound (no such device), Unavailable.
func (h DeviceHandle) Expel(ctx context.Context, words string) error {
	c, id := h.c, h.id
	root, err := c.rootOf(words)
	if err != nil {
		return err
	}
	defer root.Wipe()
	err = c.SyncToHeads(ctx)
	if _, _, revoked := c.core.Keys.Summary(); revoked {
		return c.recoverThis(ctx, root)
	}
	if err != nil {
		return err
	}
	for attempt := range 8 {
		err := c.tryExpel(ctx, root, id)
		if attempt > 0 && errors.Is(err, fault.NotFound) {
			return nil // another device removed it meanwhile
		}
		if err == nil || !core.Superseded(err) {
			return err
		}
		err = c.core.CatchUpOwn(ctx, core.HeadOf(err))
		if _, _, revoked := c.core.Keys.Summary(); revoked {
			return c.recoverThis(ctx, root)
		}
		if err != nil {
			return err
		}
	}
	return fault.New(fault.Unavailable, "change devices", "other devices keep changing them: try again")
}

// rootOf reads the phrase of this account.
func (c *Client) rootOf(words string) (*account.Root, error) {
	entropy, err := phrase.Decode(words)
	if err != nil {
		return nil, err
	}
	defer entropy.Wipe()
	root := account.NewRoot(entropy)
	if root.ID() != c.core.Me {
		root.Wipe()
		return nil, fault.New(fault.Denied, "read recovery phrase",
			"it is the phrase of another account than %s", core.Short(c.core.Me))
	}
	return root, nil
}

// tryExpel makes one attempt.
func (c *Client) tryExpel(ctx context.Context, root *account.Root, id ident.DeviceID) (err error) {
	var change *account.Change
	var key *account.MailboxKey
	c.core.Keys.Read(func(s *account.State) {
		change, key, err = s.Expel(rand.Reader, root, []ident.DeviceID{id}, c.core.Net.Now())
	})
	if err != nil {
		return err
	}
	if err := c.storeChange(ctx, change, key); err != nil {
		return err
	}
	return c.noteRecovery()
}

// noteRecovery records a recovery that this device made.
func (c *Client) noteRecovery() error {
	return c.core.NoteOwn([]account.Event{{Kind: account.EventRecovered, At: c.core.LastCertAt()}})
}

// storeChange stores a generation that the phrase signs, and takes part in it.
func (c *Client) storeChange(ctx context.Context, change *account.Change, key account.Signer) error {
	if put, ok := change.Request.Ops[0].(envelope.Store); ok {
		c.core.Admit(c.core.Mailbox, &put)
		change.Request.Ops[0] = put
	}
	resp, _, err := c.core.Request(ctx, core.PurposeInbox, change.Request, key)
	if err != nil {
		return err
	}
	return c.core.TakePart(change, resp)
}

// recoverThis recovers the account for this device, which others have removed from it.
func (c *Client) recoverThis(ctx context.Context, root *account.Root) error {
	if err := c.recover(ctx, root); err != nil {
		return err
	}
	if err := c.noteRecovery(); err != nil {
		return err
	}
	if err := c.loadShared(ctx, root); err != nil {
		return err
	}
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		c.recordDevices(tx, a, nil)
		return nil
	})
}
