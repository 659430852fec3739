package cluster

import (
	"context"
	"errors"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/wire"
)

// Portions in which a subscription reads the store.
const (
	pushCount = 64
	pushBytes = 256 << 10
)

// subscription is one client's subscription on this node. Its cursor moves with what the client was given, so
// it can go on at any replica.
type subscription struct {
	in     statemachine.Ingress
	sub    *envelope.Subscribe
	raw    []byte // the encoded envelope.Signed
	cursor uint64
	handle func(envelope.Envelope) error
}

// errHandle marks an error of a subscription's own handle, which ends it whatever its kind.
type errHandle struct{ error }

func (e errHandle) Unwrap() error { return e.error }

// deliver hands an envelope on, unless the subscriber has it already.
func (s *subscription) deliver(e envelope.Envelope) error {
	if e.Seq <= s.cursor {
		return nil
	}
	if err := s.handle(e); err != nil {
		return errHandle{err}
	}
	s.cursor = e.Seq
	return nil
}

// Subscribe follows a mailbox: it gives handle what came after the subscription's cursor and then every
// envelope as it is stored, in order of sequence numbers, without a gap or a duplicate, across changes of the
// swarm's leader. handle may block; that holds back this subscription alone. signed is as in Do, with an
// encoded envelope.Subscribe.
//
// It returns when ctx ends (ctx's error), when handle fails (its error), or with a *fault.Error: Stale with
// the certificate log's head when the mailbox's authority changed, Unavailable when the node stops, and the
// refusals of Do.
func (n *Node) Subscribe(ctx context.Context, tag [32]byte, signed []byte,
	handle func(envelope.Envelope) error) error {
	const op = "subscribe"
	s := &subscription{in: statemachine.Ingress{Node: n.id, Tag: tag}, raw: signed, handle: handle}
	var err error
	if s.in.Signed, err = envelope.DecodeSigned(signed); err != nil {
		return err
	}
	if s.sub, err = envelope.DecodeSubscribe(s.in.Signed.Bytes); err != nil {
		return err
	}
	if err := n.checkTime(op, s.in.Signed.TimeMS); err != nil {
		return err
	}
	r, err := n.hosted(op, s.sub.Mailbox)
	if err != nil {
		return err
	}
	s.cursor = s.sub.Cursor
	for {
		err := r.attach(ctx, s)
		var own errHandle
		switch {
		case errors.As(err, &own):
			return own.error
		case ctx.Err() != nil:
			return ctx.Err()
		case fault.KindOf(err) != fault.Unavailable:
			return n.told("subscribe", err)
		}
		select {
		case <-r.done:
			return errStopping(op)
		default:
		}
	}
}

// attach serves a subscription through whoever leads the swarm now. It returns Unavailable when that is over;
// then it has waited for a reason to try again.
func (r *replica) attach(ctx context.Context, s *subscription) error {
	reign, leader, known, changed := r.role()
	var err error
	switch {
	case reign != nil:
		err = r.serve(ctx, s, reign)
	case known:
		err = r.n.followers.subscribe(ctx, leader, r, s)
	default:
		err = fault.New(fault.Unavailable, "subscribe", "swarm %s has no leader", r.id)
	}
	if fault.KindOf(err) == fault.Unavailable && reign == nil {
		wait(ctx, changed, retryPause)
	}
	return err
}

// serve gives a subscription, on the leader, what its own state machine applies, until the reign ends.
func (r *replica) serve(ctx context.Context, s *subscription, reign <-chan struct{}) error {
	wake, detach := r.fsm.hub.attach(s.sub.Mailbox) // before the first look, so that nothing falls between
	defer detach()
	if err := r.store.VerifySubscribe(s.in, s.sub); err != nil {
		return err
	}
	for {
		page, err := r.store.ReadAfter(s.sub.Mailbox, s.sub.Namespaces, s.cursor, pushCount, pushBytes)
		if err != nil {
			return err
		}
		// Looked at after reading: what was read while the authority still held is the subscriber's.
		if err := r.store.StillAllowed(s.sub); err != nil {
			return err
		}
		for _, e := range page.Envelopes {
			if err := s.deliver(e); err != nil {
				return err
			}
		}
		s.cursor = max(s.cursor, page.Seq)
		if page.More {
			continue
		}
		select {
		case <-wake:
		case <-reign:
			return fault.New(fault.Unavailable, "subscribe", "swarm %s changes its leader", r.id)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serveForwarded serves a subscription that another replica of the swarm forwards; it ends when this node
// does not lead.
func (n *Node) serveForwarded(ctx context.Context, s *subscription, w *wire.Subscription) error {
	const op = "subscribe"
	var err error
	if s.in.Signed, err = envelope.DecodeSigned(w.Signed); err != nil {
		return err
	}
	if s.sub, err = envelope.DecodeSubscribe(s.in.Signed.Bytes); err != nil {
		return err
	}
	if w.Cursor < s.sub.Cursor {
		return fault.New(fault.Invalid, op, "goes on at %d, before the signed cursor %d",
			w.Cursor, s.sub.Cursor)
	}
	s.cursor = w.Cursor
	if !n.isReplica(w.Swarm, s.in.Node) {
		return fault.New(fault.Denied, op, "node %s has no replica of swarm %s", s.in.Node.Short(), w.Swarm)
	}
	r := n.replica(w.Swarm)
	if r == nil {
		return fault.New(fault.Unavailable, op, "swarm %s is not here", w.Swarm)
	}
	reign, _, _, _ := r.role()
	if reign == nil {
		return fault.New(fault.Unavailable, op, "another node leads swarm %s", w.Swarm)
	}
	return r.serve(ctx, s, reign)
}
