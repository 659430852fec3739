package client

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
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

// Contest objects to the recovery that left this device out: the owner did not make it. The objection is stored once,
// where nobody can delete it, and goes to the inboxes of recent contacts, who stop writing to the account until they
// have verified it again. It needs Run, and may be called again for those who were not told.
//
// Errors: NotFound (no recovery has left this device out), Unavailable.
func (c *Client) Contest(ctx context.Context) (out ContestResult, err error) {
	if err := c.WaitOnline(ctx); err != nil && !errors.Is(err, fault.Denied) {
		return out, err
	}
	if err := c.catchUpOwn(ctx, 0); err != nil && !errors.Is(err, fault.Denied) {
		return out, err
	}
	var k *account.Contest
	var req *envelope.Request
	var key authority
	c.keys.read(func(s *account.State) {
		if k, req, err = s.Contest(rand.Reader, c.net.Now()); err == nil {
			a, _ := s.Authority()
			key = authority{k: c.keys, public: a.Public()}
		}
	})
	if err != nil {
		return out, err
	}
	_, _, err = c.request(ctx, PurposeInbox, req, key)
	switch {
	case err == nil:
		out.Recorded = true
	case superseded(err):
		// Its one entry is spent: by this device or another of the replaced ones, or the account was recovered twice.
		out.Recorded = c.isRecorded(ctx, k.G)
	default:
		return out, err
	}
	if err := c.noteContested(c.nowMS()); err != nil {
		return out, err
	}
	peers, err := c.recentPeers()
	if err != nil {
		return out, err
	}
	for _, id := range peers {
		if err := c.tellContest(ctx, id, k); err != nil {
			c.log.Debug("contact not told", "error", err)
			out.Failed++
			continue
		}
		out.Told++
	}
	return out, ctx.Err()
}

// isRecorded reports whether the contest of a recovery lies in the own mailbox.
func (c *Client) isRecorded(ctx context.Context, g uint32) bool {
	found, err := c.readContest(ctx, PurposeInbox, c.me, c.mailbox, g)
	return err == nil && found != nil
}

// readContest returns the contest of a generation that an account's mailbox holds, nil if there is none.
func (c *Client) readContest(ctx context.Context, purpose string, id ident.AccountID, mailbox ident.MailboxID, g uint32) (*contestFound, error) {
	r := &envelope.Request{Mailbox: mailbox, Ops: []envelope.Op{envelope.RetrieveKey{Namespace: envelope.Contest, Key: account.GroupKey(g)}}}
	resp, _, err := c.request(ctx, purpose, r, nil)
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
	return &contestFound{k, e.StoredAt}, nil
}

type contestFound struct {
	*account.Contest
	storedAt int64
}

// lookForOwnContest tells the devices of an account that was recovered when one that was left out objects: contacts stop
// writing then, and whoever recovered it has to know why.
func (c *Client) lookForOwnContest(ctx context.Context) error {
	var first *account.Cert
	c.keys.read(func(s *account.State) {
		if chain, ok := s.Chain(); ok {
			first = chain.Certs()[0]
		}
	})
	if first == nil || first.Kind != account.CertRecover {
		return nil
	}
	k, err := c.readContest(ctx, PurposeInbox, c.me, c.mailbox, first.G)
	if err != nil || k == nil {
		return err
	}
	e := store.DeviceEvent{Kind: "contested", At: k.At}
	var events []Event
	err = c.p.db.Update(func(tx *store.Tx) error {
		if tx.AddDeviceEvent(e) {
			events = append(events, deviceEvent(c, e))
		}
		return nil
	})
	c.bus.publish(events...)
	return err
}

// noteContested records on this device that the own account's recovery was contested.
func (c *Client) noteContested(at int64) error {
	var events []Event
	err := c.p.db.Update(func(tx *store.Tx) error {
		for _, e := range tx.DeviceEvents() {
			if e.Kind == "contested" && e.Device == c.keys.device() {
				return nil
			}
		}
		me := c.keys.device()
		e := store.DeviceEvent{Kind: "contested", Device: me, At: at, By: &me}
		if tx.AddDeviceEvent(e) {
			events = append(events, deviceEvent(c, e))
		}
		return nil
	})
	c.bus.publish(events...)
	return err
}

// recentPeers are the approved contacts with whom there was a message lately.
func (c *Client) recentPeers() (out []ident.AccountID, err error) {
	since := c.net.Now().Add(-recentFor).UnixMilli()
	err = c.p.db.View(func(tx *store.Tx) error {
		for _, p := range tx.Peers() {
			if p.Approved && p.Account != c.me && !c.isBlocked(p.Account) && tx.LastMessageAt(p.Account.String()) >= since {
				out = append(out, p.Account)
			}
		}
		return nil
	})
	return out, err
}

