package closed

import (
	"crypto/rand"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// invite follows up an invitation that is in the log: a link is kept, accounts are written to.
func (c *Groups) invite(tx *store.Tx, a *core.Batch, g *group, invite groups.Invite, seed private.Key) error {
	in, err := g.state.Invitation(invite.Serial, seed)
	if err != nil {
		c.core.Log.Debug("invitation is over before it was sent", "error", err)
		return nil
	}
	if len(invite.For) == 0 {
		tx.AddGroupLink(g.ID, store.GroupLink{Serial: invite.Serial, Seed: seed})
		return tx.Err()
	}
	for _, id := range invite.For {
		if err := c.sendInvitation(tx, a, id, in); err != nil {
			return err
		}
	}
	return tx.Err()
}

// sendInvitation writes an invitation to an account.
func (c *Groups) sendInvitation(tx *store.Tx, a *core.Batch, to ident.AccountID,
	in *groups.Invitation) error {
	p, err := c.people.Get(tx, to)
	if err != nil {
		return nil // no account can have that ID
	}
	b := &bodyv1.Body{Kind: &bodyv1.Body_GroupInvitation{GroupInvitation: &bodyv1.GroupInvitation{
		GroupId: in.Group[:], Name: in.Name, Invitation: in.Encode()}}}
	c.people.TellProfile(tx, &p, b)
	body, err := proto.Marshal(b)
	if err != nil {
		return fault.Wrap(fault.Internal, "encode invitation", err)
	}
	leg := store.Leg{Kind: store.LegReceipt, Peer: to.Key(), SentAt: a.Now.UnixMilli(), Body: body,
		Due: a.Now.UnixMilli()}
	rand.Read(leg.Message[:])
	tx.AddLeg(&leg)
	c.people.Save(tx, p)
	a.Kick(to)
	return tx.Err()
}
