package onion

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// cells cuts a message into payloads.
func cells(t testing.TB, c Command, stream uint16, continued bool, body []byte) (out []Payload) {
	t.Helper()
	m, err := NewMessage(c, stream, continued, body)
	if err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, PayloadSize); m.Next(b); {
		p, err := DecodePayload(bytes.Clone(b))
		if err != nil {
			t.Fatalf("cell %d of a message of %d bytes: %v", len(out), len(body), err)
		}
		out = append(out, p)
	}
	return out
}

func TestMessageSizesAreBuckets(t *testing.T) {
	for _, row := range []struct{ bytes, cells int }{
		{0, 1}, {1, 1}, {DataSize - 4, 1}, {DataSize - 3, 2}, {2*DataSize - 4, 2}, {4 * DataSize,
			6}, {6 * DataSize, 8},
		{9 * DataSize, 12}, {16*DataSize - 4, 16}, {33 * DataSize, 48}, {MaxMessage, 64}, {MaxMessage + 1,
			0}, {-1, 0},
	} {
		if got := Cells(row.bytes); got != row.cells {
			t.Errorf("Cells(%d) = %d, want %d", row.bytes, got, row.cells)
		}
		if row.cells == 0 {
			continue
		}
		if got := len(cells(t, Push, 1, false, make([]byte, row.bytes))); got != row.cells {
			t.Errorf("message of %d bytes took %d cells, want %d", row.bytes, got, row.cells)
		}
	}
	if MaxMessage != 126_332 {
		t.Errorf("MaxMessage = %d, want 126332", MaxMessage)
	}
}

func TestInterleavedMessagesComeWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, MaxStreams).Draw(t, "streams")
		want := map[uint16][]byte{}
		var queues [][]Payload
		for i := range n {
			body := bytes.Repeat([]byte{byte(i + 1)}, rapid.IntRange(0, 30_000).Draw(t, "size"))
			stream := uint16(2*i + 1)
			m, err := NewMessage(Resp, stream, i%2 == 0, body)
			if err != nil {
				t.Fatal(err)
			}
			var q []Payload
			for b := make([]byte, PayloadSize); m.Next(b); {
				p, err := DecodePayload(bytes.Clone(b))
				if err != nil {
					t.Fatal(err)
				}
				q = append(q, p)
			}
			want[stream], queues = body, append(queues, q)
		}
		var asm Reassembler
		for len(queues) > 0 {
			i := rapid.IntRange(0, len(queues)-1).Draw(t, "turn")
			m, done, err := asm.Add(queues[i][0])
			if err != nil {
				t.Fatal(err)
			}
			if queues[i] = queues[i][1:]; done != (len(queues[i]) == 0) {
				t.Fatalf("done %v with %d cells to come", done, len(queues[i]))
			}
			if done {
				if !bytes.Equal(m.Body, want[m.Stream]) || m.Continued != (m.Stream/2%2 == 0) ||
					m.Command != Resp {
					t.Fatalf("stream %d: got %d bytes, want %d", m.Stream, len(m.Body), len(want[m.Stream]))
				}
				queues = append(queues[:i], queues[i+1:]...)
			}
		}
		if len(asm.open) != 0 {
			t.Fatalf("%d messages are still open", len(asm.open))
		}
	})
}

func TestReassemblerRefusesWhatNoSenderMakes(t *testing.T) {
	long := cells(t, Resp, 1, false, make([]byte, 5000))
	other := cells(t, Resp, 3, false, make([]byte, 5000))
	push := cells(t, Push, 1, false, make([]byte, 5000))
	short := long[1]
	short.Data = short.Data[:10]
	huge := long[0]
	huge.Data = append([]byte{0xff, 0xff, 0xff, 0xff}, huge.Data[4:]...)
	stub := long[0]
	stub.Data = stub.Data[:3]
	padded := cells(t, Resp, 1, false, make([]byte, 9*DataSize))
	fat := padded[len(padded)-1]
	fat.Data = []byte{1}

	var nine []Payload
	for i := range MaxStreams + 1 {
		nine = append(nine, cells(t, Resp, uint16(2*i+1), false, make([]byte, 5000))[0])
	}
	for name, seq := range map[string][]Payload{
		"no start":             {long[1]},
		"second start":         {long[0], long[0]},
		"other command":        {long[0], push[1]},
		"other stream":         {long[0], other[1]},
		"cell too short":       {long[0], short},
		"total too large":      {huge},
		"start without total":  {stub},
		"data in padding":      append(append([]Payload(nil), padded[:len(padded)-1]...), fat),
		"nine streams at once": nine,
	} {
		var asm Reassembler
		var err error
		for i, p := range seq {
			if _, _, err = asm.Add(p); err != nil && i < len(seq)-1 {
				t.Errorf("%s: cell %d of %d refused too early: %v", name, i, len(seq), err)
			}
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPayloadIsStrict(t *testing.T) {
	put := func(p Payload, change func(b []byte)) []byte {
		b := make([]byte, PayloadSize)
		p.Put(b)
		change(b)
		return b
	}
	good := Payload{Command: Resp, Stream: 1, Flags: FlagStart | FlagContinued, Data: []byte("hello")}
	if p, err := DecodePayload(put(good, func([]byte) {})); err != nil || string(p.Data) != "hello" ||
		p.Flags != 3 {
		t.Fatalf("got %+v, %v", p, err)
	}
	for name, b := range map[string][]byte{
		"truncated":         make([]byte, PayloadSize-1),
		"command 0":         put(good, func(b []byte) { b[0] = 0 }),
		"command 13":        put(good, func(b []byte) { b[0] = 13 }),
		"even stream":       put(good, func(b []byte) { b[2] = 2 }),
		"ping on a stream":  put(U64(Ping, 1, 0), func([]byte) {}),
		"length over data":  put(good, func(b []byte) { b[3] = 0xff }),
		"bytes behind data": put(good, func(b []byte) { b[PayloadSize-1] = 1 }),
		"unknown flag":      put(good, func(b []byte) { b[5] = 4 }),
		"continued alone":   put(good, func(b []byte) { b[5] = FlagContinued }),
		"continued request": put(good, func(b []byte) { b[0] = byte(Req) }),
		"flags on PING":     put(U64(Ping, 0, 0), func(b []byte) { b[5] = FlagStart }),
		"short ACK":         put(Payload{Command: Ack, Stream: 1, Data: []byte{1}}, func([]byte) {}),
		"END without word":  put(Payload{Command: End, Stream: 1}, func([]byte) {}),
		"END of no reason":  put(Payload{Command: End, Stream: 1, Data: []byte{9}}, func([]byte) {}),
		"DROP with data":    put(Payload{Command: Drop, Data: []byte{9}}, func([]byte) {}),
	} {
		if p, err := DecodePayload(b); err == nil {
			t.Errorf("%s: got %+v", name, p)
		}
	}
}
