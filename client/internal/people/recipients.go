package people

import (
	"bytes"
	"context"
	"math"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Person is what is known of another account: the row in the store, and what it decodes to.
type Person struct {
	store.Peer
	Mailbox ident.MailboxID
	Certs   *account.Chain       // nil: no certificate is known
	DayKey  *account.EpochRecord // nil: no day key is known
}

// VerifyTimeout bounds the look-up of a sender's certificates; the message is kept unverified after it.
const VerifyTimeout = 5 * time.Second

// Get returns what is known of an account.
func (c *People) Get(tx *store.Tx, id ident.AccountID) (Person, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.known[id]; ok {
		return p, nil
	}
	p := Person{Peer: tx.Peer(id)}
	var err error
	if p.Mailbox, err = account.MailboxOf(id, c.core.Cluster.ID); err != nil {
		return p, err
	}
	if len(p.Chain) > 0 {
		if p.Certs, err = account.UnmarshalChain(p.Chain); err != nil {
			return p, err
		}
	}
	if len(p.Record) > 0 {
		if p.DayKey, err = account.DecodeEpochRecord(p.Record); err != nil {
			return p, err
		}
	}
	c.known[id] = p
	return p, tx.Err()
}

// Save writes p back, if it changed. p was read in the same transaction.
func (c *People) Save(tx *store.Tx, p Person) {
	c.mu.Lock()
	old, known := c.known[p.Account]
	c.mu.Unlock()
	if known && old.same(&p) {
		return
	}
	if p.Approved && !old.Approved {
		tx.ClearRequests(p.Account)
	}
	if p.Certs != nil {
		p.Chain = p.Certs.Marshal()
	}
	p.Record = nil
	if p.DayKey != nil {
		p.Record = p.DayKey.Bytes()
	}
	tx.SavePeer(&p.Peer)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[p.Account] = p
}

// same reports whether p and q are the same row.
func (p *Person) same(q *Person) bool {
	return p.Certs == q.Certs && p.DayKey == q.DayKey && p.Approved == q.Approved && p.Named == q.Named &&
		p.Name == q.Name && p.NameAt == q.NameAt &&
		p.CertsHead == q.CertsHead && p.KnowsG == q.KnowsG && p.FloorG == q.FloorG &&
		p.FloorDay == q.FloorDay && p.ToldAt == q.ToldAt &&
		p.ContestedAt == q.ContestedAt && bytes.Equal(p.Before, q.Before)
}

// forget drops the decoded persons after a transaction that changed some was rolled back.
func (c *People) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.known)
}

// Lookup is person outside of a transaction.
func (c *People) Lookup(id ident.AccountID) (p Person, err error) {
	err = c.core.View(func(tx *store.Tx) (err error) {
		p, err = c.Get(tx, id)
		return err
	})
	return p, err
}

// Recipient returns what Seal needs.
func (p *Person) Recipient() account.Recipient {
	return account.Recipient{Chain: p.Certs, Record: p.DayKey, Floor: account.DayVersion{G: p.FloorG,
		Day: p.FloorDay}}
}

// Sealable reports whether p can be written to at now without asking for newer records: the certificates'
// head is known, and so is the day key of this very day.
func (p *Person) Sealable(now time.Time) bool {
	return p.Certs != nil && p.CertsHead > 0 && p.DayKey != nil && p.DayKey.Day == account.Day(now) &&
		p.DayKey.G == p.Certs.G()
}

// SealFor seals m for p and raises the floor of p, which the caller saves.
func (c *People) SealFor(p *Person, m account.Outgoing, now time.Time) (blob []byte, err error) {
	m.PeerSeen = p.KnowsG
	c.core.Keys.Read(func(s *account.State) { blob, err = s.Seal(p.Recipient(), m, now) })
	if err != nil {
		return nil, err
	}
	p.FloorG, p.FloorDay = p.DayKey.G, p.DayKey.Day
	return blob, nil
}

// Fetch brings the certificates and the day key of an account up to date. minSeq is a sequence number that
// the answering replica must have reached (0: any). It fails with NotFound if the account has no mailbox
// here.
func (c *People) Fetch(ctx context.Context, id ident.AccountID, minSeq uint64) error {
	p, err := c.Lookup(id)
	if err != nil {
		return err
	}
	public, err := c.FetchPublic(ctx, core.PurposeFetch, p.Mailbox, p.CertsHead, minSeq)
	if err != nil {
		return err
	}
	if p.Certs == nil && len(public.Certs) == 0 {
		// A replica that lags may not know the mailbox yet: the leader has the last word.
		if public, err = c.FetchPublicStrict(ctx, p.Mailbox); err != nil {
			return err
		}
	}
	if p.Certs == nil && len(public.Certs) == 0 {
		return fault.New(fault.NotFound, "look up "+core.Short(id), "no such account in cluster %q",
			c.core.Cluster.Name)
	}
	err = c.core.UpdateLazy(func(tx *store.Tx, a *core.Batch) error {
		return c.learnPerson(tx,
			a, id, public)
	})
	if err != nil {
		return err
	}
	return c.lookForContest(ctx, id)
}

