package client

import (
	"context"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Safety is what two people compare to know that nobody sits between them.
type Safety struct {
	Number    string    // 60 digits, the same on both sides, whatever devices come and go
	Verified  bool      // they were found equal
	Contested bool      // the peer's account is contested: Theirs is to be compared, not Number
	Theirs    string    // 30 digits of the peer's chain as it is known here
	Mine      string    // 30 digits of the own chain: what the peer's Theirs must be
	Since     time.Time // the peer's account was made or recovered then
	Recovered bool      // Since is a recovery
}

// Safety returns what to compare with a peer. Errors: NotFound (there is no such account, or nothing is known of it
// yet and it cannot be looked up), Invalid (the own account), Unavailable.
func (c *Client) Safety(ctx context.Context, id ident.AccountID) (Safety, error) {
	if id == c.me {
		return Safety{}, fault.New(fault.Invalid, "verify contact", "that is this account")
	}
	if err := account.CheckID(id); err != nil {
		return Safety{}, err
	}
	if err := c.fetchPerson(ctx, id, 0); err != nil {
		// What is pinned serves as well.
		if p, lerr := c.lookup(id); lerr != nil || p.chain == nil {
			return Safety{}, err
		}
	}
	out := Safety{Number: account.SafetyNumber(c.me, id)}
	c.keys.read(func(s *account.State) {
		if chain, ok := s.Chain(); ok {
			out.Mine = account.ChainNumber(c.me, id, ownHead(s, chain))
		}
	})
	err := c.p.db.View(func(tx *store.Tx) error {
		p, err := c.person(tx, id)
		if err != nil {
			return err
		}
		first := p.chain.Certs()[0]
		out.Theirs = account.ChainNumber(c.me, id, p.chain.Head())
		out.Since, out.Recovered = fromMS(first.Created), first.Kind == account.CertRecover
		contact := c.contact(tx, id)
		out.Verified, out.Contested = contact.Verified, contact.Contested
		return nil
	})
	return out, err
}

// ownHead is the certificate of the generation that this device takes part in: a device that a recovery left out stands
// for the chain before it.
func ownHead(s *account.State, chain *account.Chain) *account.Cert {
	if cert, ok := s.Cert(); ok {
		return cert
	}
	return chain.Head()
}

// VerifyContact marks a peer as verified, on all devices: a person has compared the numbers. With given it compares
// them itself (digits, spaces do not matter); "" trusts the person. Errors: Denied (given is another number), those of
// Safety.
func (c *Client) VerifyContact(ctx context.Context, id ident.AccountID, given string) (Contact, error) {
	s, err := c.Safety(ctx, id)
	if err != nil {
		return Contact{}, err
	}
	want := s.Number
	if s.Contested {
		want = s.Theirs
	}
	if given != "" && onlyDigits(given) != onlyDigits(want) {
		return Contact{}, fault.New(fault.Denied, "verify contact", "the numbers differ: this is not the account that the other side shows")
	}
	return c.setVerified(id, c.nowMS())
}

// UnverifyContact takes the mark back.
func (c *Client) UnverifyContact(id ident.AccountID) (Contact, error) { return c.setVerified(id, 0) }

func (c *Client) setVerified(id ident.AccountID, at int64) (out Contact, err error) {
	err = c.update(func(tx *store.Tx) error {
		p, err := c.person(tx, id)
		if err != nil {
			return err
		}
		if at != 0 {
			if _, err := c.approve(tx, &p, at); err != nil {
				return err
			}
			c.savePerson(tx, p)
			at = max(at, p.ContestedAt+1) // whatever the clocks say, this came after what it answers
		}
		if err := c.docs.Set(c.nowMS(), devicesync.ContactVerified, string(id[:]), devicesync.Uint(uint64(at))); err != nil {
			return err
		}
		out = c.contact(tx, id)
		return c.saveDocuments(tx)
	})
	if err != nil {
		return Contact{}, err
	}
	c.bus.publish(Event{Kind: EventContact, At: c.net.Now(), Contact: &id, Text: "verified"})
	c.out.kick(c.me)
	c.out.kick(id) // what waited for this may go now
	return out, nil
}

func onlyDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}
