package client

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/inbox"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// recentFor is how far back a conversation counts as recent: its other side is told of a contest.
const recentFor = 90 * 24 * time.Hour

// ContestResult says who was told of a contest.
type ContestResult struct {
	Recorded bool // it lies beside the account's certificates, where every contact finds it
	Told     int  // recent contacts whose inbox has it
	Failed   int  // recent contacts who could not be told now
}

// Contest objects to the recovery that left this device out: the owner did not make it. The objection is
// stored once, where nobody can delete it, and goes to the inboxes of recent contacts, who stop writing to
// the account until they have verified it again. It needs Run, and may be called again for those who were not
// told.
//
// Errors: NotFound (no recovery has left this device out), Unavailable.
func (c *Client) Contest(ctx context.Context) (out ContestResult, err error) {
	if err := c.core.WaitOnline(ctx); err != nil && !errors.Is(err, fault.Denied) {
		return out, err
	}
	if err := c.core.CatchUpOwn(ctx, 0); err != nil && !errors.Is(err, fault.Denied) {
		return out, err
	}
	var k *account.Contest
	var req *envelope.Request
	var key core.Authority
	c.core.Keys.Read(func(s *account.State) {
		if k, req, err = s.Contest(rand.Reader, c.core.Net.Now()); err == nil {
			a, _ := s.Authority()
			key = c.core.Keys.AuthorityOf(a)
		}
	})
	if err != nil {
		return out, err
	}
	_, _, err = c.core.Request(ctx, core.PurposeInbox, req, key)
	switch {
	case err == nil:
		out.Recorded = true
	case core.Superseded(err):
		// Its one entry is spent: by this device or another of the replaced ones, or the account was
		// recovered twice.
		out.Recorded = c.isRecorded(ctx, k.G)
	default:
		return out, err
	}
	if err := c.noteContested(c.core.NowMS()); err != nil {
		return out, err
	}
	peers, err := c.recentPeers()
	if err != nil {
		return out, err
	}
	for _, id := range peers {
		if err := c.tellContest(ctx, id, k); err != nil {
			c.core.Log.Debug("contact not told", "error", err)
			out.Failed++
			continue
		}
		out.Told++
	}
	return out, ctx.Err()
}

// isRecorded reports whether the contest of a recovery lies in the own mailbox.
func (c *Client) isRecorded(ctx context.Context, g uint32) bool {
	found, err := c.people.ReadContest(ctx, core.PurposeInbox, c.core.Me, c.core.Mailbox, g)
	return err == nil && found != nil
}

// lookForOwnContest tells the devices of an account that was recovered when one that was left out objects:
// contacts stop writing then, and whoever recovered it has to know why.
func (c *Client) lookForOwnContest(ctx context.Context) error {
	var first *account.Cert
	c.core.Keys.Read(func(s *account.State) {
		if chain, ok := s.Chain(); ok {
			first = chain.Certs()[0]
		}
	})
	if first == nil || first.Kind != account.CertRecover {
		return nil
	}
	k, err := c.people.ReadContest(ctx, core.PurposeInbox, c.core.Me, c.core.Mailbox, first.G)
	if err != nil || k == nil {
		return err
	}
	e := store.DeviceEvent{Kind: "contested", At: k.At}
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		core.NoteDevice(tx, a, e)
		return nil
	})
}

// noteContested records on this device that the own account's recovery was contested.
func (c *Client) noteContested(at int64) error {
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		for _, e := range tx.DeviceEvents() {
			if e.Kind == "contested" && e.Device == c.core.Keys.Device() {
				return nil
			}
		}
		me := c.core.Keys.Device()
		core.NoteDevice(tx, a, store.DeviceEvent{Kind: "contested", Device: me, At: at, By: &me})
		return nil
	})
}

// recentPeers are the approved contacts with whom there was a message lately.
func (c *Client) recentPeers() (out []ident.AccountID, err error) {
	since := c.core.Net.Now().Add(-recentFor).UnixMilli()
	err = c.core.View(func(tx *store.Tx) error {
		for _, p := range tx.Peers() {
			if p.Approved && p.Account != c.core.Me && !c.people.Blocked(p.Account) &&
				tx.LastMessageAt(p.Account.String()) >= since {
				out = append(out, p.Account)
			}
		}
		return nil
	})
	return out, err
}

// tellContest stores the contest in a contact's inbox, authenticated by the generation that was replaced.
func (c *Client) tellContest(ctx context.Context, id ident.AccountID, k *account.Contest) error {
	body, err := proto.Marshal(
		&bodyv1.Body{Kind: &bodyv1.Body_Contest{Contest: &bodyv1.Contest{Entry: k.Bytes()}}})
	if err != nil {
		return fault.Wrap(fault.Internal, "tell contact", err)
	}
	minSeq := uint64(0)
	for range 4 {
		if err := c.people.Fetch(ctx, id, minSeq); err != nil {
			return err
		}
		p, err := c.people.Lookup(id)
		if err != nil {
			return err
		}
		m := account.Outgoing{SentAt: c.core.NowMS(), Body: body}
		rand.Read(m.ID[:])
		var blob []byte
		c.core.Keys.Read(func(s *account.State) {
			blob, err = s.SealContest(p.Recipient(), m,
				c.core.Net.Now())
		})
		if err != nil {
			return err
		}
		put := envelope.Store{Namespace: envelope.Inbox, TTL: people.InboxTTL, IfCerts: &p.CertsHead,
			Body: blob}
		c.core.Admit(p.Mailbox, &put)
		_, _, err = c.core.Request(ctx, core.PurposeSend, &envelope.Request{Mailbox: p.Mailbox,
			Ops: []envelope.Op{put}}, nil)
		if !errors.Is(err, fault.Stale) {
			return err
		}
		minSeq = core.HeadOf(err)
	}
	return fault.New(fault.Unavailable, "tell contact", "the recipient's keys keep changing")
}

// contest takes in what a message says about its sender's recovery. It verifies by itself, so it may come
// unverified: who has heard of the recovery already holds the sender's new chain, and the message is of the
// old one.
func (c *Client) contest(tx *store.Tx, a *core.Batch, in *inbox.Mail) error {
	storedAt, body := in.Envelope.StoredAt, in.Body.GetContest()
	k, err := account.DecodeContest(body.GetEntry())
	if err != nil || k.Account != in.Sender {
		return nil // forged or malformed: drop it
	}
	p, err := c.people.Get(tx, in.Sender)
	if err != nil || p.Certs == nil {
		return err
	}
	if cert, ok := p.Certs.Cert(k.G); !ok || cert.Hash() != k.Cert {
		// The recovery itself is not known yet. Reading the account's certificates brings contest and
		// recovery at once.
		tx.AddLook(store.Look{Account: in.Sender, Contest: k.Bytes(), StoredAt: storedAt})
		c.records.wake()
		return tx.Err()
	}
	c.people.Contest(tx, a, &p, people.ContestFound{Contest: k, StoredAt: storedAt})
	return tx.Err()
}
