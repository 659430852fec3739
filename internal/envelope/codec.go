package envelope

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
)

// Encode returns the bytes of r. It panics only if a length does not fit its field, which Check excludes.
func (r *Request) Encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(Version)
	b.AddBytes(r.Mailbox[:])
	b.AddBytes(r.Authority[:])
	b.AddUint64(r.MinSeq)
	b.AddUint8(uint8(r.Mode))
	b.AddUint8(uint8(len(r.Ops)))
	for _, op := range r.Ops {
		b.AddUint8(uint8(op.kind()))
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { encodeOp(b, op) })
	}
	return b.BytesOrPanic()
}

// Flags of an encoded store.
const (
	storeIfHead       = 1 << 0
	storeIfCerts      = 1 << 1
	storeIfGeneration = 1 << 2
)

func encodeOp(b *cryptobyte.Builder, op Op) {
	switch op := op.(type) {
	case Store:
		b.AddUint16(uint16(op.Namespace))
		b.AddBytes(op.Key[:])
		b.AddUint32(op.TTL)
		var flags uint8
		if op.IfHead != nil {
			flags |= storeIfHead
		}
		if op.IfCerts != nil {
			flags |= storeIfCerts
		}
		if op.IfGeneration != nil {
			flags |= storeIfGeneration
		}
		b.AddUint8(flags)
		if op.IfHead != nil {
			b.AddUint64(*op.IfHead)
		}
		if op.IfCerts != nil {
			b.AddUint64(*op.IfCerts)
		}
		if op.IfGeneration != nil {
			b.AddUint32(*op.IfGeneration)
		}
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(op.Admission) })
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(op.Body) })
	case Retrieve:
		addNamespaces(b, op.Namespaces)
		b.AddUint64(op.After)
		b.AddUint16(op.MaxCount)
		b.AddUint32(op.MaxBytes)
	case RetrieveKey:
		b.AddUint16(uint16(op.Namespace))
		b.AddBytes(op.Key[:])
	case Delete:
		b.AddUint16(uint16(op.Namespace))
		b.AddUint8(boolByte(op.Required))
		b.AddUint16(uint16(len(op.Hashes)))
		for _, h := range op.Hashes {
			b.AddBytes(h[:])
		}
	case DeleteBefore:
		b.AddUint16(uint16(op.Namespace))
		b.AddUint64(uint64(op.Before))
	case SetAuthority:
		b.AddUint8(uint8(op.Change))
		b.AddBytes(op.Key[:])
		b.AddUint8(op.Flags)
	case Delegate:
		encodeDelegate(b, op)
	case Revoke:
		encodeRevoke(b, op)
	case RevokeKeys:
		encodeRevokeKeys(b, op)
	case Info:
	}
}

func addNamespaces(b *cryptobyte.Builder, ns []Namespace) {
	b.AddUint8(uint8(len(ns)))
	for _, n := range ns {
		b.AddUint16(uint16(n))
	}
}

func boolByte(v bool) uint8 {
	if v {
		return 1
	}
	return 0
}

// DecodeRequest reads an encoded request. Bodies alias b. It checks the format and the limits of this
// package, not the rules of namespaces.
func DecodeRequest(b []byte) (*Request, error) {
	bad := func(format string, args ...any) (*Request, error) {
		return nil, fault.New(fault.Invalid, "decode request", format, args...)
	}
	if len(b) > MaxRequest {
		return bad("has %d bytes, want at most %d", len(b), MaxRequest)
	}
	s := cryptobyte.String(b)
	var version, mode, count uint8
	r := new(Request)
	if !s.ReadUint8(&version) {
		return bad("is empty")
	}
	if version != Version {
		return bad("version %d, want %d", version, Version)
	}
	if !s.CopyBytes(r.Mailbox[:]) || !s.CopyBytes(r.Authority[:]) || !s.ReadUint64(&r.MinSeq) ||
		!s.ReadUint8(&mode) || !s.ReadUint8(&count) {
		return bad("ends in its header")
	}
	if r.Mode = Mode(mode); r.Mode > Each {
		return bad("mode %d is unknown", mode)
	}
	if count == 0 || count > MaxOps {
		return bad("%d operations, want 1 to %d", count, MaxOps)
	}
	bodies := 0
	for i := range int(count) {
		var k uint8
		var p cryptobyte.String
		if !s.ReadUint8(&k) || !s.ReadUint24LengthPrefixed(&p) {
			return bad("ends in operation %d", i)
		}
		op, ok := decodeOp(opKind(k), &p)
		if !ok || !p.Empty() {
			return bad("operation %d of kind %d is malformed or unknown", i, k)
		}
		if st, ok := op.(Store); ok {
			bodies += len(st.Body)
		}
		r.Ops = append(r.Ops, op)
	}
	if !s.Empty() {
		return bad("has %d bytes after its end", len(s))
	}
	if bodies > MaxBatchBodies {
		return bad("bodies of %d bytes, want at most %d", bodies, MaxBatchBodies)
	}
	return r, nil
}

