package circuit

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

// Subscribe sends what build returns (an encoded subscription) to mailbox and calls handle for every
// envelope, in order. Envelopes are acknowledged, some at a time, once handle has returned. It blocks until
// ctx ends, the circuit dies, the storage node ends the subscription, or handle fails, and returns why; the
// caller subscribes again from the cursor it has on disk.
func (n *Network) Subscribe(ctx context.Context, mailbox ident.MailboxID, build func() []byte, sign SignFunc,
	handle func(envelope.Envelope) error) error {
	c, err := n.circuit(ctx, key{PurposeInbox, mailbox})
	if err != nil {
		n.note(err)
		return err
	}
	if err := c.take(ctx); err != nil {
		return err
	}
	signed := sign(c.path.Storage, c.circ.Tag, n.Now().UnixMilli(), envelope.LabelSubscribe, build())
	cl := &call{result: make(chan result, 1), pushes: make(chan onion.Received, pushWindow)}
	stream, err := c.open(onion.Sub, signed.Encode(), cl)
	if err != nil {
		c.end(err)
		return err
	}
	err = c.consume(ctx, stream, cl, handle)
	c.giveUp(stream, cl)
	switch {
	case ctx.Err() != nil:
		return fault.Wrap(fault.Unavailable, "subscribe", ctx.Err())
	case fault.KindOf(err) == fault.WrongSwarm:
		c.retire()
		n.wantVersion(versionOf(err))
	case fault.KindOf(err) == fault.Unavailable:
		n.avoid(c.path.Storage, avoidStorage)
		c.retire()
	}
	return err
}

// ackEvery is how many pushes one ACK covers. An ACK only gives credit back, and its cell costs every hop as
// much as the push itself: with one for each push a message to a large group would cost the relays twice as
// much.
const ackEvery = pushWindow / 4

// consume hands pushes on until the subscription is over.
func (c *live) consume(ctx context.Context, stream uint16, cl *call,
	handle func(envelope.Envelope) error) error {
	owed := 0 // pushes without an ACK
	take := func(m onion.Received) error {
		seq, err := push(m, handle)
		if err != nil {
			return err
		}
		if owed++; owed < ackEvery {
			return nil
		}
		owed = 0
		return c.cell(onion.Hops, onion.U64(onion.Ack, stream, seq))
	}
	for {
		select {
		case m := <-cl.pushes:
			if err := take(m); err != nil {
				return err
			}
			continue
		default:
		}
		select {
		case m := <-cl.pushes:
			if err := take(m); err != nil {
				return err
			}
		case r := <-cl.result:
			for len(cl.pushes) > 0 { // what came before the end
				if err := take(<-cl.pushes); err != nil {
					return err
				}
			}
			return r.err
		case <-c.done:
			return c.ended()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// push handles one PUSH and returns its sequence number.
func push(m onion.Received, handle func(envelope.Envelope) error) (seq uint64, err error) {
	const seqSize = 8
	if len(m.Body) < seqSize {
		return 0, fault.New(fault.Corrupt, "read push", "has %d bytes", len(m.Body))
	}
	e, err := envelope.DecodeEnvelope(m.Body[seqSize:])
	if err != nil {
		return 0, err
	}
	seq = binary.BigEndian.Uint64(m.Body)
	if seq != e.Seq {
		return 0, fault.New(fault.Corrupt, "read push", "number %d around envelope %d", seq, e.Seq)
	}
	return seq, handle(e)
}

// giveUp tells the storage node that nobody listens on the stream any more, unless it is over anyway. What
// still comes is dropped; the slot comes free when the storage node confirms, or with the answer that crossed
// this.
func (c *live) giveUp(stream uint16, cl *call) {
	cl.gone.Store(true)
	c.mu.Lock()
	_, open := c.calls[stream]
	c.mu.Unlock()
	if open {
		_ = c.cell(onion.Hops, onion.Payload{Command: onion.End, Stream: stream, Data: []byte{onion.EndDone}})
	}
}

// versionOf returns the directory version that a WrongSwarm names.
func versionOf(err error) uint64 {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Version
	}
	return 0
}
