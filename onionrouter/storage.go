package onionrouter

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/starling-swarm/starling/internal/cellstream"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

const (
	pushWindow = 32                        // PUSH messages without an ACK, per subscription
	respWindow = 1_024                     // RESP cells without CREDIT, per circuit
	maxAnswer  = envelope.MaxPage + 64<<10 // bytes of one answer
	padMin     = 20 * time.Second          // between two DROP cells of the storage end
	padMax     = 60 * time.Second
)

// storageEnd is hop 4 of a circuit. Every request and every subscription has a goroutine, which ends with its
// stream or with the circuit.
type storageEnd struct {
	c   *circuit
	tag [onion.TagSize]byte

	asm  onion.Reassembler // the reader's
	last uint16            // highest stream number so far; the reader's
	resp *credit

	mu      sync.Mutex
	streams map[uint16]*inbound
	ended   bool           // no more work is begun
	work    sync.WaitGroup // begun under mu, since the reader may outlive store
}

// inbound is a stream with a request or a subscription at work.
type inbound struct {
	cancel context.CancelFunc
	window *credit // subscriptions: pushes that may be sent

	mu   sync.Mutex
	sent []uint64 // sequence numbers pushed and not acknowledged, rising
}

// store serves a circuit as its storage node.
func (c *circuit) store(tag [onion.TagSize]byte, forward chan<- func(cellstream.Frame) bool) {
	if c.created(cellstream.Get(onion.CellSize), onion.StatusOK) != nil {
		return
	}
	e := &storageEnd{c: c, tag: tag, resp: newCredit(respWindow), streams: map[uint16]*inbound{}}
	defer e.end()
	forward <- e.handle
	for {
		pad := time.NewTimer(padMin + rand.N(padMax-padMin))
		select {
		case <-c.ctx.Done():
			pad.Stop()
			return
		case <-pad.C:
		}
		if c.reply(onion.Payload{Command: onion.Drop}) != nil {
			return
		}
	}
}

// end stops the work and waits for it.
func (e *storageEnd) end() {
	e.c.cancel()
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.work.Wait()
}

// handle takes one cell from the client; false ends the circuit.
func (e *storageEnd) handle(f cellstream.Frame) bool {
	defer cellstream.Put(f)
	mine, err := e.c.hop.Forward(*f)
	if err != nil {
		return false
	}
	p, err := onion.DecodePayload(mine)
	if err != nil {
		return false
	}
	switch p.Command {
	case onion.Req, onion.Sub:
		return e.message(p)
	case onion.Ack:
		e.acknowledge(p.Stream, p.Number())
	case onion.Credit:
		e.resp.add(int(min(p.Number(), respWindow)))
	case onion.Ping:
		return e.c.reply(onion.U64(onion.Pong, 0, p.Number())) == nil
	case onion.Drop:
	case onion.End:
		e.mu.Lock()
		if s := e.streams[p.Stream]; s != nil {
			s.cancel()
		}
		e.mu.Unlock()
	default:
		return false
	}
	return true
}

// message takes a cell of a request or a subscription and starts work on it when it is whole.
func (e *storageEnd) message(p onion.Payload) bool {
	if p.Flags&onion.FlagStart != 0 {
		if p.Stream <= e.last {
			return false
		}
		e.last = p.Stream
	}
	m, done, err := e.asm.Add(p)
	if err != nil {
		return false
	}
	return !done || e.start(m)
}

func (e *storageEnd) start(m onion.Received) bool {
	ctx, cancel := context.WithCancel(e.c.ctx)
	s := &inbound{cancel: cancel}
	if m.Command == onion.Sub {
		s.window = newCredit(pushWindow)
	}
	e.mu.Lock()
	full := len(e.streams) >= onion.MaxStreams
	if !full && !e.ended {
		e.streams[m.Stream] = s
		e.work.Go(func() {
			defer cancel()
			defer e.forget(m.Stream)
			if m.Command == onion.Sub {
				e.subscribe(ctx, s, m)
			} else {
				e.answer(ctx, m)
			}
		})
		e.mu.Unlock()
		return true
	}
	e.mu.Unlock()
	cancel()
	return full && e.finish(m.Stream, fault.New(fault.Limited, "", "more than %d streams at work",
		onion.MaxStreams)) == nil
}