// tellContest stores the contest in a contact's inbox, authenticated by the generation that was replaced.
func (c *Client) tellContest(ctx context.Context, id ident.AccountID, k *account.Contest) error {
	body, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_Contest{Contest: &bodyv1.Contest{Entry: k.Bytes()}}})
	if err != nil {
		return fault.Wrap(fault.Internal, "tell contact", err)
	}
	minSeq := uint64(0)
	for range 4 {
		if err := c.fetchPerson(ctx, id, minSeq); err != nil {
			return err
		}
		p, err := c.lookup(id)
		if err != nil {
			return err
		}
		m := account.Outgoing{SentAt: c.nowMS(), Body: body}
		rand.Read(m.ID[:])
		var blob []byte
		c.keys.read(func(s *account.State) { blob, err = s.SealContest(p.recipient(), m, c.net.Now()) })
		if err != nil {
			return err
		}
		put := envelope.Store{Namespace: envelope.Inbox, TTL: inboxTTL, IfCerts: &p.CertsHead, Body: blob}
		c.admit(p.mailbox, &put)
		_, _, err = c.request(ctx, PurposeSend, &envelope.Request{Mailbox: p.mailbox, Ops: []envelope.Op{put}}, nil)
		if !errors.Is(err, fault.Stale) {
			return err
		}
		minSeq = headOf(err)
	}
	return fault.New(fault.Unavailable, "tell contact", "the recipient's keys keep changing")
}

// contest takes in what a message says about its sender's recovery. It verifies by itself, so it may come unverified:
// who has heard of the recovery already holds the sender's new chain, and the message is of the old one.
func (a *applied) contest(tx *store.Tx, in *account.Incoming, storedAt int64, body *bodyv1.Contest) error {
	k, err := account.DecodeContest(body.GetEntry())
	if err != nil || k.Account != in.Sender {
		return nil // forged or malformed: drop it
	}
	p, err := a.c.person(tx, in.Sender)
	if err != nil || p.chain == nil {
		return err
	}
	if cert, ok := p.chain.Cert(k.G); !ok || cert.Hash() != k.Cert {
		// The recovery itself is not known yet. Reading the account's certificates brings contest and recovery at once.
		tx.AddLook(store.Look{Account: in.Sender, Contest: k.Bytes(), StoredAt: storedAt})
		a.c.records.wake()
		return tx.Err()
	}
	a.events = append(a.events, a.c.contested(tx, &p, contestFound{k, storedAt})...)
	return tx.Err()
}

// contested marks an account as contested if k counts against it.
func (c *Client) contested(tx *store.Tx, p *person, k contestFound) (events []Event) {
	var before *account.Chain
	if len(p.Before) > 0 {
		before, _ = account.UnmarshalChain(p.Before)
	}
	if !k.Against(p.chain, before) || !tx.AddPeerEvent(p.Account, store.PeerEvent{Kind: "contested", G: k.G, At: k.At}) {
		return nil
	}
	p.ContestedAt = max(p.ContestedAt, k.storedAt)
	if b, ok := c.docs.Get(devicesync.ContactVerified, string(p.Account[:])); ok && devicesync.AsUint(b) <= uint64(p.ContestedAt) {
		c.unverify(tx, p.Account)
	}
	c.savePerson(tx, *p)
	id := p.Account
	return []Event{{Kind: EventContact, At: c.net.Now(), Contact: &id, Text: "contested"}}
}

// lookAtPeers reads the certificates of accounts of which something was heard that they do not bear out yet.
func (c *Client) lookAtPeers(ctx context.Context) error {
	var looks []store.Look
	err := c.p.db.View(func(tx *store.Tx) error {
		looks = tx.Looks()
		return nil
	})
	if err != nil {
		return err
	}
	for _, l := range looks {
		if err := c.fetchPerson(ctx, l.Account, 0); err != nil && !isGone(err) {
			return err
		}
		var events []Event
		err := c.update(func(tx *store.Tx) error {
			tx.DropLook(l.Account)
			p, err := c.person(tx, l.Account)
			if err != nil || l.Contest == nil {
				return err
			}
			if k, err := account.DecodeContest(l.Contest); err == nil {
				events = c.contested(tx, &p, contestFound{k, l.StoredAt})
			}
			return nil
		})
		if err != nil {
			return err
		}
		c.bus.publish(events...)
	}
	return nil
}

// lookForContest reads whether somebody's recovery is contested, right after its certificates were read.
func (c *Client) lookForContest(ctx context.Context, id ident.AccountID) error {
	p, err := c.lookup(id)
	if err != nil || p.chain == nil || p.chain.Certs()[0].Kind != account.CertRecover {
		return err
	}
	k, err := c.readContest(ctx, PurposeFetch, id, p.mailbox, p.chain.Certs()[0].G)
	if err != nil || k == nil {
		return err
	}
	var events []Event
	err = c.update(func(tx *store.Tx) error {
		p, err := c.person(tx, id)
		if err == nil && p.chain != nil {
			events = c.contested(tx, &p, *k)
		}
		return err
	})
	c.bus.publish(events...)
	return err
}

// isContested reports whether an account must not be written to: its recovery was contested, and it has not been
// verified since.
func (c *Client) isContested(p *store.Peer) bool {
	if p.ContestedAt == 0 {
		return false
	}
	b, ok := c.docs.Get(devicesync.ContactVerified, string(p.Account[:]))
	return !ok || devicesync.AsUint(b) <= uint64(p.ContestedAt)
}

func errContested(id ident.AccountID) error {
	return fault.New(fault.Denied, "send to "+short(id),
		"the account is contested: one of its devices says that somebody else has restored it; compare the numbers first (contact verify)")
}
