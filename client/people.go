package client

import (
	"context"

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

// Contact returns what is known of an account. Errors: NotFound (it is neither a contact nor did it write).
func (c *Client) Contact(ctx context.Context, id ident.AccountID) (out Contact, err error) {
	if err := account.CheckID(id); err != nil {
		return out, err
	}
	err = c.p.db.View(func(tx *store.Tx) error {
		out = c.contact(tx, id)
		known := len(tx.Peer(id).Chain) > 0 || tx.Peer(id).Name != ""
		for _, f := range []devicesync.Field{devicesync.ContactApproved, devicesync.ContactBlocked, devicesync.ContactNick} {
			_, ok := c.docs.Get(f, string(id[:]))
			known = known || ok
		}
		if rows, err := tx.Messages(store.Query{Conversation: id.String(), Limit: 1}); err != nil || !known && len(rows) == 0 {
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
	return fault.New(fault.NotFound, "find contact", "nothing is known of %s", short(id))
}

// SetNick gives an account a petname; "" takes it away. Errors: Invalid (the own account, or a petname that another
// contact has).
func (c *Client) SetNick(ctx context.Context, id ident.AccountID, nick string) error {
	if err := c.checkNick(id, nick); err != nil {
		return err
	}
	return c.changeContact("name contact", id, func(_ *store.Tx, now int64) error {
		return c.docs.Set(now, devicesync.ContactNick, string(id[:]), devicesync.Text(nick))
	})
}

// Block drops everything that an account sends from now on, on all devices, and keeps this one from writing to it.
func (c *Client) Block(ctx context.Context, id ident.AccountID, on bool) error {
	if id == c.me {
		return fault.New(fault.Invalid, "block", "that is this account")
	}
	return c.changeContact("block", id, func(_ *store.Tx, now int64) error {
		return c.docs.Set(now, devicesync.ContactBlocked, string(id[:]), devicesync.Bool(on))
	})
}

// RemoveContact forgets a contact and clears the conversation, on all devices: what they write next is a request. Who is
// blocked stays so.
func (c *Client) RemoveContact(ctx context.Context, id ident.AccountID) error {
	if id == c.me {
		return fault.New(fault.Invalid, "remove contact", "that is this account")
	}
	return c.changeContact("remove contact", id, func(tx *store.Tx, now int64) error {
		blocked := c.isBlocked(id)
		if err := c.clear(tx, id, now); err != nil {
			return err
		}
		for _, doc := range []devicesync.Doc{devicesync.Contacts, devicesync.Conversations} {
			if err := c.docs.Remove(now, doc, string(id[:])); err != nil {
				return err
			}
		}
		if blocked {
			if err := c.docs.Set(now, devicesync.ContactBlocked, string(id[:]), devicesync.Bool(true)); err != nil {
				return err
			}
		}
		p, err := c.person(tx, id)
		if err != nil {
			return err
		}
		p.Approved, p.Named = false, false
		c.savePerson(tx, p)
		return nil
	})
}

// changeContact is changeDocuments that tells that a contact changed.
func (c *Client) changeContact(op string, id ident.AccountID, f func(tx *store.Tx, now int64) error) error {
	if err := c.changeDocuments(op, id, f); err != nil {
		return err
	}
	c.bus.publish(Event{Kind: EventContact, At: c.net.Now(), Contact: &id})
	return nil
}

// Requests returns who wrote and is not approved (nor blocked), newest first.
func (c *Client) Requests(ctx context.Context) (out []Request, err error) {
	err = c.p.db.View(func(tx *store.Tx) error {
		for _, r := range tx.Conversations(c.readUpTo) {
			id, err := ident.ParseAccountID(r.ID)
			if err != nil || !r.Last.Request || c.isBlocked(id) {
				continue
			}
			rows, err := tx.Messages(store.Query{Conversation: r.ID})
			if err != nil {
				return err
			}
			out = append(out, Request{Contact: c.contact(tx, id), Messages: len(rows), Last: c.message(tx, r.Last)})
		}
		return tx.Err()
	})
	return out, err
}

// AcceptRequest approves somebody who wrote, on all devices, and lets them know. Errors: NotFound (there is no request).
func (c *Client) AcceptRequest(ctx context.Context, id ident.AccountID) (out Contact, err error) {
	err = c.changeContact("accept request", id, func(tx *store.Tx, now int64) error {
		p, err := c.requester(tx, id)
		if err != nil {
			return err
		}
		if _, err := c.approve(tx, &p, now); err != nil {
			return err
		}
		if err := c.tellAccepted(tx, &p, now); err != nil {
			return err
		}
		c.savePerson(tx, p)
		out = c.contact(tx, id)
		return nil
	})
	if err == nil {
		c.out.kick(id)
		c.records.wake() // messages that were kept unverified can be looked at now
	}
	return out, err
}

// DeclineRequest removes what somebody unknown wrote from all devices; they are not told. block: and drops what they
// send from now on. Errors: NotFound (there is no request).
func (c *Client) DeclineRequest(ctx context.Context, id ident.AccountID, block bool) error {
	return c.changeContact("decline request", id, func(tx *store.Tx, now int64) error {
		if _, err := c.requester(tx, id); err != nil {
			return err
		}
		if block {
			if err := c.docs.Set(now, devicesync.ContactBlocked, string(id[:]), devicesync.Bool(true)); err != nil {
				return err
			}
		}
		return c.clear(tx, id, now)
	})
}

// requester returns the person who has a request open.
func (c *Client) requester(tx *store.Tx, id ident.AccountID) (person, error) {
	rows, err := tx.Messages(store.Query{Conversation: id.String(), Newest: true, Limit: 1})
	if err != nil {
		return person{}, err
	}
	if len(rows) == 0 || !rows[0].Request {
		return person{}, fault.New(fault.NotFound, "find request", "none of %s is open", short(id))
	}
	return c.person(tx, id)
}
