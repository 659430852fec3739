package client

import (
	"context"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
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

// Safety returns what to compare with the account's owner. Errors: NotFound (there is no such account, or
// nothing is known of it yet and it cannot be looked up), Invalid (the own account), Unavailable.
func (h ContactHandle) Safety(ctx context.Context) (Safety, error) {
	c, id := h.c, h.id
	if id == c.core.Me {
		return Safety{}, fault.New(fault.Invalid, "verify contact", "that is this account")
	}
	if err := account.CheckID(id); err != nil {
		return Safety{}, err
	}
	if err := c.people.Fetch(ctx, id, 0); err != nil {
		// What is pinned serves as well.
		if p, lerr := c.people.Lookup(id); lerr != nil || p.Certs == nil {
			return Safety{}, err
		}
	}
	out := Safety{Number: account.SafetyNumber(c.core.Me, id)}
	c.core.Keys.Read(func(s *account.State) {
		if chain, ok := s.Chain(); ok {
			out.Mine = account.ChainNumber(c.core.Me, id, ownHead(s, chain))
		}
	})
	err := c.core.View(func(tx *store.Tx) error {
		p, err := c.people.Get(tx, id)
		if err != nil {
			return err
		}
		first := p.Certs.Certs()[0]
		out.Theirs = account.ChainNumber(c.core.Me, id, p.Certs.Head())
		out.Since, out.Recovered = core.FromMS(first.Created), first.Kind == account.CertRecover
		contact := c.contact(tx, id)
		out.Verified, out.Contested = contact.Verified, contact.Contested
		return nil
	})
	return out, err
}

// ownHead is the certificate of the generation that this device takes part in: a device that a recovery left
// out stands for the chain before it.
func ownHead(s *account.State, chain *account.Chain) *account.Cert {
	if cert, ok := s.Cert(); ok {
		return cert
	}
	return chain.Head()
}

// Verify marks the account as verified: a person has compared the numbers. With given it compares them itself
// (digits, spaces do not matter); "" trusts the person. Errors: Denied (given is another number), those of
// Safety.
func (h ContactHandle) Verify(ctx context.Context, given string) (Contact, error) {
	s, err := h.Safety(ctx)
	if err != nil {
		return Contact{}, err
	}
	want := s.Number
	if s.Contested {
		want = s.Theirs
	}
	if given != "" && onlyDigits(given) != onlyDigits(want) {
		return Contact{}, fault.New(fault.Denied, "verify contact",
			"the numbers differ: this is not the account that the other side shows")
	}
	return h.setVerified(ctx, h.c.core.NowMS())
}

// Unverify takes the mark back.
func (h ContactHandle) Unverify(ctx context.Context) (Contact, error) { return h.setVerified(ctx, 0) }

func (h ContactHandle) setVerified(ctx context.Context, at int64) (out Contact, err error) {
	if err := ctx.Err(); err != nil {
		return out, err
	}
	c, id := h.c, h.id
	err = c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		p, err := c.people.Get(tx, id)
		if err != nil {
			return err
		}
		if at != 0 {
			if _, err := c.people.Approve(tx, &p, at); err != nil {
				return err
			}
			c.people.Save(tx, p)
			at = max(at, p.ContestedAt+1) // whatever the clocks say, this came after what it answers
		}
		if err := c.core.Docs.Set(a.Now.UnixMilli(), devicesync.ContactVerified, string(id[:]),
			devicesync.Uint(uint64(at))); err != nil {
			return err
		}
		out = c.contact(tx, id)
		a.Tell(core.Fact{Kind: core.FactContact, Contact: &id, Text: "verified"})
		a.Kick(c.core.Me, id) // what waited for this may go now
		return c.core.SaveDocuments(tx)
	})
	return out, err
}

func onlyDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}
