package core

import (
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// CursorKey is the sequence number up to which the own mailbox has been taken in. It lies in the same
// transaction as what it counts, and is the only truth about what was received.
const CursorKey = "cursor"

// Cursor is the sequence number up to which the own mailbox has been taken in.
func (c *Core) Cursor() (n uint64) {
	c.View(func(tx *store.Tx) error {
		n = tx.Number(CursorKey)
		return nil
	})
	return n
}

// Admit adds the admission that a store without authority needs.
func (c *Core) Admit(mailbox ident.MailboxID, put *envelope.Store) {
	var bits uint8
	if d := c.Net.Directory(); d != nil {
		bits = d.Params.StampDifficulty
	}
	put.Admission = envelope.SolveStamp(mailbox, envelope.HashOf(mailbox, put.Namespace, put.Key, put.Body),
		c.NowMS(), bits)
}

// Majority is how many replicas of the swarm that holds the mailbox of an account or a group have what it
// acknowledged, at least.
func (c *Core) Majority(peer ident.PeerKey) int {
	mailbox, err := c.MailboxOf(peer)
	d := c.Net.Directory()
	if err != nil || d == nil {
		return 0
	}
	swarm, ok := d.SwarmOf(mailbox)
	if !ok {
		return 0
	}
	return len(swarm.Replicas)/2 + 1
}

// MailboxOf returns the mailbox of an account or a group. Errors: NotFound (none can have that ID).
func (c *Core) MailboxOf(peer ident.PeerKey) (ident.MailboxID, error) {
	if peer[0] == ident.GroupType {
		return account.GroupMailboxOf(ident.GroupID(peer), c.Cluster.ID)
	}
	return account.MailboxOf(ident.AccountID(peer), c.Cluster.ID)
}
