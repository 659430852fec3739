package envelope

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
)

// Rights is a set of what a delegate may do in the namespaces of its capability.
type Rights uint8

// The rights.
const (
	MayRead Rights = 1 << iota
	MayWrite
	MayDelete

	allRights = MayRead | MayWrite | MayDelete
)

// Delegate gives a key rights in some namespaces of a group's mailbox. Serials rise with each delegation and
// are never used twice, so that a capability that was revoked never comes back by a repeated request.
type Delegate struct {
	Serial     uint64 // Serial of the newest commit; above all before it
	Key        [32]byte
	Rights     Rights
	Namespaces []Namespace
	NotAfter   int64 // Unix milliseconds; 0: no end
	Generation uint32
}

// Revoke ends the capability with a serial, or, with ByGeneration, all whose generation is at most
// Generation, those delegated later included. Generation lies before the group's own.
type Revoke struct {
	ByGeneration bool
	Serial       uint64
	Generation   uint32
}

// RevokeKeys ends the capabilities of those keys that have one.
type RevokeKeys struct {
	Keys [][32]byte // 1 to MaxRevokeKeys
}

// Serial returns the serial of a delegation that follows the commit with an index, the place-th of them from
// 0.
func Serial(index uint64, place uint8) uint64 { return index<<8 | uint64(place) }

func (Delegate) kind() opKind   { return opCapability }
func (Revoke) kind() opKind     { return opCapability }
func (RevokeKeys) kind() opKind { return opCapability }

// Actions of an encoded capability operation.
const (
	actionDelegate         = 1
	actionRevokeSerial     = 2
	actionRevokeGeneration = 3
	actionRevokeKeys       = 4
)

func encodeDelegate(b *cryptobyte.Builder, op Delegate) {
	b.AddUint8(actionDelegate)
	b.AddUint64(op.Serial)
	b.AddBytes(op.Key[:])
	b.AddUint8(uint8(op.Rights))
	b.AddUint64(uint64(op.NotAfter))
	b.AddUint32(op.Generation)
	addNamespaces(b, op.Namespaces)
}

func encodeRevoke(b *cryptobyte.Builder, op Revoke) {
	if op.ByGeneration {
		b.AddUint8(actionRevokeGeneration)
		b.AddUint32(op.Generation)
		return
	}
	b.AddUint8(actionRevokeSerial)
	b.AddUint64(op.Serial)
}

func encodeRevokeKeys(b *cryptobyte.Builder, op RevokeKeys) {
	b.AddUint8(actionRevokeKeys)
	b.AddUint16(uint16(len(op.Keys)))
	for _, k := range op.Keys {
		b.AddBytes(k[:])
	}
}

func decodeCapability(p *cryptobyte.String) (Op, bool) {
	var action uint8
	if !p.ReadUint8(&action) {
		return nil, false
	}
	switch action {
	case actionDelegate:
		var op Delegate
		var rights uint8
		var notAfter uint64
		if !p.ReadUint64(&op.Serial) || !p.CopyBytes(op.Key[:]) || !p.ReadUint8(&rights) ||
			!p.ReadUint64(&notAfter) || notAfter > 1<<63-1 || !p.ReadUint32(&op.Generation) {
			return nil, false
		}
		var ok bool
		op.Rights, op.NotAfter = Rights(rights), int64(notAfter)
		op.Namespaces, ok = readNamespaces(p)
		return op, ok
	case actionRevokeSerial:
		var op Revoke
		return op, p.ReadUint64(&op.Serial)
	case actionRevokeGeneration:
		op := Revoke{ByGeneration: true}
		return op, p.ReadUint32(&op.Generation)
	case actionRevokeKeys:
		var n uint16
		if !p.ReadUint16(&n) || n == 0 || n > MaxRevokeKeys || len(*p) != 32*int(n) {
			return nil, false
		}
		op := RevokeKeys{Keys: make([][32]byte, n)}
		for i := range op.Keys {
			p.CopyBytes(op.Keys[i][:])
		}
		return op, true
	}
	return nil, false
}

func checkDelegate(op Delegate) *fault.Error {
	refuse := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "check capability", format, args...)
	}
	if err := CheckNamespaces(op.Namespaces); err != nil {
		return err
	}
	if op.Rights == 0 || op.Rights > allRights || op.Serial == 0 || op.NotAfter < 0 {
		return refuse("rights %#x, serial %d or its end is out of range", op.Rights, op.Serial)
	}
	for _, ns := range op.Namespaces {
		if !ns.IsGroup() {
			return refuse("namespace %d is not a group's", ns)
		}
		if op.Rights&^MayRead != 0 && (ns == GroupLog || ns == GroupSlots) {
			return refuse("only admins write to namespace %d", ns)
		}
	}
	return nil
}
