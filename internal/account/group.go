package account

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Limits of a device group.
const (
	MaxDevices    = 16
	MaxLabel      = 64 // bytes of a device's label
	maxTombstones = 64
	maxVaultKeys  = 4
)

// Device is an entry of the device group.
type Device struct {
	ID       ident.DeviceID
	Label    string
	AddedAt  int64  // Unix milliseconds
	LastSeen uint32 // day, coarse: when it made a group, or said how far it has fetched

	sign [32]byte // dsk_pk
	box  []byte   // dk_pk: opens this group
	next []byte   // next_dk_pk: opens the next one
}

// TombReason says why a device left the group.
type TombReason uint8

const (
	TombRevoked   TombReason = 1
	TombRecovered TombReason = 2 // dropped by a recovery from the phrase
	TombSilent    TombReason = 3 // not heard of for SilentDays
)

// Tombstone remembers a device that was removed.
type Tombstone struct {
	ID     ident.DeviceID
	At     int64          // Unix milliseconds
	By     ident.DeviceID // zero: the phrase
	Reason TombReason
}

// vaultKey is a data key of the account's documents.
type vaultKey struct {
	gen uint32 // generation that it was made in
	key secret
}

// groupPayload is what a DeviceGroup carries for its devices (docs/formats.md, section 5.7).
type groupPayload struct {
	private.Redacted
	account ident.AccountID
	g       uint32
	author  ident.DeviceID
	gs      secret
	vaultPK []byte
	vault   []vaultKey  // newest first
	devices []Device    // sorted by ID
	tombs   []Tombstone // newest first
}

func (p *groupPayload) device(id ident.DeviceID) (*Device, bool) {
	i := slices.IndexFunc(p.devices, func(d Device) bool { return d.ID == id })
	if i < 0 {
		return nil, false
	}
	return &p.devices[i], true
}

// paddedSize is the payload's length for a number of slots, whatever the group holds.
func paddedSize(slots int) int { return 4_608 + 2_560*slots }

// slotsFor returns the number of slots that n devices fill: the next multiple of 4.
func slotsFor(n int) int { return (n + 3) / 4 * 4 }

func checkLabel(label string) error {
	if len(label) > MaxLabel || !utf8.ValidString(label) {
		return fault.New(fault.Invalid, "read device label", "has %d bytes, want at most %d of UTF-8",
			len(label), MaxLabel)
	}
	return nil
}

func (p *groupPayload) encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddBytes(p.account[:])
	b.AddUint32(p.g)
	b.AddBytes(p.author[:])
	b.AddBytes(p.gs.b[:])
	b.AddBytes(p.vaultPK)
	addVaultKeys(&b, p.vault)
	addDevices(&b, p.devices)
	addTombs(&b, p.tombs)
	out := b.BytesOrPanic()
	return append(out, make([]byte, paddedSize(slotsFor(len(p.devices)))-len(out))...)
}

func addDevices(b *cryptobyte.Builder, devices []Device) {
	b.AddUint8(uint8(len(devices)))
	for i := range devices {
		d := &devices[i]
		b.AddBytes(d.ID[:])
		b.AddBytes(d.sign[:])
		b.AddBytes(d.box)
		b.AddBytes(d.next)
		b.AddUint8(0)
		b.AddUint64(uint64(d.AddedAt))
		b.AddUint32(d.LastSeen)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(d.Label)) })
	}
}

func readDevices(s *cryptobyte.String) ([]Device, bool) {
	var n uint8
	if !s.ReadUint8(&n) || n == 0 || n > MaxDevices {
		return nil, false
	}
	out := make([]Device, n)
	for i := range out {
		d := &out[i]
		var flags uint8
		var added uint64
		var label cryptobyte.String
		if !s.CopyBytes(d.ID[:]) || !s.CopyBytes(d.sign[:]) || !s.ReadBytes(&d.box, kemPublicSize) ||
			!s.ReadBytes(&d.next, kemPublicSize) ||
			!s.ReadUint8(&flags) || flags != 0 || !s.ReadUint64(&added) || added > maxTimeMS ||
			!s.ReadUint32(&d.LastSeen) ||
			!s.ReadUint8LengthPrefixed(&label) || checkLabel(string(label)) != nil {
			return nil, false
		}
		d.AddedAt, d.Label = int64(added), string(label)
		if i > 0 && slices.Compare(out[i-1].ID[:], d.ID[:]) >= 0 {
			return nil, false
		}
		if _, wrong := primePoint(d.sign[:]); wrong != "" || checkBoxPublic(d.box) != nil ||
			checkBoxPublic(d.next) != nil {
			return nil, false
		}
	}
	return out, true
}

func addTombs(b *cryptobyte.Builder, tombs []Tombstone) {
	b.AddUint8(uint8(len(tombs)))
	for _, t := range tombs {
		b.AddBytes(t.ID[:])
		b.AddUint64(uint64(t.At))
		b.AddBytes(t.By[:])
		b.AddUint8(uint8(t.Reason))
	}
}

func readTombs(s *cryptobyte.String) ([]Tombstone, bool) {
	var n uint8
	if !s.ReadUint8(&n) || n > maxTombstones {
		return nil, false
	}
	out := make([]Tombstone, n)
	for i := range out {
		var at uint64
		var reason uint8
		if !s.CopyBytes(out[i].ID[:]) || !s.ReadUint64(&at) || at > maxTimeMS || !s.CopyBytes(out[i].By[:]) ||
			!s.ReadUint8(&reason) || reason < 1 || reason > 3 {
			return nil, false
		}
		out[i].At, out[i].Reason = int64(at), TombReason(reason)
	}
	return out, true
}

func addVaultKeys(b *cryptobyte.Builder, keys []vaultKey) {
	b.AddUint8(uint8(len(keys)))
	for i := range keys {
		b.AddUint32(keys[i].gen)
		b.AddBytes(keys[i].key.b[:])
	}
}

func readVaultKeys(s *cryptobyte.String) ([]vaultKey, bool) {
	var n uint8
	if !s.ReadUint8(&n) || n > maxVaultKeys {
		return nil, false
	}
	out := make([]vaultKey, n)
	for i := range out {
		if !s.ReadUint32(&out[i].gen) || !s.CopyBytes(out[i].key.b[:]) ||
			i > 0 && out[i].gen >= out[i-1].gen {
			return nil, false
		}
	}
	return out, true
}

func decodeGroupPayload(b []byte) (*groupPayload, error) {
	bad := fault.New(fault.Corrupt, "decode device group", "malformed")
	s := cryptobyte.String(b)
	var version uint8
	var ok bool
	p := new(groupPayload)
	if !s.ReadUint8(&version) || version != formatVersion {
		return nil, fault.New(fault.Corrupt, "decode device group", "version %d, want %d",
			version, formatVersion)
	}
	if !s.CopyBytes(p.account[:]) || !s.ReadUint32(&p.g) || !s.CopyBytes(p.author[:]) ||
		!s.CopyBytes(p.gs.b[:]) ||
		!s.ReadBytes(&p.vaultPK, kemPublicSize) || checkBoxPublic(p.vaultPK) != nil {
		return nil, bad
	}
	if p.vault, ok = readVaultKeys(&s); !ok || len(p.vault) == 0 {
		return nil, bad
	}
	if p.devices, ok = readDevices(&s); !ok {
		return nil, bad
	}
	if p.tombs, ok = readTombs(&s); !ok || len(b) != paddedSize(slotsFor(len(p.devices))) {
		return nil, bad
	}
	for _, c := range s {
		if c != 0 {
			return nil, bad
		}
	}
	return p, nil
}
