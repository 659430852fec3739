package closed

import (
	"context"
	"errors"
	"sync"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// The credential of a member is the account's vouch for the signing key that the member has in the group. An
// admin checks it before it lets somebody in, against the newest certificates; the others check it when they
// have the certificates, which they read when the member's first message comes.

// vouchKey names one stay of a member.
type vouchKey struct {
	group   ident.GroupID
	account ident.AccountID
	joined  uint64
}

// vouches are credentials on their way to being checked. Only what was found is on disk: a message that stays
// marked as unverified asks for its sender again after a restart.
type vouches struct {
	mu     sync.Mutex
	wanted map[vouchKey]bool // whose certificates are to be read
	found  map[vouchKey]bool // what is to be written
}

func (v *vouches) init() {
	v.wanted, v.found = map[vouchKey]bool{}, map[vouchKey]bool{}
}

func (v *vouches) want(k vouchKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wanted[k] = true
}

func (v *vouches) note(k vouchKey, good bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found[k] = good
}

// take empties one of the maps.
func (v *vouches) take(m *map[vouchKey]bool) map[vouchKey]bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := *m
	*m = map[vouchKey]bool{}
	return out
}

// groupCredential makes the own account's credential for a signing key in a group.
func (c *Groups) groupCredential(id ident.GroupID, sign [32]byte) (credential []byte, err error) {
	c.core.Keys.Read(func(s *account.State) {
		credential,
			err = s.Vouch(groups.CredentialBytes(id, c.core.Me, sign))
	})
	return credential, err
}

// checkGroupCredential says whether the account of a member answers for its signing key: nil if so. For a
// member, what is found is remembered for its stay, and certificates that are missing are read in the
// background. For somebody who asks to be let in (Joined is 0) only the newest certificates count, since a
// device that was revoked holds the keys of older ones.
//
// Errors: Denied (it does not), NotFound (the certificates are not known, or not of late: People.Fetch reads
// them).
func (c *Groups) checkGroupCredential(tx *store.Tx, id ident.GroupID, m *groups.Member) error {
	if m.Joined == 0 {
		return c.checkNewcomer(tx, id, m)
	}
	k := vouchKey{id, m.Account, m.Joined}
	good, known := tx.GroupVouched(id, m.Account, m.Joined)
	if !known {
		chain, _, err := c.groupChain(tx, m.Account)
		if err != nil {
			return err
		}
		if good, known = vouched(chain, id, m); known {
			c.keeper.note(k, good)
			c.WakeKeeper()
		}
	}
	switch {
	case !known:
		c.keeper.want(k)
		c.WakeKeeper()
		return fault.New(fault.NotFound, "check member "+core.Short(m.Account),
			"its certificates are not known yet")
	case !good:
		return errForged(m.Account)
	}
	return nil
}

// checkNewcomer is checkGroupCredential for somebody who asks to be let in.
func (c *Groups) checkNewcomer(tx *store.Tx, id ident.GroupID, m *groups.Member) error {
	chain, current, err := c.groupChain(tx, m.Account)
	if err != nil {
		return err
	}
	if chain == nil || !current {
		return fault.New(fault.NotFound, "check member "+core.Short(m.Account),
			"its newest certificates are not known")
	}
	err = chain.CheckVouch(groups.CredentialBytes(id, m.Account, m.Sign), m.Credential)
	if errors.Is(err, fault.NotFound) {
		return err
	}
	if g, _ := account.VouchGeneration(m.Credential); err != nil || g != chain.G() {
		return errForged(m.Account)
	}
	return nil
}

// vouched says whether an account answers for the key of a member; known is false if its certificates do not
// tell: they end before the credential, or begin after it, with a recovery.
func vouched(chain *account.Chain, id ident.GroupID, m *groups.Member) (good, known bool) {
	if chain == nil {
		return false, false
	}
	err := chain.CheckVouch(groups.CredentialBytes(id, m.Account, m.Sign), m.Credential)
	switch fault.KindOf(err) {
	case fault.NotFound, fault.Stale:
		return false, false
	}
	return err == nil, true
}

