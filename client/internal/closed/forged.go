package closed

import (
	"slices"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
)

// Whoever has a link of a public group can come in under the ID of another account, which never vouched for
// that member's key. An admin's device reads the certificates of everybody who comes in so, and removes whom
// the account does not answer for. It is no ban: the account itself did nothing.

// lookAtDoor has an admin's device check who came in by itself with the newest commit, or before the account
// became an admin.
func (c *Groups) lookAtDoor(tx *store.Tx, a *core.Batch, g *group, was *before) error {
	if !g.admin() {
		return nil
	}
	admin := slices.ContainsFunc(was.Members, func(m *groups.Member) bool {
		return m.Account == c.core.Me &&
			m.Role == groups.Admin
	})
	index, _ := g.state.Head()
	if !admin {
		return c.watchDoor(tx, g)
	}
	for _, m := range g.state.Members() {
		if m.Door && m.Joined == index {
			_ = c.checkGroupCredential(tx, g.ID, m) // what is found, or not known yet, is for checkVouches
		}
	}
	return tx.Err()
}

// watchDoor does what an admin's device owes a group that it has known for a while: it asks for what is not
// known of those who came in by themselves, and removes those of whom it knows enough.
func (c *Groups) watchDoor(tx *store.Tx, g *group) error {
	if !g.admin() {
		return nil
	}
	for _, m := range g.state.Members() {
		if m.Door && m.Account != c.core.Me {
			_ = c.checkGroupCredential(tx, g.ID, m)
		}
	}
	return c.removeForged(tx, g)
}

// removeForged wants the members removed whose accounts are known not to answer for them, each once. Kick the
// group afterwards.
func (c *Groups) removeForged(tx *store.Tx, g *group) error {
	if !g.admin() {
		return nil
	}
	wanted := map[groups.Target]bool{}
	for _, row := range tx.GroupChanges(g.ID) {
		w, err := decodeWanted(row.Want)
		if err != nil {
			return err
		}
		if ch, err := groups.DecodeChange(w.Change); err == nil && ch.Kind == groups.KindRemove {
			for _, t := range ch.Targets {
				wanted[t] = true
			}
		}
	}
	ch := groups.Change{Kind: groups.KindRemove}
	for _, m := range g.state.Members() {
		t := groups.Target{Account: m.Account, Joined: m.Joined}
		if good, known := tx.GroupVouched(g.ID, m.Account, m.Joined); known && !good &&
			m.Account != c.core.Me && !wanted[t] {
			ch.Targets = append(ch.Targets, t)
		}
	}
	if len(ch.Targets) == 0 {
		return tx.Err()
	}
	_, err := c.want(tx, g.ID, wantChange(ch))
	return err
}

// forged takes in that a member is not the account whose ID it has. What it wrote meanwhile goes, unless the
// account was a member before: then that may be the account's, and stays marked as unverified.
func (c *Groups) forged(tx *store.Tx, a *core.Batch, g *group, id ident.AccountID) error {
	if !g.state.WasMember(id) {
		rows, err := tx.Messages(store.Query{Conversation: g.ID.String()})
		if err != nil {
			return err
		}
		for _, m := range rows {
			if m.Sender == id && m.Unverified {
				tx.RemoveMessage(&m)
				m.Deleted, m.Text, m.Body = true, "", nil
				c.rows.Updated(tx, a, m)
			}
		}
	}
	text := core.Short(id) + " is a member with a key that the account does not answer for"
	if g.admin() {
		text += ", and is removed"
	}
	c.tellOf(a, g, text)
	return c.removeForged(tx, g)
}