func decodeOp(k opKind, p *cryptobyte.String) (Op, bool) {
	var ns uint16
	switch k {
	case opStore:
		var op Store
		var flags uint8
		var adm, body cryptobyte.String
		if !p.ReadUint16(&ns) || !p.CopyBytes(op.Key[:]) || !p.ReadUint32(&op.TTL) || !p.ReadUint8(&flags) ||
			flags > storeIfHead|storeIfCerts|storeIfGeneration {
			return nil, false
		}
		op.Namespace = Namespace(ns)
		if flags&storeIfHead != 0 {
			op.IfHead = new(uint64)
			if !p.ReadUint64(op.IfHead) {
				return nil, false
			}
		}
		if flags&storeIfCerts != 0 {
			op.IfCerts = new(uint64)
			if !p.ReadUint64(op.IfCerts) {
				return nil, false
			}
		}
		if flags&storeIfGeneration != 0 {
			op.IfGeneration = new(uint32)
			if !p.ReadUint32(op.IfGeneration) {
				return nil, false
			}
		}
		if !p.ReadUint16LengthPrefixed(&adm) || len(adm) > MaxAdmission ||
			!p.ReadUint24LengthPrefixed(&body) || len(body) > MaxBody {
			return nil, false
		}
		op.Admission, op.Body = adm, body
		return op, true
	case opRetrieve:
		var op Retrieve
		var ok bool
		if op.Namespaces, ok = readNamespaces(p); !ok || !p.ReadUint64(&op.After) ||
			!p.ReadUint16(&op.MaxCount) || !p.ReadUint32(&op.MaxBytes) {
			return nil, false
		}
		return op, true
	case opRetrieveKey:
		var op RetrieveKey
		if !p.ReadUint16(&ns) || !p.CopyBytes(op.Key[:]) {
			return nil, false
		}
		op.Namespace = Namespace(ns)
		return op, true
	case opDelete:
		var op Delete
		var required uint8
		var n uint16
		if !p.ReadUint16(&ns) || !p.ReadUint8(&required) || required > 1 || !p.ReadUint16(&n) || n == 0 ||
			n > MaxDeleteHashes || len(*p) != 32*int(n) {
			return nil, false
		}
		op.Namespace, op.Required, op.Hashes = Namespace(ns), required == 1, make([]Hash, n)
		for i := range op.Hashes {
			p.CopyBytes(op.Hashes[i][:])
		}
		return op, true
	case opDeleteBefore:
		var op DeleteBefore
		var before uint64
		if !p.ReadUint16(&ns) || !p.ReadUint64(&before) || before > 1<<63-1 {
			return nil, false
		}
		op.Namespace, op.Before = Namespace(ns), int64(before)
		return op, true
	case opSetAuthority:
		var op SetAuthority
		var change uint8
		if !p.ReadUint8(&change) || change < 1 || change > 3 || !p.CopyBytes(op.Key[:]) ||
			!p.ReadUint8(&op.Flags) || !knownFlags(AuthorityChange(change), op.Flags) {
			return nil, false
		}
		op.Change = AuthorityChange(change)
		return op, true
	case opCapability:
		return decodeCapability(p)
	case opInfo:
		return Info{}, true
	}
	return nil, false
}

func readNamespaces(p *cryptobyte.String) ([]Namespace, bool) {
	var n uint8
	if !p.ReadUint8(&n) || n == 0 || n > MaxNamespaces {
		return nil, false
	}
	out := make([]Namespace, n)
	for i := range out {
		var v uint16
		if !p.ReadUint16(&v) {
			return nil, false
		}
		out[i] = Namespace(v)
	}
	return out, true
}
