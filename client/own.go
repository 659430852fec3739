package client

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

// ownRequest carries r to the account's own mailbox, signed by the authority of the generation that this device takes
// part in. Stale and Denied mean that the account may have gone on to another one: see catchUpOwn.
func (c *Client) ownRequest(ctx context.Context, r *envelope.Request) (*envelope.Response, ident.Path, error) {
	key, err := c.keys.authority()
	if err != nil {
		return nil, ident.Path{}, err
	}
	r.Mailbox = c.mailbox
	return c.request(ctx, PurposeInbox, r, key)
}

// ownRequestRetry is ownRequest that catches up with the account's generation when it meets a newer one, and then
// builds the request anew.
func (c *Client) ownRequestRetry(ctx context.Context, build func() (*envelope.Request, error)) (*envelope.Response, error) {
	for attempt := 0; ; attempt++ {
		r, err := build()
		if err != nil || r == nil {
			return nil, err
		}
		resp, _, err := c.ownRequest(ctx, r)
		if attempt == 4 || !superseded(err) {
			return resp, err
		}
		if err := c.catchUpOwn(ctx, headOf(err)); err != nil {
			return nil, err
		}
	}
}

// headOf returns the sequence number that a Stale error met, which a replica must have reached to know better; 0: any.
func headOf(err error) uint64 {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Stale {
		return f.Head
	}
	return 0
}

// superseded reports whether a node refused an authority that may have been replaced.
func superseded(err error) bool {
	return errors.Is(err, fault.Stale) || errors.Is(err, fault.Denied) || errors.Is(err, fault.Unauthenticated)
}

// catchUpOwn reads the account's certificate log, which needs no authority, and takes part in every generation that it
// finds. minSeq is a sequence number of the mailbox that the answering replica must have reached. It fails with Denied
// if the account went on without this device.
func (c *Client) catchUpOwn(ctx context.Context, minSeq uint64) error {
	c.own.Lock()
	defer c.own.Unlock()
	for {
		var after uint64
		c.keys.read(func(s *account.State) { after = s.CertsHead() })
		certs, err := c.readCerts(ctx, after, minSeq)
		if err != nil {
			return err
		}
		var changes []account.Event
		if len(certs) > 0 {
			err := c.keys.change(func(s *account.State) error {
				changes = s.LearnCerts(certs)
				return nil
			})
			if err != nil {
				return err
			}
		}
		adopted, err := c.adoptNext(ctx)
		if nerr := c.noteOwn(changes); nerr != nil {
			return nerr
		}
		if err != nil || !adopted {
			return err
		}
	}
}

// readCerts returns the own certificates after a sequence number.
func (c *Client) readCerts(ctx context.Context, after, minSeq uint64) (out []envelope.Envelope, err error) {
	for {
		r := &envelope.Request{Mailbox: c.mailbox, MinSeq: minSeq, Ops: []envelope.Op{envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Certs}, After: after}}}
		resp, _, err := c.request(ctx, PurposeInbox, r, nil)
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

// adoptNext takes part in the next generation that is known, if there is one. Denied: no slot of its device group is
// for this device.
func (c *Client) adoptNext(ctx context.Context) (adopted bool, err error) {
	var g uint32
	var ok bool
	c.keys.read(func(s *account.State) { g, ok = s.Next() })
	if !ok {
		if _, _, revoked := c.keys.summary(); revoked {
			return false, errRevoked("follow account")
		}
		return false, nil
	}
	body, err := c.readGroup(ctx, g)
	if err != nil {
		return false, err
	}
	var a *account.Adoption
	waiting := false
	err = c.keys.change(func(s *account.State) (err error) {
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
		return false, errRevoked("follow account") // the same words whenever it is noticed
	}
	if err != nil || a == nil {
		return err == nil, err
	}
	return true, c.afterAdoption(a)
}

func (c *Client) readGroup(ctx context.Context, g uint32) ([]byte, error) {
	var head uint64 // the group came in the same batch as its certificate
	c.keys.read(func(s *account.State) { head = s.CertsHead() })
	r := &envelope.Request{Mailbox: c.mailbox, MinSeq: head, Ops: []envelope.Op{envelope.RetrieveKey{Namespace: envelope.Devices, Key: account.GroupKey(g)}}}
	resp, _, err := c.request(ctx, PurposeInbox, r, nil)
	if err != nil {
		return nil, err
	}
	if len(resp.Results[0].Envelopes) != 1 {
		// A replica that lags behind the certificate has no group yet; another attempt reads it.
		return nil, fault.New(fault.Unavailable, "read device group", "generation %d has none yet", g)
	}
	return resp.Results[0].Envelopes[0].Body, nil
}

// afterAdoption tells the other devices the next key, forgets requests that were granted, and shows what changed.
func (c *Client) afterAdoption(a *account.Adoption) error {
	var events []Event
	err := c.p.db.Update(func(tx *store.Tx) error {
		if a.Announce {
			tx.AddLeg(&store.Leg{Kind: store.LegAnnounce, Peer: c.me.Key(), SentAt: c.nowMS()})
		}
		events = c.recordDevices(tx, a)
		return c.renewGroupAsks(tx)
	})
	if err != nil {
		return err
	}
	c.bus.publish(events...)
	c.out.kick(c.me)
	c.records.wake()
	return nil
}

// noteOwn records recoveries of the own account: an alarm for every device that did not make it.
func (c *Client) noteOwn(changes []account.Event) error {
	var events []Event
	err := c.p.db.Update(func(tx *store.Tx) error {
		for _, e := range changes {
			if e.Kind != account.EventRecovered {
				continue
			}
			de := store.DeviceEvent{Kind: "recovered", At: e.At}
			if tx.AddDeviceEvent(de) {
				events = append(events, deviceEvent(c, de))
			}
		}
		if _, _, revoked := c.keys.summary(); revoked {
			de := store.DeviceEvent{Kind: "revoked", Device: c.keys.device(), At: c.lastCertAt()}
			if tx.AddDeviceEvent(de) {
				events = append(events, deviceEvent(c, de))
			}
		}
		return nil
	})
	c.bus.publish(events...)
	return err
}

// lastCertAt is when the newest generation was made.
func (c *Client) lastCertAt() (at int64) {
	c.keys.read(func(s *account.State) {
		if chain, ok := s.Chain(); ok {
			at = chain.Head().Created
		}
	})
	return at
}
