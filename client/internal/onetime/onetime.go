// Package onetime is mailboxes that are made for one use: an invitation to link a device, what a group's link
// leads to, the history for a device that joins, a file. Nothing in the cluster ties one to an account; it
// expires by itself, and who used it empties it.
//
// A Box has two keys: one signs its genesis alone, so that its mailbox's ID tells nothing of the other, which
// signs everything after it. The package keeps no state. docs/formats.md, section 9, has the uses.
package onetime

import (
	"context"
	"errors"
	"math"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Box is one mailbox.
type Box struct {
	Mailbox   ident.MailboxID
	Key       account.Signer // signs the genesis; its public half is the mailbox
	Authority account.Signer // signs everything after it
	Purpose   string         // of the circuits to it
	TTL       uint32         // seconds that it and what is put into it last
}

// Key names what lies in a Box.
type Key = [envelope.KeySize]byte

// Open makes the mailbox. Doing so again, perhaps after an attempt that died, changes nothing but the time
// that it lasts. Errors: Limited (with retry-after), Unavailable, ctx's.
func (b Box) Open(ctx context.Context, c *core.Core) error {
	room := envelope.Store{Namespace: envelope.Days, TTL: b.TTL, Body: []byte{0}}
	c.Admit(b.Mailbox, &room)
	_, err := b.do(ctx, c, b.Key, room, envelope.SetAuthority{Change: envelope.Genesis,
		Key: b.Authority.Public()})
	return err
}

// Put stores a blob under a key, in the place of one that is there. Errors: NotFound (the mailbox is gone),
// Invalid (limits of envelope.Store), Limited (it is full, with retry-after), Unavailable, ctx's.
func (b Box) Put(ctx context.Context, c *core.Core, key Key, blob []byte) error {
	_, err := b.do(ctx, c, b.Authority, envelope.Store{Namespace: envelope.Blobs, Key: key,
		TTL: b.TTL, Body: blob})
	return err
}

// PutFirst is Put unless something lies under the key: then it fails with Stale.
func (b Box) PutFirst(ctx context.Context, c *core.Core, key Key, blob []byte) error {
	none := uint64(0)
	_, err := b.do(ctx, c, b.Authority, envelope.Store{Namespace: envelope.Blobs, Key: key, TTL: b.TTL,
		IfHead: &none, Body: blob})
	return err
}

// Get reads the blob under a key, as the swarm's leader has it: another replica than the one that took it may
// lag behind. Errors: NotFound (nothing is there), Denied, Unavailable, ctx's.
func (b Box) Get(ctx context.Context, c *core.Core, key Key) ([]byte, error) {
	// The delete removes nothing, but as a write it goes through the leader.
	resp, err := b.do(ctx, c, b.Authority, envelope.DeleteBefore{Namespace: envelope.Blobs},
		envelope.RetrieveKey{Namespace: envelope.Blobs, Key: key})
	if err != nil {
		return nil, err
	}
	if len(resp.Results[1].Envelopes) == 0 {
		return nil, fault.New(fault.NotFound, "read one-time mailbox", "nothing lies there")
	}
	return resp.Results[1].Envelopes[0].Body, nil
}

// Delete deletes blobs by their hashes. Errors: NotFound (the mailbox is gone), Unavailable, ctx's.
func (b Box) Delete(ctx context.Context, c *core.Core, hashes []envelope.Hash) error {
	_, err := b.do(ctx, c, b.Authority, envelope.Delete{Namespace: envelope.Blobs, Hashes: hashes})
	return err
}

// Empty deletes everything. A mailbox that is gone is empty. Errors: Unavailable, ctx's.
func (b Box) Empty(ctx context.Context, c *core.Core) error {
	_, err := b.do(ctx, c, b.Authority, envelope.DeleteBefore{Before: math.MaxInt64})
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// Subscribe hands over what is put there, from the cursor on, until ctx ends, the subscription does, or
// handle fails. Errors: as for core.Network.Subscribe, and handle's.
func (b Box) Subscribe(ctx context.Context, c *core.Core, cursor uint64,
	handle func(envelope.Envelope) error) error {
	sub := envelope.Subscribe{Mailbox: b.Mailbox, Authority: b.Authority.Public(),
		Namespaces: []envelope.Namespace{envelope.Blobs}, Cursor: cursor}
	return c.Net.Subscribe(ctx, b.Mailbox, sub.Encode, core.SignWith(b.Authority), handle)
}

func (b Box) do(ctx context.Context, c *core.Core, key account.Signer,
	ops ...envelope.Op) (*envelope.Response, error) {
	ctx, stop := context.WithTimeout(ctx, core.LegTimeout)
	defer stop()
	resp, _, err := c.Request(ctx, b.Purpose, &envelope.Request{Mailbox: b.Mailbox, Ops: ops}, key)
	return resp, err
}
