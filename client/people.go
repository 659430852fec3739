package client

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Request is somebody unknown who wrote.
type Request struct {
	Contact  Contact
	Messages int
	Last     Message
}

// Get returns what is known of the account. Errors: NotFound (it is neither a contact nor did it write).
func (h ContactHandle) Get(ctx context.Context) (out Contact, err error) {
	c, id := h.c, h.id
	if err := ctx.Err(); err != nil {
		return out, err
	}
	if err := account.CheckID(id); err != nil {
		return out, err
	}
	err = c.core.View(func(tx *store.Tx) error {
		out = c.contact(tx, id)
		known := len(tx.Peer(id).Chain) > 0 || tx.Peer(id).Name != ""
		for _, f := range []devicesync.Field{devicesync.ContactApproved, devicesync.ContactBlocked,
			devicesync.ContactNick} {
			_, ok := c.core.Docs.Get(f, string(id[:]))
			known = known || ok
		}
		if rows, err := tx.Messages(store.Query{Conversation: id.String(), Limit: 1}); err != nil ||
			!known && len(rows) == 0 {
			return orNotFound(err, id)
		}
		return nil
	})
	return out, err
}

func orNotFound(err error, id ident.AccountID) error {
	if err != nil {
		return err
	}
	return fault.New(fault.NotFound, "find contact", "nothing is known of %s", core.Short(id))
}

// ContactHandle is one account to act on. What is changed is the same on all devices. Errors of its methods,
// besides those that they name: NotFound (no account can have that ID), Denied (this device was revoked).
type ContactHandle struct {
	c  *Client
	id ident.AccountID
}

// Contact returns the handle of an account, known or not.
func (c *Client) Contact(id ident.AccountID) ContactHandle { return ContactHandle{c, id} }

// SetNick gives the account a petname; "" takes it away. Errors: Invalid (the own account, or a petname that
// another contact has).
func (h ContactHandle) SetNick(ctx context.Context, nick string) error {
	if err := h.c.checkNick(ctx, h.id, nick); err != nil {
		return err
	}
	return h.change(ctx, "name contact", func(_ *store.Tx, _ *core.Batch, now int64) error {
		return h.c.core.Docs.Set(now, devicesync.ContactNick, string(h.id[:]), devicesync.Text(nick))
	})
}

// Block drops everything that the account sends from now on, and keeps this account from writing to it.
// Errors: Invalid (the own account).
func (h ContactHandle) Block(ctx context.Context) error {
	return h.setBlocked(ctx, devicesync.Bool(true))
}

// Unblock takes Block back: what was sent meanwhile is gone. Errors: Invalid (the own account).
func (h ContactHandle) Unblock(ctx context.Context) error {
	return h.setBlocked(ctx, devicesync.Bool(false))
}

func (h ContactHandle) setBlocked(ctx context.Context, value []byte) error {
	if h.id == h.c.core.Me {
		return fault.New(fault.Invalid, "block", "that is this account")
	}
	return h.change(ctx, "block", func(_ *store.Tx, _ *core.Batch, now int64) error {
		return h.c.core.Docs.Set(now, devicesync.ContactBlocked, string(h.id[:]), value)
	})
}

// Remove forgets the contact and clears the conversation: what they write next is a request. Who is blocked
// stays so. Errors: Invalid (the own account).
func (h ContactHandle) Remove(ctx context.Context) error {
	c, id := h.c, h.id
	if id == c.core.Me {
		return fault.New(fault.Invalid, "remove contact", "that is this account")
	}
	return h.change(ctx, "remove contact", func(tx *store.Tx, _ *core.Batch, now int64) error {
		blocked := c.people.Blocked(id)
		if err := c.clear(tx, id, now); err != nil {
			return err
		}
		for _, doc := range []devicesync.Doc{devicesync.Contacts, devicesync.Conversations} {
			if err := c.core.Docs.Remove(now, doc, string(id[:])); err != nil {
				return err
			}
		}
		if blocked {
			if err := c.core.Docs.Set(now, devicesync.ContactBlocked, string(id[:]),
				devicesync.Bool(true)); err != nil {
				return err
			}
		}
		p, err := c.people.Get(tx, id)
		if err != nil {
			return err
		}
		p.Approved, p.Named = false, false
		c.people.Save(tx, p)
		return nil
	})
}

