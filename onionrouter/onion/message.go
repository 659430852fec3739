package onion

import (
	"encoding/binary"
	"slices"
)

const lengthSize = 4

// MaxMessage is the largest body of one message, in bytes.
const MaxMessage = maxCells*DataSize - lengthSize

// MaxStreams is the number of streams whose cells may interleave on a circuit.
const MaxStreams = 8

const maxCells = 64

// buckets are the numbers of cells that a message may have: an observer of cell counts learns no finer size.
var buckets = [...]int{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, maxCells}

// Cells returns how many cells a message with a body of n bytes takes, 0 if it is too long.
func Cells(n int) int {
	if n < 0 || n > MaxMessage {
		return 0
	}
	need := (n + lengthSize + DataSize - 1) / DataSize
	for _, b := range buckets {
		if b >= need {
			return b
		}
	}
	return 0
}

// Message is a body on its way into cells.
type Message struct {
	command Command
	stream  uint16
	flags   uint8
	total   int
	rest    []byte
	left    int // cells to go
}

// NewMessage prepares a message of at most MaxMessage bytes. It does not copy body.
func NewMessage(c Command, stream uint16, continued bool, body []byte) (Message, error) {
	n := Cells(len(body))
	if n == 0 || !c.Message() {
		return Message{}, invalid("cut message", "%v of %d bytes, want a message of at most %d", c,
			len(body), MaxMessage)
	}
	m := Message{command: c, stream: stream, flags: FlagStart, total: len(body), rest: body, left: n}
	if continued {
		m.flags |= FlagContinued
	}
	return m, nil
}

// SetStream numbers the message's stream, before the first Next.
func (m *Message) SetStream(stream uint16) { m.stream = stream }

// Left returns the number of cells that Next will still fill.
func (m *Message) Left() int { return m.left }

// Next writes the payload of the message's next cell over dst; false after the last.
func (m *Message) Next(dst []byte) bool {
	if m.left == 0 {
		return false
	}
	data := dst[payloadHeader : payloadHeader+DataSize]
	n := 0
	if m.flags != 0 {
		binary.BigEndian.PutUint32(data, uint32(m.total))
		n = lengthSize
	}
	c := copy(data[n:], m.rest)
	m.rest = m.rest[c:]
	n += c
	clear(dst[payloadHeader+n:])
	dst[0], dst[5] = byte(m.command), m.flags
	binary.BigEndian.PutUint16(dst[1:], m.stream)
	binary.BigEndian.PutUint16(dst[3:], uint16(n))
	m.flags = 0
	m.left--
	return true
}

// Received is a message that a Reassembler has put together.
type Received struct {
	Command   Command
	Stream    uint16
	Continued bool
	Body      []byte
}

// Reassembler puts the cells of up to MaxStreams interleaved messages together. It holds no more memory than
// has come in. The zero value is ready.
type Reassembler struct{ open []partial }

type partial struct {
	Received
	total int // bytes of the body
	left  int // cells to come
}

// Add takes a cell of a message. done reports that the message is complete; its body is the caller's. After
// an error the circuit must end.
func (r *Reassembler) Add(p Payload) (m Received, done bool, err error) {
	const op = "join message"
	i := slices.IndexFunc(r.open, func(q partial) bool { return q.Stream == p.Stream })
	if p.Flags&FlagStart != 0 {
		if i >= 0 {
			return m, false, invalid(op, "second start on stream %d", p.Stream)
		}
		if len(p.Data) < lengthSize {
			return m, false, invalid(op, "start cell of %d bytes", len(p.Data))
		}
		total := binary.BigEndian.Uint32(p.Data)
		p.Data = p.Data[lengthSize:]
		if total > MaxMessage {
			return m, false, invalid(op, "body of %d bytes, want at most %d", total, MaxMessage)
		}
		q := partial{Received{p.Command, p.Stream, p.Flags&FlagContinued != 0, nil}, int(total),
			Cells(int(total))}
		if q.left == 1 { // the common case takes no detour
			if len(p.Data) != q.total {
				return m, false, invalid(op, "cell of %d bytes, want %d", len(p.Data), q.total)
			}
			q.Body = append([]byte(nil), p.Data...)
			return q.Received, true, nil
		}
		if len(r.open) == MaxStreams {
			return m, false, invalid(op, "more than %d streams at once", MaxStreams)
		}
		r.open = append(r.open, q)
		i = len(r.open) - 1
	} else if i < 0 || r.open[i].Command != p.Command {
		return m, false, invalid(op, "%v cell on stream %d without its start", p.Command, p.Stream)
	}
	q := &r.open[i]
	room := DataSize
	if p.Flags&FlagStart != 0 {
		room -= lengthSize
	}
	if want := min(room, q.total-len(q.Body)); len(p.Data) != want {
		return m, false, invalid(op, "cell of %d bytes, want %d", len(p.Data), want)
	}
	q.Body = append(q.Body, p.Data...)
	if q.left--; q.left > 0 {
		return m, false, nil
	}
	m = q.Received
	r.open = slices.Delete(r.open, i, i+1)
	return m, true, nil
}
