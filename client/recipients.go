package client

import (
	"bytes"
	"context"
	"math"
	"sync"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// person is what is known of another account: the row in the store, and what it decodes to.
type person struct {
	store.Peer
	mailbox ident.MailboxID
	chain   *account.Chain       // nil: no certificate is known
	record  *account.EpochRecord // nil: no day key is known
}

// people keeps decoded persons: verifying a chain again for every message would cost more than opening it.
type people struct {
	mu    sync.Mutex
	known map[ident.AccountID]person
}

func (p *people) init() { p.known = map[ident.AccountID]person{} }

// person returns what is known of an account.
func (c *Client) person(tx *store.Tx, id ident.AccountID) (person, error) {
	c.people.mu.Lock()
	defer c.people.mu.Unlock()
	if p, ok := c.people.known[id]; ok {
		return p, nil
	}
	p := person{Peer: tx.Peer(id)}
	var err error
	if p.mailbox, err = account.MailboxOf(id, c.cluster.ID); err != nil {
		return p, err
	}
	if len(p.Chain) > 0 {
		if p.chain, err = account.UnmarshalChain(p.Chain); err != nil {
			return p, err
		}
	}
	if len(p.Record) > 0 {
		if p.record, err = account.DecodeEpochRecord(p.Record); err != nil {
			return p, err
		}
	}
	c.people.known[id] = p
	return p, tx.Err()
}

// savePerson writes p back, if it changed. p was read in the same transaction.
func (c *Client) savePerson(tx *store.Tx, p person) {
	c.people.mu.Lock()
	old, known := c.people.known[p.Account]
	c.people.mu.Unlock()
	if known && old.same(&p) {
		return
	}
	if p.Approved && !old.Approved {
		tx.ClearRequests(p.Account)
	}
	if p.chain != nil {
		p.Chain = p.chain.Marshal()
	}
	p.Record = nil
	if p.record != nil {
		p.Record = p.record.Bytes()
	}
	tx.SavePeer(&p.Peer)
	c.people.mu.Lock()
	defer c.people.mu.Unlock()
	c.people.known[p.Account] = p
}

// same reports whether p and q are the same row.
func (p *person) same(q *person) bool {
	return p.chain == q.chain && p.record == q.record && p.Approved == q.Approved && p.Named == q.Named && p.Name == q.Name && p.NameAt == q.NameAt &&
		p.CertsHead == q.CertsHead && p.KnowsG == q.KnowsG && p.FloorG == q.FloorG && p.FloorDay == q.FloorDay && p.ToldAt == q.ToldAt &&
		p.ContestedAt == q.ContestedAt && bytes.Equal(p.Before, q.Before)
}

// forgetPeople drops the decoded persons after a transaction that changed some was rolled back.
func (c *Client) forgetPeople() {
	c.people.mu.Lock()
	defer c.people.mu.Unlock()
	clear(c.people.known)
}

// lookup is person outside of a transaction.
func (c *Client) lookup(id ident.AccountID) (p person, err error) {
	err = c.p.db.View(func(tx *store.Tx) (err error) {
		p, err = c.person(tx, id)
		return err
	})
	return p, err
}

// recipient returns what Seal needs.
func (p *person) recipient() account.Recipient {
	return account.Recipient{Chain: p.chain, Record: p.record, Floor: account.DayVersion{G: p.FloorG, Day: p.FloorDay}}
}

// sealable reports whether p can be written to at now without asking for newer records: the certificates' head is
// known, and so is the day key of this very day.
func (p *person) sealable(now time.Time) bool {
	return p.chain != nil && p.CertsHead > 0 && p.record != nil && p.record.Day == account.Day(now) && p.record.G == p.chain.G()
}

// sealFor seals m for p and raises the floor of p, which the caller saves.
func (c *Client) sealFor(p *person, m account.Outgoing, now time.Time) (blob []byte, err error) {
	m.PeerSeen = p.KnowsG
	c.keys.read(func(s *account.State) { blob, err = s.Seal(p.recipient(), m, now) })
	if err != nil {
		return nil, err
	}
	p.FloorG, p.FloorDay = p.record.G, p.record.Day
	return blob, nil
}

// fetchPerson brings the certificates and the day key of an account up to date. minSeq is a sequence number that the
// answering replica must have reached (0: any). It fails with NotFound if the account has no mailbox here.
func (c *Client) fetchPerson(ctx context.Context, id ident.AccountID, minSeq uint64) error {
	p, err := c.lookup(id)
	if err != nil {
		return err
	}
	public, err := c.fetchPublic(ctx, PurposeFetch, p.mailbox, p.CertsHead, minSeq)
	if err != nil {
		return err
	}
	if p.chain == nil && len(public.certs) == 0 {
		// A replica that lags may not know the mailbox yet: the leader has the last word.
		if public, err = c.fetchPublicStrict(ctx, p.mailbox); err != nil {
			return err
		}
	}
	if p.chain == nil && len(public.certs) == 0 {
		return fault.New(fault.NotFound, "look up "+short(id), "no such account in cluster %q", c.cluster.Name)
	}
	var events []Event
	err = c.updateLazy(func(tx *store.Tx) error {
		events, err = c.learnPerson(tx, id, public)
		return err
	})
	if err != nil {
		return err
	}
	c.bus.publish(events...)
	return c.lookForContest(ctx, id)
}

// public is what anyone who knows an account may read of its mailbox.
type public struct {
	certs []envelope.Envelope
	head  uint64 // sequence number of the newest certificate
	days  []envelope.Envelope
	now   time.Time
}

// fetchPublic reads the certificates after a sequence number, and the day records of today and yesterday.
func (c *Client) fetchPublic(ctx context.Context, purpose string, mailbox ident.MailboxID, after, minSeq uint64) (public, error) {
	out := public{head: after, now: c.net.Now()}
	ops := publicOps(after, out.now)
	for {
		resp, _, err := c.request(ctx, purpose, &envelope.Request{Mailbox: mailbox, MinSeq: minSeq, Mode: envelope.Each, Ops: ops}, nil)
		if err != nil {
			return out, err
		}
		certs := resp.Results[0]
		if certs.Err != nil && certs.Err.Kind != fault.NotFound {
			return out, certs.Err
		}
		out.certs = append(out.certs, certs.Envelopes...)
		for _, day := range resp.Results[1:] {
			out.days = append(out.days, day.Envelopes...)
		}
		if n := len(out.certs); n > 0 {
			out.head = out.certs[n-1].Seq
		}
		if !certs.More {
			return out, nil
		}
		ops = []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs}, After: certs.Seq}}
	}
}