// change is changeDocuments that tells that the contact changed.
func (h ContactHandle) change(ctx context.Context, op string, f func(tx *store.Tx, a *core.Batch,
	now int64) error) error {
	return h.c.changeDocuments(ctx, op, h.id, func(tx *store.Tx, a *core.Batch, now int64) error {
		if err := f(tx, a, now); err != nil {
			return err
		}
		a.Tell(core.Fact{Kind: core.FactContact, Contact: &h.id})
		return nil
	})
}

// Requests returns who wrote and is not approved (nor blocked), newest first.
func (c *Client) Requests(ctx context.Context) (out []Request, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = c.core.View(func(tx *store.Tx) error {
		for _, r := range tx.Conversations(c.rows.ReadUpTo) {
			id, err := ident.ParseAccountID(r.ID)
			if err != nil || !r.Last.Request || c.people.Blocked(id) {
				continue
			}
			rows, err := tx.Messages(store.Query{Conversation: r.ID})
			if err != nil {
				return err
			}
			out = append(out, Request{Contact: c.contact(tx, id), Messages: len(rows),
				Last: c.message(tx, r.Last)})
		}
		return tx.Err()
	})
	return out, err
}

// Accept approves an account that wrote, and lets them know. Errors: NotFound (there is no request).
func (h ContactHandle) Accept(ctx context.Context) (out Contact, err error) {
	c := h.c
	err = h.change(ctx, "accept request", func(tx *store.Tx, a *core.Batch, now int64) error {
		p, err := c.requester(tx, h.id)
		if err != nil {
			return err
		}
		if _, err := c.people.Approve(tx, &p, now); err != nil {
			return err
		}
		if err := c.tellAccepted(tx, &p, now); err != nil {
			return err
		}
		c.people.Save(tx, p)
		a.Kick(h.id)
		a.Then(c.records.wake) // messages that were kept unverified can be looked at now
		out = c.contact(tx, h.id)
		return nil
	})
	return out, err
}

// Decline removes what an unknown account wrote; they are not told. Errors: NotFound (there is no request).
func (h ContactHandle) Decline(ctx context.Context) error {
	return h.change(ctx, "decline request", func(tx *store.Tx, _ *core.Batch, now int64) error {
		return h.c.decline(tx, h.id, now)
	})
}

// DeclineAndBlock is Decline that also drops what they send from now on. Errors: NotFound (there is no
// request).
func (h ContactHandle) DeclineAndBlock(ctx context.Context) error {
	return h.change(ctx, "decline request", func(tx *store.Tx, _ *core.Batch, now int64) error {
		if err := h.c.decline(tx, h.id, now); err != nil {
			return err
		}
		return h.c.core.Docs.Set(now, devicesync.ContactBlocked, string(h.id[:]), devicesync.Bool(true))
	})
}

func (c *Client) decline(tx *store.Tx, id ident.AccountID, now int64) error {
	if _, err := c.requester(tx, id); err != nil {
		return err
	}
	return c.clear(tx, id, now)
}

// requester returns the person who has a request open.
func (c *Client) requester(tx *store.Tx, id ident.AccountID) (people.Person, error) {
	rows, err := tx.Messages(store.Query{Conversation: id.String(), Newest: true, Limit: 1})
	if err != nil {
		return people.Person{}, err
	}
	if len(rows) == 0 || !rows[0].Request {
		return people.Person{}, fault.New(fault.NotFound, "find request", "none of %s is open",
			core.Short(id))
	}
	return c.people.Get(tx, id)
}
