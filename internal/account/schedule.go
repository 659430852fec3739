package account

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// When a generation ends by the clock. A device's turn lies between rotateAfterMS and
// rotateAfterMS+rotateSpreadMS after the certificate: which device it is differs from one generation to the
// next, and the rest of a week is left for a device that looks at its clock once an hour.
const (
	rotateAfterMS  = 6 * dayMS
	rotateSpreadMS = 20 * 60 * 60_000
)

// SilentDays is how many days without a word of a device make the next generation leave it out.
const SilentDays = 16

// RotationDue returns when this device makes the next generation if no other device did before; false if the
// device takes part in none, or knows of a newer one.
func (s *State) RotationDue() (at time.Time, ok bool) {
	if s.gen == nil || s.revoked || s.chain.G() != s.gen.g {
		return at, false
	}
	return time.UnixMilli(s.chain.Head().Created + rotateAfterMS + turn(s.account, s.gen.g, s.device)), true
}

// turn spreads the devices of a generation over rotateSpreadMS.
func turn(id ident.AccountID, g uint32, device ident.DeviceID) int64 {
	h := sha256.New()
	h.Write(groupContext(labelTurn, id, g))
	h.Write(device[:])
	return int64(binary.BigEndian.Uint64(h.Sum(nil)) % rotateSpreadMS)
}

// Silent returns the other devices that have not been heard of for SilentDays at t. A sole device is never
// among them.
func (s *State) Silent(t time.Time) (out []ident.DeviceID) {
	for _, d := range s.devices {
		if d.ID != s.device && Day(t) >= d.LastSeen+SilentDays {
			out = append(out, d.ID)
		}
	}
	return out
}

// SealFetched seals for own devices that this one has fetched and opened all mail that was stored up to an
// instant (a CopyFetched).
func (s *State) SealFetched(rng io.Reader, upTo int64, now time.Time) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddBytes(s.device[:])
	b.AddUint64(uint64(upTo))
	sig := s.sign.sign(labelFetched, s.account[:], b.BytesOrPanic())
	b.AddBytes(sig[:])
	return s.SealCopy(rng, CopyFetched, b.BytesOrPanic(), now)
}

// Fetched is what one device says in a CopyFetched.
type Fetched struct {
	Device ident.DeviceID
	UpTo   int64 // Unix milliseconds
}

// ApplyFetched takes in the body of a CopyFetched that a node stamped storedAt: the device was alive then,
// and cannot have fetched anything later. The caller keeps what it returns for Acked. fault.Denied: the
// device is not in the group.
func (s *State) ApplyFetched(body []byte, storedAt int64) (f Fetched, err error) {
	const op = "read acknowledgement"
	p := cryptobyte.String(body)
	var version uint8
	var upTo uint64
	var sig []byte
	if !p.ReadUint8(&version) || version != formatVersion || !p.CopyBytes(f.Device[:]) ||
		!p.ReadUint64(&upTo) || upTo > maxTimeMS ||
		!p.ReadBytes(&sig, 64) || !p.Empty() || storedAt < 0 || storedAt > maxTimeMS {
		return f, fault.New(fault.Corrupt, op, "malformed")
	}
	i := slices.IndexFunc(s.devices, func(d Device) bool { return d.ID == f.Device })
	if i < 0 {
		return f, fault.New(fault.Denied, op, "device %s is not in the group", f.Device)
	}
	if !verify(s.devices[i].sign, sig, labelFetched, s.account[:], body[:len(body)-64]) {
		return f, fault.New(fault.Unauthenticated, op, "not signed by device %s", f.Device)
	}
	f.UpTo = min(int64(upTo), storedAt)
	s.devices[i].LastSeen = max(s.devices[i].LastSeen, uint32(storedAt/dayMS))
	return f, nil
}

// Acked returns the instant up to which every device of the group has fetched; zero if one has said nothing.
// own is what this device has fetched itself, of gives what others said (0: nothing).
func (s *State) Acked(own int64, of func(ident.DeviceID) int64) time.Time {
	for _, d := range s.devices {
		if d.ID != s.device {
			own = min(own, of(d.ID))
		}
	}
	if own <= 0 || s.gen == nil {
		return time.Time{}
	}
	return time.UnixMilli(own)
}

// Over reports whether something sealed to the day can no longer be on its way at t: from then on a device
// that has fetched everything says so, and the key goes when all have.
func Over(day uint32, t int64) bool { return t > validTo(day)+graceMS }
