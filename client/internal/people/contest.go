package people

import (
	"context"
	"errors"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// ReadContest returns the contest of a generation that an account's mailbox holds, nil if there is none.
func (c *People) ReadContest(ctx context.Context, purpose string, id ident.AccountID, mailbox ident.MailboxID,
	g uint32) (*ContestFound, error) {
	r := &envelope.Request{Mailbox: mailbox,
		Ops: []envelope.Op{envelope.RetrieveKey{Namespace: envelope.Contest, Key: account.GroupKey(g)}}}
	resp, _, err := c.core.Request(ctx, purpose, r, nil)
	if errors.Is(err, fault.NotFound) || err == nil && len(resp.Results[0].Envelopes) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := resp.Results[0].Envelopes[0]
	k, err := account.OpenContest(id, e)
	if err != nil {
		return nil, nil //nolint:nilerr // what is no contest contests nothing
	}
	return &ContestFound{k, e.StoredAt}, nil
}

type ContestFound struct {
	*account.Contest
	StoredAt int64
}

// Contest marks an account as contested if k counts against it.
func (c *People) Contest(tx *store.Tx, a *core.Batch, p *Person, k ContestFound) {
	var before *account.Chain
	if len(p.Before) > 0 {
		before, _ = account.UnmarshalChain(p.Before)
	}
	if !k.Against(p.Certs, before) ||
		!tx.AddPeerEvent(p.Account, store.PeerEvent{Kind: "contested", G: k.G, At: k.At}) {
		return
	}
	p.ContestedAt = max(p.ContestedAt, k.StoredAt)
	if b, ok := c.core.Docs.Get(devicesync.ContactVerified, string(p.Account[:])); ok &&
		devicesync.AsUint(b) <= uint64(p.ContestedAt) {
		c.unverify(tx, p.Account)
	}
	c.Save(tx, *p)
	id := p.Account
	a.Tell(core.Fact{Kind: core.FactContact, Contact: &id, Text: "contested"})
}

// LookAtAll reads the certificates of accounts of which something was heard that they do not bear out yet.
func (c *People) LookAtAll(ctx context.Context) error {
	var looks []store.Look
	err := c.core.View(func(tx *store.Tx) error {
		looks = tx.Looks()
		return nil
	})
	if err != nil {
		return err
	}
	for _, l := range looks {
		if err := c.Fetch(ctx, l.Account, 0); err != nil && !core.IsGone(err) {
			return err
		}
		err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
			tx.DropLook(l.Account)
			p, err := c.Get(tx, l.Account)
			if err != nil || l.Contest == nil {
				return err
			}
			if k, err := account.DecodeContest(l.Contest); err == nil {
				c.Contest(tx, a, &p, ContestFound{k, l.StoredAt})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lookForContest reads whether somebody's recovery is contested, right after its certificates were read.
func (c *People) lookForContest(ctx context.Context, id ident.AccountID) error {
	p, err := c.Lookup(id)
	if err != nil || p.Certs == nil || p.Certs.Certs()[0].Kind != account.CertRecover {
		return err
	}
	k, err := c.ReadContest(ctx, core.PurposeFetch, id, p.Mailbox, p.Certs.Certs()[0].G)
	if err != nil || k == nil {
		return err
	}
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		p, err := c.Get(tx, id)
		if err == nil && p.Certs != nil {
			c.Contest(tx, a, &p, *k)
		}
		return err
	})
}
