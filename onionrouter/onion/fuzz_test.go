package onion

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/starling-swarm/starling/internal/ident"
)

func FuzzOpenCreate(f *testing.F) {
	rs, p := newPath(f)
	_, frame, err := Build(rand.Reader, p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame)
	f.Add(frame[:100])
	f.Add(make([]byte, CreateSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := OpenCreate(rs[0].key, rs[0].id, testPeriod, b)
		if err == nil && !bytes.Equal(b[:createSize(1)], frame[:createSize(1)]) {
			t.Errorf("opened a packet that nobody sealed: %+v", c.Header)
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	h := Header{Class: MSG, Hop: 2, Next: ident.NodeID{1}, Bucket: 3, Lifetime: 60}
	f.Add(h.encode())
	f.Add([]byte{1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHeader(b); err == nil && len(b) == headerSize && !bytes.Equal(h.encode(), b) {
			t.Errorf("%x reads as %+v, which writes as %x", b, h, h.encode())
		}
	})
}

func FuzzFinishCreated(f *testing.F) {
	_, p := newPath(f)
	pending, _, err := Build(rand.Reader, p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(make([]byte, CellSize))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := pending.Finish(b); err == nil {
			t.Error("accepted an answer that no hop made")
		}
	})
}

func FuzzCell(f *testing.F) {
	f.Add(make([]byte, CellSize), uint8(1))
	f.Add([]byte{1, 2, 3}, uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, hop uint8) {
		l := keyed()
		h := l.hops[hop%Hops]
		if _, err := h.Forward(bytes.Clone(b)); err == nil {
			t.Error("a hop opened a cell that nobody sealed")
		}
		_ = h.Backward(bytes.Clone(b))
		if _, _, err := l.circuit.Open(bytes.Clone(b)); err == nil {
			t.Error("the client opened a cell that nobody sealed")
		}
	})
}

func FuzzDecodePayload(f *testing.F) {
	b := make([]byte, PayloadSize)
	Payload{Command: Resp, Stream: 1, Flags: FlagStart, Data: []byte("body")}.Put(b)
	f.Add(bytes.Clone(b))
	U64(Ping, 0, 1).Put(b)
	f.Add(bytes.Clone(b))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePayload(b)
		if err != nil || len(b) != PayloadSize {
			return
		}
		again := make([]byte, PayloadSize)
		if p.Put(again); !bytes.Equal(b, again) {
			t.Errorf("%+v writes other bytes than it was read from", p)
		}
	})
}

// FuzzReassembler feeds cells that decode, cut from the input: two bytes choose stream and flags of each.
func FuzzReassembler(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 0, 4, 'b', 'o', 'd', 'y'}, uint16(10))
	f.Add([]byte{1, 1, 0, 0, 0x10, 0, 3, 1, 0, 0, 0, 0}, uint16(6))
	f.Fuzz(func(t *testing.T, in []byte, size uint16) {
		var asm Reassembler
		fed := 0
		for len(in) >= 2 {
			n := min(len(in), 2+int(size)%(DataSize+1))
			p := Payload{Command: Resp, Stream: uint16(in[0])<<1 | 1, Flags: in[1] % 4, Data: in[2:n]}
			in = in[n:]
			fed += len(p.Data)
			m, done, err := asm.Add(p)
			if err != nil {
				return
			}
			held := len(m.Body)
			for _, q := range asm.open {
				held += len(q.Body)
			}
			if held > fed || len(asm.open) > MaxStreams || done && Cells(len(m.Body)) == 0 {
				t.Fatalf("holds %d bytes of %d fed in %d streams", held, fed, len(asm.open))
			}
		}
	})
}
