package onion

import (
	"encoding/binary"
	"fmt"
)

// Command says what a payload is.
type Command uint8

// The commands. REQ, RESP, SUB and PUSH are messages of one or more cells, the others single cells.
const (
	Req        Command = 1
	Resp       Command = 2
	Sub        Command = 3
	Push       Command = 4
	Ack        Command = 5
	Credit     Command = 6
	Ping       Command = 7
	Pong       Command = 8
	Drop       Command = 9
	End        Command = 10
	Destroy    Command = 11
	ExtendFail Command = 12
)

var commandNames = [...]string{
	Req: "REQ", Resp: "RESP", Sub: "SUB", Push: "PUSH", Ack: "ACK", Credit: "CREDIT",
	Ping: "PING", Pong: "PONG",
	Drop: "DROP", End: "END", Destroy: "DESTROY", ExtendFail: "EXTEND_FAIL",
}

func (c Command) String() string {
	if c == 0 || int(c) >= len(commandNames) {
		return fmt.Sprintf("command %d", uint8(c))
	}
	return commandNames[c]
}

// Message reports whether the command's data is cut over cells.
func (c Command) Message() bool { return c >= Req && c <= Push }

// onStream reports whether the command belongs to a stream rather than to the circuit.
func (c Command) onStream() bool { return c <= Ack || c == End }

// Flags of a payload.
const (
	FlagStart     = 1 << 0 // first cell of a message
	FlagContinued = 1 << 1 // on the start cell: another message of the same answer follows
)

// Reasons of an END.
const (
	EndDone  = 0 // nothing more will come
	EndFault = 1 // an encoded fault follows
)

// Payload is what one cell tells its hop or the client.
type Payload struct {
	Command Command
	Stream  uint16
	Flags   uint8
	Data    []byte
}

// Put writes the payload over dst, of any hop's payload size.
func (p Payload) Put(dst []byte) {
	dst[0] = byte(p.Command)
	binary.BigEndian.PutUint16(dst[1:], p.Stream)
	binary.BigEndian.PutUint16(dst[3:], uint16(len(p.Data)))
	dst[5] = p.Flags
	n := copy(dst[payloadHeader:payloadHeader+DataSize], p.Data)
	clear(dst[payloadHeader+n:])
}

// DecodePayload reads a payload and checks that it is well formed; Data aliases b.
func DecodePayload(b []byte) (p Payload, err error) {
	const op = "decode payload"
	if len(b) < PayloadSize {
		return p, invalid(op, "has %d bytes, want at least %d", len(b), PayloadSize)
	}
	n := int(binary.BigEndian.Uint16(b[3:]))
	if n > DataSize {
		return p, invalid(op, "data of %d bytes, want at most %d", n, DataSize)
	}
	p = Payload{Command: Command(b[0]), Stream: binary.BigEndian.Uint16(b[1:]), Flags: b[5],
		Data: b[payloadHeader : payloadHeader+n]}
	switch {
	case p.Command < Req || p.Command > ExtendFail:
		return p, invalid(op, "%v is unknown", p.Command)
	case p.Command.onStream() && p.Stream%2 == 0, !p.Command.onStream() && p.Stream != 0:
		return p, invalid(op, "%v on stream %d", p.Command, p.Stream)
	case p.Flags > FlagStart|FlagContinued, p.Flags == FlagContinued, p.Flags != 0 && !p.Command.Message(),
		p.Flags&FlagContinued != 0 && p.Command != Resp:
		return p, invalid(op, "%v with flags %d", p.Command, p.Flags)
	case !p.sizeOK():
		return p, invalid(op, "%v with %d bytes of data", p.Command, n)
	case !allZero(b[payloadHeader+n:]):
		return p, invalid(op, "has bytes behind its end")
	}
	return p, nil
}

func (p *Payload) sizeOK() bool {
	n := len(p.Data)
	switch p.Command {
	case Ack, Ping, Pong:
		return n == 8
	case Credit:
		return n == 4
	case End:
		return n == 1 && p.Data[0] == EndDone || n > 1 && p.Data[0] == EndFault
	case Drop, Destroy, ExtendFail:
		return n == 0
	}
	return true
}

// U64 returns a payload of a command whose data is one number: ACK, PING, PONG.
func U64(c Command, stream uint16, v uint64) Payload {
	return Payload{Command: c, Stream: stream, Data: binary.BigEndian.AppendUint64(nil, v)}
}

// Number returns the number in the data of an ACK, PING, PONG or CREDIT.
func (p *Payload) Number() uint64 {
	var v uint64
	for _, c := range p.Data {
		v = v<<8 | uint64(c)
	}
	return v
}
