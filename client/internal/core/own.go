package core

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// NoteDevice records what happened to the list of devices, and tells it. It returns false if that is known.
func NoteDevice(tx *store.Tx, a *Batch, e store.DeviceEvent) bool {
	fresh := tx.AddDeviceEvent(e)
	if fresh {
		a.Tell(Fact{Kind: FactDevice, Device: &e})
	}
	return fresh
}

// OwnRequest carries r to the account's own mailbox, signed by the authority of the generation that this
// device takes part in. Stale and Denied mean that the account may have gone on to another one: see
// CatchUpOwn.
func (c *Core) OwnRequest(ctx context.Context, r *envelope.Request) (*envelope.Response, ident.Path, error) {
	key, err := c.Keys.Authority()
	if err != nil {
		return nil, ident.Path{}, err
	}
	r.Mailbox = c.Mailbox
	return c.Request(ctx, PurposeInbox, r, key)
}

// OwnRequestRetry is OwnRequest that catches up with the account's generation when it meets a newer one, and
// then builds the request anew.
func (c *Core) OwnRequestRetry(ctx context.Context, build func() (*envelope.Request,
	error)) (*envelope.Response, error) {
	for attempt := 0; ; attempt++ {
		r, err := build()
		if err != nil || r == nil {
			return nil, err
		}
		resp, _, err := c.OwnRequest(ctx, r)
		if attempt == 4 || !Superseded(err) {
			return resp, err
		}
		if err := c.CatchUpOwn(ctx, HeadOf(err)); err != nil {
			return nil, err
		}
	}
}

// CatchUpOwn reads the account's certificate log, which needs no authority, and takes part in every
// generation that it finds. minSeq is a sequence number of the mailbox that the answering replica must have
// reached. It fails with Denied if the account went on without this device.
func (c *Core) CatchUpOwn(ctx context.Context, minSeq uint64) error {
	c.own.Lock()
	defer c.own.Unlock()
	for {
		var after uint64
		c.Keys.Read(func(s *account.State) { after = s.CertsHead() })
		certs, err := c.ReadCerts(ctx, after, minSeq)
		if err != nil {
			return err
		}
		var changes []account.Event
		if len(certs) > 0 {
			err := c.Keys.Change(func(s *account.State) error {
				changes = s.LearnCerts(certs)
				return nil
			})
			if err != nil {
				return err
			}
		}
		adopted, err := c.adoptNext(ctx)
		if nerr := c.NoteOwn(changes); nerr != nil {
			return nerr
		}
		if err != nil || !adopted {
			return err
		}
	}
}

// ReadCerts returns the own certificates after a sequence number.
func (c *Core) ReadCerts(ctx context.Context, after, minSeq uint64) (out []envelope.Envelope, err error) {
	for {
		r := &envelope.Request{Mailbox: c.Mailbox, MinSeq: minSeq,
			Ops: []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs},
				After: after}}}
		resp, _, err := c.Request(ctx, PurposeInbox, r, nil)
		if errors.Is(err, fault.NotFound) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, resp.Results[0].Envelopes...)
		if !resp.Results[0].More {
			return out, nil
		}
		after = resp.Results[0].Seq
	}
}

// adoptNext takes part in the next generation that is known, if there is one. Denied: no slot of its device
// group is for this device.
func (c *Core) adoptNext(ctx context.Context) (adopted bool, err error) {
	var g uint32
	var ok bool
	c.Keys.Read(func(s *account.State) { g, ok = s.Next() })
	if !ok {
		if _, _, revoked := c.Keys.Summary(); revoked {
			return false, ErrRevoked("follow account")
		}
		return false, nil
	}
	body, err := c.readGroup(ctx, g)
	if err != nil {
		return false, err
	}
	var a *account.Adoption
	waiting := false
	err = c.Keys.Change(func(s *account.State) (err error) {
		if now, ok := s.Next(); !ok || now != g {
			return nil // somebody else adopted it meanwhile
		}
		waiting = s.G() == 0
		a, err = s.Adopt(rand.Reader, body)
		return err
	})
	switch denied := errors.Is(err, fault.Denied); {
	case denied && waiting:
		return true, nil // made without the device that asks to join: it may be in the next one
	case denied:
		return false, ErrRevoked("follow account") // the same words whenever it is noticed
	}
	if err != nil || a == nil {
		return err == nil, err
	}
	return true, c.afterAdoption(a)
}

func (c *Core) readGroup(ctx context.Context, g uint32) ([]byte, error) {
	var head uint64 // the group came in the same batch as its certificate
	c.Keys.Read(func(s *account.State) { head = s.CertsHead() })
	r := &envelope.Request{Mailbox: c.Mailbox, MinSeq: head,
		Ops: []envelope.Op{envelope.RetrieveKey{Namespace: envelope.Devices, Key: account.GroupKey(g)}}}
	resp, _, err := c.Request(ctx, PurposeInbox, r, nil)
	if err != nil {
		return nil, err
	}
	if len(resp.Results[0].Envelopes) != 1 {
		// A replica that lags behind the certificate has no group yet; another attempt reads it.
		return nil, fault.New(fault.Unavailable, "read device group", "generation %d has none yet", g)
	}
	return resp.Results[0].Envelopes[0].Body, nil
}

// TakePart makes this device a part of the generation that change began, which the nodes acknowledged with
// resp.
func (c *Core) TakePart(change *account.Change, resp *envelope.Response) error {
	c.own.Lock()
	defer c.own.Unlock()
	var a *account.Adoption
	err := c.Keys.Change(func(s *account.State) (err error) {
		a, err = s.Commit(rand.Reader, change, resp)
		return err
	})
	if err != nil {
		return err
	}
	return c.afterAdoption(a)
}

// afterAdoption tells the other devices the next key, forgets requests that were granted, and shows what
// changed.
func (c *Core) afterAdoption(a *account.Adoption) error {
	return c.Update(func(tx *store.Tx, b *Batch) error {
		if a.Announce {
			tx.AddLeg(&store.Leg{Kind: store.LegAnnounce, Peer: c.Me.Key(), SentAt: c.NowMS()})
		}
		b.Kick(c.Me)
		for _, f := range c.hooks.adopted {
			if err := f(tx, b, a); err != nil {
				return err
			}
		}
		return tx.Err()
	})
}

// NoteOwn records recoveries of the own account: an alarm for every device that did not make it.
func (c *Core) NoteOwn(changes []account.Event) error {
	return c.Update(func(tx *store.Tx, a *Batch) error {
		for _, e := range changes {
			if e.Kind != account.EventRecovered {
				continue
			}
			NoteDevice(tx, a, store.DeviceEvent{Kind: "recovered", At: e.At})
		}
		if _, _, revoked := c.Keys.Summary(); revoked {
			NoteDevice(tx, a, store.DeviceEvent{Kind: "revoked", Device: c.Keys.Device(), At: c.LastCertAt()})
		}
		return nil
	})
}

// LastCertAt is when the newest generation was made.
func (c *Core) LastCertAt() (at int64) {
	c.Keys.Read(func(s *account.State) {
		if chain, ok := s.Chain(); ok {
			at = chain.Head().Created
		}
	})
	return at
}
