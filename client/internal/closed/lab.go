package closed

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
)

// TB is what the tests' part of this package needs of testing.TB.
//
// The files lab*.go are for tests alone: what a device that lies, or was shut out, could do to a group, and
// what lies in the store behind the face. They are no test files, as the tests that use them play whole
// clients and lie in package client; nothing else may call them.
type TB interface {
	Helper()
	Fatal(args ...any)
	Context() context.Context
}

// GroupKeys returns how many rows of the store hold keys of a group.
func (c *Groups) GroupKeys(id ident.GroupID) (n int) {
	c.core.View(func(tx *store.Tx) error {
		if tx.GroupState(id) != nil {
			n++
		}
		for _, h := range tx.GroupHandovers() {
			if h.Group == id {
				n++
			}
		}
		n += len(tx.GroupLinks(id))
		if g, ok := tx.Group(id); ok && g.Keys != nil {
			n++
		}
		return nil
	})
	return n
}

// LeafNumber returns the number of the own account's leaf key in a group.
func (c *Groups) LeafNumber(id ident.GroupID) (n uint32) {
	c.core.View(func(tx *store.Tx) error {
		if g, err := c.get(tx, id); err == nil && g.state != nil {
			n = g.state.Member(c.core.Me).LeafNumber
		}
		return nil
	})
	return n
}

// GroupErrandDue returns how long it is until an errand is due; false: there is none.
func (c *Groups) GroupErrandDue(id ident.GroupID, kind string) (d time.Duration, ok bool) {
	c.core.View(func(tx *store.Tx) error {
		var e store.GroupErrand
		if e, ok = tx.GroupErrand(id, kind); ok {
			d = time.UnixMilli(e.Due).Sub(c.core.Net.Now())
		}
		return nil
	})
	return d, ok
}

// CheckForged checks a member with a signing key that its account did not vouch for, as a dishonest admin
// would have added it.
func (c *Groups) CheckForged(id ident.GroupID, account ident.AccountID) (err error) {
	c.core.View(func(tx *store.Tx) error {
		g, gerr := c.get(tx, id)
		if gerr != nil {
			err = gerr
			return nil
		}
		m := *g.state.Member(account)
		m.Sign[0] ^= 1
		m.Joined += 1_000 // of another stay
		err = c.checkGroupCredential(tx, id, &m)
		return nil
	})
	return err
}

// CheckNewcomer checks an account that asks to be let in with a credential that some generation of it made.
func (c *Groups) CheckNewcomer(id ident.GroupID, account ident.AccountID, sign [32]byte,
	credential []byte) (err error) {
	c.core.View(func(tx *store.Tx) error {
		err = c.checkGroupCredential(tx, id, &groups.Member{Account: account, Sign: sign,
			Credential: credential})
		return nil
	})
	return err
}

// Credential makes a credential of the own account.
func (c *Groups) Credential(id ident.GroupID, sign [32]byte) ([]byte, error) {
	return c.groupCredential(id, sign)
}

// LeafKeys returns how many leaf keys a handover has (docs/formats.md, section 11.6).
func (c *Groups) LeafKeys(id ident.GroupID) (n int) {
	c.core.View(func(tx *store.Tx) error {
		if g, err := c.get(tx, id); err == nil && g.state != nil {
			n = int(g.state.Handover()[1+33+33+32])
		}
		return nil
	})
	return n
}
