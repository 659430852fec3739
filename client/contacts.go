package client

import (
	"context"
	"sort"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client/internal/content"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Contact is somebody this account knows.
type Contact struct {
	ID       ident.AccountID
	Name     string // from their profile
	Nick     string // petname: what we call them
	Approved bool
	Blocked  bool
	Verified bool
	// Contested: one of the account's devices says that somebody else has recovered it; nothing is written to
	// it until it is verified again.
	Contested bool
	Events    []PeerEvent
}

// PeerEvent is something that happened to a contact's account and that the user should see.
type PeerEvent struct {
	Kind string // "recovered", "moved", "contested"
	At   time.Time
}

// linkPrefix begins a share link: the prefix and the account ID.
const linkPrefix = "starling:"

// LinkOf returns the share link of an account.
func LinkOf(id ident.AccountID) string { return linkPrefix + id.String() }

// Contacts returns the people this account knows, by name.
func (c *Client) Contacts(ctx context.Context) (out []Contact, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = c.core.View(func(tx *store.Tx) error {
		for _, subject := range c.core.Docs.Subjects(devicesync.Contacts) {
			if len(subject) != len(ident.AccountID{}) {
				continue
			}
			out = append(out, c.contact(tx, ident.AccountID([]byte(subject))))
		}
		return nil
	})
	sort.SliceStable(out, func(i, j int) bool { return out[i].label() < out[j].label() })
	return out, err
}

func (c Contact) label() string {
	for _, s := range []string{c.Nick, c.Name} {
		if s != "" {
			return strings.ToLower(s)
		}
	}
	return c.ID.String()
}

// contact joins what the contacts document and this device know of an account.
func (c *Client) contact(tx *store.Tx, id ident.AccountID) Contact {
	subject := string(id[:])
	text := func(f devicesync.Field) string {
		b, _ := c.core.Docs.Get(f, subject)
		return string(b)
	}
	is := func(f devicesync.Field) bool {
		b, ok := c.core.Docs.Get(f, subject)
		return ok && devicesync.IsTrue(b)
	}
	out := Contact{ID: id, Name: text(devicesync.ContactName), Nick: text(devicesync.ContactNick),
		Approved: is(devicesync.ContactApproved), Blocked: is(devicesync.ContactBlocked)}
	if b, ok := c.core.Docs.Get(devicesync.ContactVerified, subject); ok {
		out.Verified = devicesync.AsUint(b) != 0
	}
	p := tx.Peer(id)
	if p.Name != "" {
		out.Name = p.Name
	}
	out.Contested = c.people.Contested(&p)
	for _, e := range tx.PeerEvents(id) {
		out.Events = append(out.Events, PeerEvent{Kind: e.Kind, At: core.FromMS(e.At)})
	}
	return out
}

// AddContact approves an account and gives it a petname (which may be empty). With Run it checks that the
// account exists. Errors: NotFound (there is no such account), Invalid (the own account, or a petname that
// another contact has), Unavailable (the account could not be looked up; nothing was changed).
func (c *Client) AddContact(ctx context.Context, id ident.AccountID, nick string) (Contact, error) {
	if err := ctx.Err(); err != nil {
		return Contact{}, err
	}
	if err := c.checkNick(ctx, id, nick); err != nil {
		return Contact{}, err
	}
	if err := c.people.Fetch(ctx, id, 0); err != nil {
		return Contact{}, err
	}
	var out Contact
	err := c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		p, err := c.people.Get(tx, id)
		if err != nil {
			return err
		}
		ms := c.core.NowMS()
		if _, err := c.people.Approve(tx, &p, ms); err != nil {
			return err
		}
		c.people.Save(tx, p)
		if nick != "" {
			if err := c.core.Docs.Set(ms, devicesync.ContactNick, string(id[:]),
				devicesync.Text(nick)); err != nil {
				return err
			}
		}
		out = c.contact(tx, id)
		return c.core.SaveDocuments(tx)
	})
	if err != nil {
		return Contact{}, err
	}
	c.core.Announce(core.Fact{Kind: core.FactContact, Contact: &id})
	c.records.wake() // messages that were kept unverified can be looked at now
	return out, nil
}

func (c *Client) checkNick(ctx context.Context, id ident.AccountID, nick string) error {
	if err := account.CheckID(id); err != nil {
		return err
	}
	if id == c.core.Me {
		return fault.New(fault.Invalid, "add contact", "that is this account")
	}
	if len(nick) > content.MaxName {
		return fault.New(fault.Invalid, "add contact", "petname of %d bytes, want at most %d", len(nick),
			content.MaxName)
	}
	contacts, err := c.Contacts(ctx)
	if err != nil {
		return err
	}
	for _, o := range contacts {
		if nick != "" && o.ID != id && strings.EqualFold(o.Nick, nick) {
			return fault.New(fault.Invalid, "add contact", "%q is the petname of %s", nick, core.Short(o.ID))
		}
	}
	return nil
}

// ResolvePeer reads "me", a petname or a name or a unique prefix of one, an account ID or a share link.
// Errors: NotFound (nobody has it, or the ID is no account), Invalid (several match).
func (c *Client) ResolvePeer(ctx context.Context, s string) (ident.AccountID, error) {
	s = strings.TrimSpace(s)
	if s == "me" {
		return c.core.Me, nil
	}
	if id, ok, err := parsePeer(s); ok || err != nil {
		return id, err
	}
	contacts, err := c.Contacts(ctx)
	if err != nil {
		return ident.AccountID{}, err
	}
	found, err := pick(s, named(contacts), "contact")
	if err != nil {
		return ident.AccountID{}, err
	}
	return ident.AccountID(found.Key()), nil
}

// parsePeer reads an account ID or a share link. What looks like an ID but cannot be one is NotFound: no
// account has it.
func parsePeer(s string) (id ident.AccountID, ok bool, err error) {
	digits, link := strings.CutPrefix(s, linkPrefix)
	if !link && (len(s) != 2*len(id) || !strings.HasPrefix(s, "05")) {
		return id, false, nil
	}
	id, err = ident.ParseAccountID(strings.ToLower(digits))
	if err != nil {
		return id, false, fault.Wrap(fault.NotFound, "find peer", err)
	}
	return id, true, account.CheckID(id)
}