// public is what anyone who knows an account may read of its mailbox.
type public struct {
	Certs []envelope.Envelope
	Head  uint64 // sequence number of the newest certificate
	Days  []envelope.Envelope
	Now   time.Time
}

// FetchPublic reads the certificates after a sequence number, and the day records of today and yesterday.
func (c *People) FetchPublic(ctx context.Context, purpose string, mailbox ident.MailboxID, after,
	minSeq uint64) (public, error) {
	out := public{Head: after, Now: c.core.Net.Now()}
	ops := publicOps(after, out.Now)
	for {
		resp, _, err := c.core.Request(ctx, purpose, &envelope.Request{Mailbox: mailbox, MinSeq: minSeq,
			Mode: envelope.Each, Ops: ops}, nil)
		if err != nil {
			return out, err
		}
		certs := resp.Results[0]
		if certs.Err != nil && certs.Err.Kind != fault.NotFound {
			return out, certs.Err
		}
		out.Certs = append(out.Certs, certs.Envelopes...)
		for _, day := range resp.Results[1:] {
			out.Days = append(out.Days, day.Envelopes...)
		}
		if n := len(out.Certs); n > 0 {
			out.Head = out.Certs[n-1].Seq
		}
		if !certs.More {
			return out, nil
		}
		ops = []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs},
			After: certs.Seq}}
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

// FetchPublicStrict is the first page of FetchPublic as the swarm's leader has it. A request that holds a
// write goes through the leader; the write here can never come about, as its condition names a certificate
// that cannot exist.
func (c *People) FetchPublicStrict(ctx context.Context, mailbox ident.MailboxID) (public, error) {
	out := public{Now: c.core.Net.Now()}
	never := uint64(math.MaxInt64)
	put := envelope.Store{Namespace: envelope.Inbox, TTL: InboxTTL, IfCerts: &never, Body: []byte{0}}
	c.core.Admit(mailbox, &put)
	ops := append([]envelope.Op{put}, publicOps(0, out.Now)...)
	resp, _, err := c.core.Request(ctx, core.PurposeFetch, &envelope.Request{Mailbox: mailbox,
		Mode: envelope.Each, Ops: ops}, nil)
	if err != nil {
		return out, err
	}
	if e := resp.Results[1].Err; e != nil && e.Kind != fault.NotFound {
		return out, e
	}
	out.Certs = resp.Results[1].Envelopes
	if n := len(out.Certs); n > 0 {
		out.Head = out.Certs[n-1].Seq
	}
	for _, day := range resp.Results[2:] {
		out.Days = append(out.Days, day.Envelopes...)
	}
	return out, nil
}

// learnPerson takes in what was read of an account.
func (c *People) learnPerson(tx *store.Tx, a *core.Batch, id ident.AccountID, pub public) error {
	p, err := c.Get(tx, id)
	if err != nil {
		return err
	}
	var changes []account.Event
	if log := account.OpenCerts(id, pub.Certs); len(log) > 0 {
		if p.Certs == nil {
			p.Certs, err = account.ChainOfLog(id, log)
		} else {
			certs := make([]*account.Cert, len(log))
			for i := range log {
				certs[i] = log[i].Cert
			}
			p.Certs, changes, err = extend(p.Certs, certs)
		}
		if err != nil {
			return err
		}
	}
	p.CertsHead = max(p.CertsHead, pub.Head)
	if p.Certs == nil {
		return fault.New(fault.NotFound, "look up "+core.Short(id), "no certificate of the account is there")
	}
	if r := BestRecord(id, p.Certs, pub.Days, pub.Now); r != nil && (p.DayKey == nil ||
		!r.Version().Less(p.DayKey.Version())) {
		p.DayKey = r // never back: what a node shows may be older than what is known
	}
	c.noteChanges(tx, a, &p, changes)
	c.Save(tx, p)
	return nil
}

// extend is Chain.Extend that keeps the old chain on failure.
func extend(chain *account.Chain, certs []*account.Cert) (*account.Chain, []account.Event, error) {
	longer, events, err := chain.Extend(certs)
	if err != nil {
		return chain, nil, err
	}
	return longer, events, nil
}

// BestRecord returns the day record with the highest version that the chain vouches for and that is valid at
// now.
func BestRecord(id ident.AccountID, chain *account.Chain, days []envelope.Envelope,
	now time.Time) *account.EpochRecord {
	var records []*account.EpochRecord
	for _, e := range days {
		if r, err := account.OpenRecord(id, e); err == nil {
			records = append(records, r)
		}
	}
	return account.PickRecord(chain, records, now)
}

// noteChanges records what happened to somebody's account. A recovery takes the verified mark away: whoever
// has the phrase can recover.
func (c *People) noteChanges(tx *store.Tx, a *core.Batch, p *Person, changes []account.Event) {
	for _, e := range changes {
		if e.Kind != account.EventRecovered ||
			!tx.AddPeerEvent(p.Account, store.PeerEvent{Kind: "recovered", G: e.G, At: e.At}) {
			continue
		}
		c.unverify(tx, p.Account)
		p.Before = p.Chain // as it was when it was read
		tx.AddLook(store.Look{Account: p.Account})
		c.heard()
		id := p.Account
		a.Tell(core.Fact{Kind: core.FactContact, Contact: &id, Text: "recovered"})
	}
}
