package consensus

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
)

// A Raft entry of commands: version u8 | count u16 | count times bytes[u24]. See docs/formats.md, section 8.
const (
	entryVersion    = 1
	entryOverhead   = 1 + 2
	commandOverhead = 3
)

// encodeEntry packs commands, in their order, into the data of one Raft entry. The caller keeps to
// MaxCommands and MaxEntry.
func encodeEntry(commands [][]byte) ([]byte, error) {
	size := entryOverhead
	for _, c := range commands {
		size += commandOverhead + len(c)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, size))
	b.AddUint8(entryVersion)
	b.AddUint16(uint16(len(commands)))
	for _, c := range commands {
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c) })
	}
	return b.Bytes()
}

// decodeEntry unpacks what encodeEntry packed. The commands alias data.
func decodeEntry(data []byte) ([][]byte, error) {
	const op = "decode raft entry"
	s := cryptobyte.String(data)
	var version uint8
	var count uint16
	if !s.ReadUint8(&version) || !s.ReadUint16(&count) {
		return nil, fault.New(fault.Corrupt, op, "has %d bytes, want at least %d", len(data), entryOverhead)
	}
	if version != entryVersion {
		return nil, fault.New(fault.Corrupt, op, "version %d, want %d", version, entryVersion)
	}
	if count == 0 || count > MaxCommands {
		return nil, fault.New(fault.Corrupt, op, "%d commands, want 1 to %d", count, MaxCommands)
	}
	commands := make([][]byte, count)
	for i := range commands {
		var c cryptobyte.String
		if !s.ReadUint24LengthPrefixed(&c) {
			return nil, fault.New(fault.Corrupt, op, "ends within command %d of %d", i+1, count)
		}
		commands[i] = c
	}
	if !s.Empty() {
		return nil, fault.New(fault.Corrupt, op, "%d bytes after the last command", len(s))
	}
	return commands, nil
}
