package account

import (
	"encoding/binary"
	"io"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// slotSize is an HPKE seal of the group's 32-byte key.
const slotSize = kemEncSize + 32 + 16

func groupContext(label string, id ident.AccountID, g uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(label), id[:]...), g)
}

// sealGroup returns the body of the payload's envelope: sealed to every device's box key, with decoys up to a
// multiple of four slots in random order, so that nodes cannot count devices, and wrapped.
func sealGroup(rng io.Reader, p *groupPayload) ([]byte, error) {
	key, err := newSecret(rng)
	if err != nil {
		return nil, err
	}
	defer key.wipe()
	info := groupContext(labelGroupSlot, p.account, p.g)
	slots := make([][]byte, 0, slotsFor(len(p.devices)))
	for i := range p.devices {
		slot, err := boxSeal(p.devices[i].box, info, key.b[:])
		if err != nil {
			return nil, err
		}
		slots = append(slots, slot)
	}
	for len(slots) < cap(slots) {
		slot, err := decoySlot(rng, info)
		if err != nil {
			return nil, err
		}
		slots = append(slots, slot)
	}
	if err := shuffle(rng, slots); err != nil {
		return nil, err
	}
	payload := p.encode()
	defer clear(payload)
	sealed, err := sealBytes(rng, key.b, groupContext(labelGroup, p.account, p.g), payload)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddUint32(p.g)
	b.AddUint8(uint8(len(slots)))
	for _, s := range slots {
		b.AddBytes(s)
	}
	b.AddBytes(sealed)
	return wrapRecord(rng, p.account, envelope.Devices, GroupKey(p.g), b.BytesOrPanic())
}

// decoySlot is sealed to a key that nobody keeps: random bytes would show, as they need not be a valid
// encapsulation.
func decoySlot(rng io.Reader, info []byte) ([]byte, error) {
	raw, err := newSecret(rng)
	if err != nil {
		return nil, err
	}
	key := newBoxKey(raw.b)
	content, err := newSecret(rng)
	if err != nil {
		return nil, err
	}
	return boxSeal(key.public(), info, content.b[:])
}

// shuffle permutes slots by Fisher and Yates; the bias of a 64-bit draw modulo at most 16 is negligible.
func shuffle(rng io.Reader, slots [][]byte) error {
	for i := len(slots) - 1; i > 0; i-- {
		var b [8]byte
		if err := readRandom(rng, b[:]); err != nil {
			return fault.Wrap(fault.Internal, "shuffle slots", err)
		}
		j := int(binary.BigEndian.Uint64(b[:]) % uint64(i+1))
		slots[i], slots[j] = slots[j], slots[i]
	}
	return nil
}

// openGroup opens generation g's group with any of the keys and returns which one it was. fault.Denied: no
// slot opens; fault.Corrupt: malformed.
func openGroup(id ident.AccountID, g uint32, body []byte, keys []*boxKey) (*groupPayload, int, error) {
	b, err := unwrapRecord(id, envelope.Devices, GroupKey(g), body)
	if err != nil {
		return nil, 0, err
	}
	slots, sealed, err := splitGroup(b, g)
	if err != nil {
		return nil, 0, err
	}
	info := groupContext(labelGroupSlot, id, g)
	for i, k := range keys {
		for _, slot := range slots {
			key, err := k.open(info, slot)
			if err != nil || len(key) != 32 {
				continue
			}
			payload, err := openBytes("open device group", [32]byte(key), groupContext(labelGroup, id, g),
				sealed)
			if err != nil {
				return nil, 0, err
			}
			p, err := decodeGroupPayload(payload)
			if err != nil {
				return nil, 0, err
			}
			if p.account != id || p.g != g {
				return nil, 0, fault.New(fault.Corrupt, "open device group",
					"it is of another account or generation")
			}
			return p, i, nil
		}
	}
	return nil, 0, fault.New(fault.Denied, "open device group", "generation %d leaves this device out", g)
}

func splitGroup(b []byte, g uint32) (slots [][]byte, sealed []byte, err error) {
	s := cryptobyte.String(b)
	var version, n uint8
	var got uint32
	if !s.ReadUint8(&version) || version != formatVersion || !s.ReadUint32(&got) || got != g ||
		!s.ReadUint8(&n) || n == 0 || n > MaxDevices || n%4 != 0 {
		return nil, nil, fault.New(fault.Corrupt, "decode device group", "malformed")
	}
	for range n {
		var slot []byte
		if !s.ReadBytes(&slot, slotSize) {
			return nil, nil, fault.New(fault.Corrupt, "decode device group", "ends in its slots")
		}
		slots = append(slots, slot)
	}
	return slots, s, nil
}
