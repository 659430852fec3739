package client

import (
	"math"
	"slices"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/ident"
)

// maxStrangers is how many groups people who are no approved contacts may invite this account to at the same time. The oldest
// goes: anybody can make up groups.
const maxStrangers = 64

// byContact reports whether an invitation is of an approved contact.
func (c *Client) byContact(tx *store.Tx, raw []byte) bool {
	in, err := groups.DecodeInvitation(raw)
	if err != nil {
		return false
	}
	p, err := c.person(tx, in.Inviter)
	return err == nil && p.Approved
}

// boundStrangers forgets the oldest invitations of strangers beyond maxStrangers, but not the one that just came.
func (a *applied) boundStrangers(tx *store.Tx, came ident.GroupID) error {
	held := 1
	for _, id := range tx.GroupIDs() { // newest first
		g, err := a.c.group(tx, id)
		if err != nil {
			return err
		}
		if id == came || GroupStatus(g.Status) != GroupInvited || a.c.byContact(tx, g.Invitation) {
			continue
		}
		if held++; held > maxStrangers {
			if err := a.forgetInvitation(tx, g); err != nil {
				return err
			}
		}
	}
	return tx.Err()
}

// forgetInvitation forgets a group that this account never had anything to do with but the invitation, and its conversation if
// nobody wrote there. Of a group that it was in, the invitation alone.
func (a *applied) forgetInvitation(tx *store.Tx, g *group) error {
	a.groupChanged(g.ID)
	if g.Past > 0 {
		g.Status, g.Invitation = string(GroupRemoved), nil
		a.c.saveGroup(tx, g)
		return tx.Err()
	}
	rows, err := tx.Messages(store.Query{Conversation: g.ID.String(), Newest: true, Limit: 100})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rows, func(m store.Message) bool { return !m.Notice }) {
		tx.Clear(g.ID.String(), math.MaxInt64, math.MaxInt64)
		a.conversationChanged(g.ID.String())
	}
	tx.DropGroup(g.ID)
	delete(a.c.groups.known, g.ID)
	return tx.Err()
}
