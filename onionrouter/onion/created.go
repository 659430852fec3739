package onion

import (
	"encoding/binary"
	"fmt"

	"github.com/starling-swarm/starling/internal/fault"
)

// Status is what a hop says of a create packet.
type Status uint8

const (
	StatusOK         Status = 0
	StatusExtendFail Status = 1 // the next hop could not be reached or did not answer
	StatusRefused    Status = 2 // this hop cannot be what the header asks for
)

// Answer is what a hop put into its layer of a CREATED.
type Answer struct {
	Status Status
	TimeMS int64    // the hop's clock, Unix milliseconds
	Digest [32]byte // of the directory that the hop goes by
}

// ExtendError is a circuit that ended before its storage node: hop Hop said so itself, under its own key.
type ExtendError struct {
	Hop    int // 1 to Hops: who says it
	Status Status
}

func (e *ExtendError) Error() string {
	if e.Status == StatusRefused {
		return fmt.Sprintf("create circuit: hop %d refused its part", e.Hop)
	}
	return fmt.Sprintf("create circuit: hop %d did not reach hop %d", e.Hop, e.Hop+1)
}

// Unwrap classifies the error.
func (e *ExtendError) Unwrap() error { return fault.Unavailable }

// SealCreated turns the frame, which begins with the next hop's CREATED (nothing at hop 4 or after a
// failure), into this hop's, in place. It comes before all cells.
func (h *Hop) SealCreated(frame []byte, a Answer) error {
	const op = "seal created"
	if len(frame) != CellSize || h.bwd.count != 0 {
		return invalid(op, "frame of %d bytes after %d cells, want %d and 0", len(frame),
			h.bwd.count, CellSize)
	}
	size := createdSize(h.hop)
	inner := size - createdLayer
	if a.Status != StatusOK || h.hop == Hops {
		clear(frame)
	} else if !allZero(frame[inner:]) {
		return invalid(op, "the next hop's answer has bytes behind its end")
	}
	copy(frame[shareSize+createdPlain:], frame[:inner])
	copy(frame, h.share)
	frame[shareSize] = byte(a.Status)
	binary.BigEndian.PutUint64(frame[shareSize+1:], uint64(a.TimeMS))
	copy(frame[shareSize+9:], a.Digest[:])
	h.bwd.seal(frame[shareSize:], createdPlain+inner, frame[:shareSize])
	return nil
}

// Finish opens the CREATED that came back, in place. Answers holds what the hops said, from the guard on, as
// far as they did. With an *ExtendError the circuit ended on its way; any other error means that somebody
// tampered with it.
func (p *Pending) Finish(frame []byte) (c *Circuit, answers []Answer, err error) {
	const op = "open created"
	if len(frame) != CellSize {
		return nil, nil, invalid(op, "has %d bytes, want %d", len(frame), CellSize)
	}
	c = &Circuit{Tag: p.Tag}
	for j := 1; j <= Hops; j++ {
		layer := frame[:createdSize(j)]
		hop := &p.hops[j-1]
		share := layer[:shareSize]
		f, b, err := deriveKeys(j, hop.export, hop.share, share, hop.share.PublicKey().Bytes(), share)
		if err != nil {
			return nil, answers, fault.Wrap(fault.Invalid, op, err)
		}
		plain, ok := b.open(layer[shareSize:], share)
		if !ok {
			return nil, answers, invalid(op, "layer %d does not open", j)
		}
		c.hops[j-1] = circuitHop{f, b}
		a := Answer{Status: Status(plain[0]), TimeMS: int64(binary.BigEndian.Uint64(plain[1:]))}
		copy(a.Digest[:], plain[9:])
		answers = append(answers, a)
		if a.Status > StatusRefused {
			return nil, answers, invalid(op, "layer %d has status %d", j, a.Status)
		}
		frame = plain[createdPlain:]
		if (a.Status != StatusOK || j == Hops) && !allZero(frame) {
			return nil, answers, invalid(op, "layer %d has bytes behind its end", j)
		}
		if a.Status != StatusOK {
			return nil, answers, &ExtendError{j, a.Status}
		}
	}
	return c, answers, nil
}
