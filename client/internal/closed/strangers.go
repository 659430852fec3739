package closed

import (
	"math"
	"slices"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
)

// maxStrangers is how many groups people who are no approved contacts may invite this account to at the same
// time. The oldest goes: anybody can make up groups.
const maxStrangers = 64

// byContact reports whether an invitation is of an approved contact.
func (c *Groups) byContact(tx *store.Tx, raw []byte) bool {
	in, err := groups.DecodeInvitation(raw)
	if err != nil {
		return false
	}
	p, err := c.people.Get(tx, in.Inviter)
	return err == nil && p.Approved
}

// boundStrangers forgets the oldest invitations of strangers beyond maxStrangers, but not the one that just
// came.
func (c *Groups) boundStrangers(tx *store.Tx, a *core.Batch, came ident.GroupID) error {
	held := 1
	for _, id := range tx.GroupIDs() { // newest first
		g, err := c.get(tx, id)
		if err != nil {
			return err
		}
		if id == came || Status(g.Status) != Invited || c.byContact(tx, g.Invitation) {
			continue
		}
		if held++; held > maxStrangers {
			if err := c.forgetInvitation(tx, a, g); err != nil {
				return err
			}
		}
	}
	return tx.Err()
}

// forgetInvitation forgets a group that this account never had anything to do with but the invitation, and
// its conversation if nobody wrote there. Of a group that it was in, the invitation alone.
func (c *Groups) forgetInvitation(tx *store.Tx, a *core.Batch, g *group) error {
	c.changed(a, g.ID)
	if g.Past > 0 {
		g.Status, g.Invitation = string(Removed), nil
		c.save(tx, g)
		return tx.Err()
	}
	rows, err := tx.Messages(store.Query{Conversation: g.ID.String(), Newest: true, Limit: 100})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rows, func(m store.Message) bool { return !m.Notice }) {
		tx.Clear(g.ID.String(), math.MaxInt64, math.MaxInt64)
		c.rows.ConversationChanged(a, g.ID.String())
	}
	tx.DropGroup(g.ID)
	delete(c.known, g.ID)
	return tx.Err()
}
