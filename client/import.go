package client

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// ImportedContact is one entry of an address book.
type ImportedContact struct {
	ID   ident.AccountID
	Nick string // may be empty
}

// ImportContacts approves everybody in an address book, all or nobody, on all devices. Unlike AddContact it looks nobody
// up; the first message to somebody does. Petnames that exist already are not looked for. Errors: NotFound (no account
// can have an ID), Invalid (the own account, a petname that is too long), Denied (this device was revoked).
func (c *Client) ImportContacts(ctx context.Context, book []ImportedContact) error {
	if _, _, revoked := c.keys.summary(); revoked {
		return errRevoked("import contacts")
	}
	for _, b := range book {
		if err := account.CheckID(b.ID); err != nil {
			return err
		}
		if b.ID == c.me || len(b.Nick) > maxName {
			return fault.New(fault.Invalid, "import contacts", "%s: that is this account, or its petname is longer than %d bytes", short(b.ID), maxName)
		}
	}
	events := make([]Event, 0, len(book))
	err := c.update(func(tx *store.Tx) error {
		ms, now := c.nowMS(), c.net.Now()
		for i := range book {
			b := &book[i]
			p, err := c.person(tx, b.ID)
			if err != nil {
				return err
			}
			if _, err := c.approve(tx, &p, ms); err != nil {
				return err
			}
			c.savePerson(tx, p)
			if b.Nick != "" {
				if err := c.docs.Set(ms, devicesync.ContactNick, string(b.ID[:]), devicesync.Text(b.Nick)); err != nil {
					return err
				}
			}
			events = append(events, Event{Kind: EventContact, At: now, Contact: &b.ID})
		}
		return c.saveDocuments(tx)
	})
	if err != nil {
		return err
	}
	c.out.kick(c.me)
	c.bus.publish(events...)
	return nil
}