func publicOps(after uint64, now time.Time) []envelope.Op {
	today := account.Day(now)
	return []envelope.Op{
		envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs}, After: after},
		envelope.RetrieveKey{Namespace: envelope.Days, Key: account.DayKey(today)},
		envelope.RetrieveKey{Namespace: envelope.Days, Key: account.DayKey(today - 1)},
	}
}

// fetchPublicStrict is the first page of fetchPublic as the swarm's leader has it. A request that holds a write goes
// through the leader; the write here can never come about, as its condition names a certificate that cannot exist.
func (c *Client) fetchPublicStrict(ctx context.Context, mailbox ident.MailboxID) (public, error) {
	out := public{now: c.net.Now()}
	never := uint64(math.MaxInt64)
	put := envelope.Store{Namespace: envelope.Inbox, TTL: inboxTTL, IfCerts: &never, Body: []byte{0}}
	c.admit(mailbox, &put)
	ops := append([]envelope.Op{put}, publicOps(0, out.now)...)
	resp, _, err := c.request(ctx, PurposeFetch, &envelope.Request{Mailbox: mailbox, Mode: envelope.Each, Ops: ops}, nil)
	if err != nil {
		return out, err
	}
	if e := resp.Results[1].Err; e != nil && e.Kind != fault.NotFound {
		return out, e
	}
	out.certs = resp.Results[1].Envelopes
	if n := len(out.certs); n > 0 {
		out.head = out.certs[n-1].Seq
	}
	for _, day := range resp.Results[2:] {
		out.days = append(out.days, day.Envelopes...)
	}
	return out, nil
}

// learnPerson takes in what was read of an account.
func (c *Client) learnPerson(tx *store.Tx, id ident.AccountID, pub public) ([]Event, error) {
	p, err := c.person(tx, id)
	if err != nil {
		return nil, err
	}
	var changes []account.Event
	if log := account.OpenCerts(id, pub.certs); len(log) > 0 {
		if p.chain == nil {
			p.chain, err = account.ChainOfLog(id, log)
		} else {
			certs := make([]*account.Cert, len(log))
			for i := range log {
				certs[i] = log[i].Cert
			}
			p.chain, changes, err = extend(p.chain, certs)
		}
		if err != nil {
			return nil, err
		}
	}
	p.CertsHead = max(p.CertsHead, pub.head)
	if p.chain == nil {
		return nil, fault.New(fault.NotFound, "look up "+short(id), "no certificate of the account is there")
	}
	if r := bestRecord(id, p.chain, pub.days, pub.now); r != nil && (p.record == nil || !r.Version().Less(p.record.Version())) {
		p.record = r // never back: what a node shows may be older than what is known
	}
	events := c.noteChanges(tx, &p, changes)
	c.savePerson(tx, p)
	return events, nil
}

// extend is Chain.Extend that keeps the old chain on failure.
func extend(chain *account.Chain, certs []*account.Cert) (*account.Chain, []account.Event, error) {
	longer, events, err := chain.Extend(certs)
	if err != nil {
		return chain, nil, err
	}
	return longer, events, nil
}

// bestRecord returns the day record with the highest version that the chain vouches for and that is valid at now.
func bestRecord(id ident.AccountID, chain *account.Chain, days []envelope.Envelope, now time.Time) *account.EpochRecord {
	var records []*account.EpochRecord
	for _, e := range days {
		if r, err := account.OpenRecord(id, e); err == nil {
			records = append(records, r)
		}
	}
	return account.PickRecord(chain, records, now)
}

// noteChanges records what happened to somebody's account. A recovery takes the verified mark away: whoever has the
// phrase can recover.
func (c *Client) noteChanges(tx *store.Tx, p *person, changes []account.Event) (events []Event) {
	for _, e := range changes {
		if e.Kind != account.EventRecovered || !tx.AddPeerEvent(p.Account, store.PeerEvent{Kind: "recovered", G: e.G, At: e.At}) {
			continue
		}
		c.unverify(tx, p.Account)
		p.Before = p.Chain // as it was when it was read
		tx.AddLook(store.Look{Account: p.Account})
		c.records.wake()
		id := p.Account
		events = append(events, Event{Kind: EventContact, At: c.net.Now(), Contact: &id, Text: "recovered"})
	}
	return events
}

// short is an account ID for errors and tables.
func short(id ident.AccountID) string { return id.String()[:10] }