func (e *storageEnd) forget(stream uint16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.streams, stream)
}

// answer carries out a request and sends what it gave.
func (e *storageEnd) answer(ctx context.Context, m onion.Received) {
	b := e.c.r.cfg.Storage.Do(ctx, e.tag, m.Body)
	if ctx.Err() != nil {
		e.cancelled(m.Stream)
		return
	}
	if len(b) == 0 || len(b) > maxAnswer {
		e.forget(m.Stream)
		f := fault.New(fault.Internal, "", "answer of %d bytes", len(b))
		e.c.r.cfg.Logger.Error("answer is of no size that fits", "err", f)
		_ = e.finish(m.Stream, f)
		return
	}
	for len(b) > 0 {
		n := min(len(b), onion.MaxMessage)
		if ctx.Err() != nil {
			e.cancelled(m.Stream)
			return
		}
		if n == len(b) {
			e.forget(m.Stream) // before the client can know that the stream is free
		}
		if e.send(onion.Resp, m.Stream, n < len(b), b[:n]) != nil {
			return
		}
		b = b[n:]
	}
}

// subscribe serves a subscription until it ends, and says why.
func (e *storageEnd) subscribe(ctx context.Context, s *inbound, m onion.Received) {
	var lost error // of our own link: not the storage's
	err := e.c.r.cfg.Storage.Subscribe(ctx, e.tag, m.Body, func(seq uint64, env []byte) error {
		if err := s.window.take(ctx); err != nil {
			return err
		}
		s.mu.Lock()
		s.sent = append(s.sent, seq)
		s.mu.Unlock()
		push := append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(env)), seq), env...)
		lost = e.send(onion.Push, m.Stream, false, push)
		return lost
	})
	if ctx.Err() != nil {
		e.cancelled(m.Stream)
		return
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		if lost == nil {
			e.c.r.cfg.Logger.Error("subscription ended with an unclassified error", "err", err)
		}
		f = fault.New(fault.Unavailable, "", "subscription ended")
	}
	e.forget(m.Stream)
	_ = e.finish(m.Stream, f)
}

// acknowledge gives back credit for every push up to seq.
func (e *storageEnd) acknowledge(stream uint16, seq uint64) {
	e.mu.Lock()
	s := e.streams[stream]
	e.mu.Unlock()
	if s == nil || s.window == nil {
		return
	}
	s.mu.Lock()
	n := 0
	for n < len(s.sent) && s.sent[n] <= seq {
		n++
	}
	s.sent = slices.Delete(s.sent, 0, n)
	s.mu.Unlock()
	s.window.add(n)
}

// cancelled confirms that a stream ended as the client asked: from then on it may open another one.
func (e *storageEnd) cancelled(stream uint16) {
	if e.c.ctx.Err() == nil {
		e.forget(stream)
		_ = e.c.reply(onion.Payload{Command: onion.End, Stream: stream, Data: []byte{onion.EndDone}})
	}
}

// finish ends a stream with an error. Only its kind, numbers and detail leave the node.
func (e *storageEnd) finish(stream uint16, f *fault.Error) error {
	return e.c.reply(onion.Payload{Command: onion.End, Stream: stream, Data: append([]byte{onion.EndFault},
		envelope.EncodeFault(f)...)})
}

// send cuts a message into cells; those of other streams may go in between. A message that has begun is
// finished even if its stream has ended meanwhile: the client could not tell where the next one starts.
func (e *storageEnd) send(c onion.Command, stream uint16, continued bool, body []byte) error {
	m, err := onion.NewMessage(c, stream, continued, body)
	if err != nil {
		return err
	}
	for m.Left() > 0 {
		if c == onion.Resp {
			if err := e.resp.take(e.c.ctx); err != nil {
				return err
			}
		}
		if err := e.cell(&m); err != nil {
			return err
		}
	}
	return nil
}

func (e *storageEnd) cell(m *onion.Message) error {
	c := e.c
	c.back.Lock()
	defer c.back.Unlock()
	f := cellstream.Get(onion.CellSize)
	m.Next(c.hop.Own(*f))
	c.hop.SealOwn(*f)
	return c.prev.Send(f)
}
