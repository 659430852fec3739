package closed

import (
	"context"
	"crypto/rand"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// seedKey signs with an Ed25519 key that is kept as its seed.
type seedKey struct{ seed private.Key }

// Public returns the key's public half.
func (k seedKey) Public() [32]byte { return k.seed.Signing().Public() }

// Sign signs msg.
func (k seedKey) Sign(msg []byte) [64]byte { return k.seed.Signing().Sign(msg) }

// request carries operations to a group's mailbox, on the circuit of its subscription.
func (c *Groups) request(ctx context.Context, id ident.GroupID, key account.Signer,
	ops ...envelope.Op) (*envelope.Response, ident.Path, error) {
	mailbox, err := account.GroupMailboxOf(id, c.core.Cluster.ID)
	if err != nil {
		return nil, ident.Path{}, err
	}
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	return c.core.Request(ctx, core.PurposeInbox, &envelope.Request{Mailbox: mailbox, Ops: ops}, key)
}

// outgoing is a message for a group.
type outgoing struct {
	ID     ident.MessageID
	SentAt int64 // Unix milliseconds
	Body   []byte
}

// sealed is a message as it is stored.
type sealed struct {
	Blob       []byte
	Mailbox    ident.MailboxID
	Write      account.Signer
	Generation uint32 // a store that meets Stale is sealed again for a later one
}

// sealGroup seals a message of the own account for a group. Errors: NotFound; Denied if the account is no
// member.
func (c *Groups) sealGroup(tx *store.Tx, id ident.GroupID, m outgoing) (out sealed, err error) {
	g, err := c.get(tx, id)
	if err != nil {
		return out, err
	}
	if g.state == nil || Status(g.Status) != Joined {
		return out, fault.New(fault.Denied, "send to group", "this account is no member")
	}
	mailbox, err := account.GroupMailboxOf(id, c.core.Cluster.ID)
	if err != nil {
		return out, err
	}
	blob, err := g.state.SealSent(rand.Reader, c.core.Net.Now(), m.SentAt, m.ID, m.Body)
	return sealed{Blob: blob, Mailbox: mailbox, Write: seedKey{g.state.WriteKey()},
		Generation: g.state.Generation()}, err
}

// askGroup keeps what somebody asks the admins for. Kick the group afterwards.
func (c *Groups) askGroup(tx *store.Tx, ask store.GroupAsk) error {
	tx.AddGroupAsk(&ask)
	return tx.Err()
}