func errForged(id ident.AccountID) error {
	return fault.New(fault.Denied, "check member "+core.Short(id),
		"the account does not answer for the member's key")
}

// groupChain returns what is known of an account's certificates, and whether that is its newest. Denied: no
// account can have that ID.
func (c *Groups) groupChain(tx *store.Tx,
	id ident.AccountID) (chain *account.Chain, current bool, err error) {
	if id == c.core.Me {
		c.core.Keys.Read(func(s *account.State) { chain, current = s.Chain() })
		return chain, current, nil
	}
	p, err := c.people.Get(tx, id)
	if err != nil {
		return nil, false, fault.New(fault.Denied, "check member", "no account can have the ID %s",
			core.Short(id))
	}
	return p.Certs, p.Sealable(c.core.Net.Now()), nil
}

// checkVouches reads the certificates of members whose messages came, and writes down what was found.
func (c *Groups) checkVouches(ctx context.Context) (err error) {
	n := 0 // then other errands have their turn
	for k := range c.keeper.take(&c.keeper.wanted) {
		if n++; n > learnMost {
			c.keeper.want(k)
			continue
		}
		fctx, stop := context.WithTimeout(ctx, people.VerifyTimeout)
		ferr := c.people.Fetch(fctx, k.account, 0)
		stop()
		if ferr != nil && !core.IsGone(ferr) {
			c.keeper.want(k)
			err = ferr
			continue
		}
		if serr := c.settleVouch(k); serr != nil {
			return serr
		}
	}
	if n > learnMost && err == nil { // after an error the keeper waits, and comes back
		c.WakeKeeper()
	}
	found := c.keeper.take(&c.keeper.found)
	if len(found) == 0 {
		return err
	}
	if serr := c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		for k, good := range found {
			_, known := tx.GroupVouched(k.group, k.account, k.joined)
			tx.SaveGroupVouch(store.GroupVouch{Group: k.group, Account: k.account,
				Joined: k.joined, Good: good})
			g, err := c.get(tx, k.group)
			if good || known || err != nil || g.state == nil {
				continue
			}
			if m := g.state.Member(k.account); m == nil || m.Joined != k.joined {
				continue
			}
			if err := c.forged(tx, a, g, k.account); err != nil {
				return err
			}
		}
		return tx.Err()
	}); serr != nil {
		return serr
	}
	return err
}

// settleVouch looks at a member again whose certificates were read.
func (c *Groups) settleVouch(k vouchKey) error {
	err := c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		g, err := c.get(tx, k.group)
		if err != nil || g.state == nil {
			return orNoGroup(err)
		}
		m := g.state.Member(k.account)
		if m == nil || m.Joined != k.joined {
			return nil
		}
		chain, current, err := c.groupChain(tx, k.account)
		good, known := vouched(chain, k.group, m)
		// The next generation of the account may have begun since; the one after it has not.
		if v, verr := account.VouchGeneration(m.Credential); !known && current && verr == nil &&
			v > chain.G()+1 {
			known = true
		}
		if err != nil || !known {
			return nil // its messages stay marked
		}
		tx.SaveGroupVouch(store.GroupVouch{Group: k.group, Account: k.account, Joined: k.joined, Good: good})
		c.changed(a, k.group)
		if !good {
			return c.forged(tx, a, g, k.account)
		}
		return c.groupVerified(tx, a, g, k.account)
	})
	if err != nil {
		return err
	}
	return nil
}

// wantMarked asks anew, after a restart, for the certificates of members with messages that are marked as
// unverified.
func (c *Groups) wantMarked(tx *store.Tx, g *group) {
	for _, id := range tx.UnverifiedGroupSenders(g.ID.String()) {
		if m := g.state.Member(id); m != nil {
			if _, known := tx.GroupVouched(g.ID, id, m.Joined); !known {
				c.keeper.want(vouchKey{g.ID, id, m.Joined})
			}
		}
	}
}

// orNoGroup is nil for a group that is not there any more.
func orNoGroup(err error) error {
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
