package client

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/core"
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

// ImportContacts approves everybody in an address book, all or nobody, on all devices. Unlike AddContact it
// looks nobody up; the first message to somebody does. Petnames that exist already are not looked for.
// Errors: NotFound (no account can have an ID), Invalid (the own account, a petname that is too long), Denied
// (this device was revoked).
func (c *Client) ImportContacts(ctx context.Context, book []ImportedContact) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, _, revoked := c.core.Keys.Summary(); revoked {
		return core.ErrRevoked("import contacts")
	}
	for _, b := range book {
		if err := account.CheckID(b.ID); err != nil {
			return err
		}
		if b.ID == c.core.Me || len(b.Nick) > content.MaxName {
			return fault.New(fault.Invalid, "import contacts",
				"%s: that is this account, or its petname is longer than %d bytes", core.Short(b.ID),
				content.MaxName)
		}
	}
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		ms := a.Now.UnixMilli()
		for i := range book {
			b := &book[i]
			p, err := c.people.Get(tx, b.ID)
			if err != nil {
				return err
			}
			if _, err := c.people.Approve(tx, &p, ms); err != nil {
				return err
			}
			c.people.Save(tx, p)
			if b.Nick != "" {
				if err := c.core.Docs.Set(ms, devicesync.ContactNick, string(b.ID[:]),
					devicesync.Text(b.Nick)); err != nil {
					return err
				}
			}
			a.Tell(core.Fact{Kind: core.FactContact, Contact: &b.ID})
		}
		return c.core.SaveDocuments(tx)
	})
}
