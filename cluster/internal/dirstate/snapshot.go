package dirstate

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

const snapshotVersion = 1

// MaxSnapshot is the size in bytes of the largest snapshot.
const MaxSnapshot = (keepVersions + 3) * directory.MaxSize

// Snapshot returns the whole state. Equal states give equal bytes.
func (s *State) Snapshot() []byte {
	var b cryptobyte.Builder
	b.AddUint8(snapshotVersion)
	b.AddBytes(s.cluster[:])
	b.AddUint8(flag(s.founded))
	b.AddUint16(s.expect)
	b.AddUint16(s.wantSwarms)
	b.AddUint8(s.replication)
	s.params.Append(&b)
	b.AddUint64(uint64(s.clock))
	b.AddUint16(uint16(len(s.nodes)))
	for i := range s.nodes {
		b.AddUint64(s.nodes[i].serial)
		b.AddBytes(s.nodes[i].proof[:])
		s.nodes[i].node.Append(&b)
	}
	b.AddUint16(uint16(len(s.swarms)))
	for _, w := range s.swarms {
		b.AddUint32(uint32(w.ID))
		b.AddUint64(w.Config)
		b.AddUint8(uint8(len(w.Replicas)))
		for _, id := range w.Replicas {
			b.AddBytes(id[:])
		}
	}
	b.AddUint16(uint16(len(s.slots)))
	for _, r := range s.slots {
		b.AddUint16(uint16(r.First))
		b.AddUint16(uint16(r.Last))
		b.AddUint32(uint32(r.Swarm))
		b.AddUint64(r.Config)
	}
	b.AddUint8(uint8(len(s.recent)))
	for i := range s.recent {
		v := &s.recent[i]
		b.AddUint64(v.number)
		signed := directory.Signed{Body: v.body, Signatures: v.sigs}
		b.AddUint32LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(signed.Encode()) })
	}
	b.AddUint64(s.signedNo)
	b.AddUint32LengthPrefixed(func(b *cryptobyte.Builder) {
		if s.signed != nil {
			b.AddBytes(s.signed.Encode())
		}
	})
	return b.BytesOrPanic()
}

// Restore replaces the state with that of a snapshot. On an error the old state stays.
func (s *State) Restore(p []byte) error {
	bad := fault.New(fault.Corrupt, "restore directory snapshot", "is malformed")
	in := cryptobyte.String(p)
	n := &State{signers: s.signers, t: s.t}
	var version, founded uint8
	var nodes, swarms, slots uint16
	if !in.ReadUint8(&version) || version != snapshotVersion || !in.CopyBytes(n.cluster[:]) ||
		!in.ReadUint8(&founded) || founded > 1 ||
		!in.ReadUint16(&n.expect) || !in.ReadUint16(&n.wantSwarms) || !in.ReadUint8(&n.replication) ||
		!n.params.Read(&in) ||
		!readTime(&in, &n.clock) || !in.ReadUint16(&nodes) || nodes > directory.MaxNodes {
		return bad
	}
	if n.cluster != s.cluster {
		return fault.New(fault.Denied, "restore directory snapshot", "is of cluster %s, want %s",
			n.cluster, s.cluster)
	}
	n.founded = founded == 1
	for range nodes {
		var m member
		if !in.ReadUint64(&m.serial) || !in.CopyBytes(m.proof[:]) || !m.node.Read(&in) {
			return bad
		}
		n.nodes = append(n.nodes, m)
	}
	if !in.ReadUint16(&swarms) || swarms > directory.MaxSwarms {
		return bad
	}
	for range swarms {
		var w directory.Swarm
		var k uint8
		if !in.ReadUint32((*uint32)(&w.ID)) || !in.ReadUint64(&w.Config) || !in.ReadUint8(&k) ||
			len(in) < 32*int(k) {
			return bad
		}
		w.Replicas = make([]ident.NodeID, k)
		for i := range w.Replicas {
			in.CopyBytes(w.Replicas[i][:])
		}
		n.swarms = append(n.swarms, w)
	}
	if !in.ReadUint16(&slots) || slots > ident.SlotCount {
		return bad
	}
	for range slots {
		var r directory.SlotRange
		if !in.ReadUint16((*uint16)(&r.First)) || !in.ReadUint16((*uint16)(&r.Last)) ||
			!in.ReadUint32((*uint32)(&r.Swarm)) || !in.ReadUint64(&r.Config) {
			return bad
		}
		n.slots = append(n.slots, r)
	}
	if !n.restoreVersions(&in) || !in.Empty() {
		return bad
	}
	*s = *n
	return nil
}

func (s *State) restoreVersions(in *cryptobyte.String) bool {
	var count uint8
	if !in.ReadUint8(&count) || count > keepVersions {
		return false
	}
	for range count {
		var v version
		if !in.ReadUint64(&v.number) {
			return false
		}
		signed, ok := readSigned(in)
		if !ok || signed == nil {
			return false
		}
		v.body, v.sigs, v.digest = signed.Body, signed.Signatures, directory.Digest(signed.Body)
		s.recent = append(s.recent, v)
	}
	var ok bool
	if !in.ReadUint64(&s.signedNo) {
		return false
	}
	s.signed, ok = readSigned(in)
	return ok && (s.signed != nil) == (s.signedNo != 0)
}

// readSigned reads a signed directory with a 32-bit length; nil for an empty one.
func readSigned(in *cryptobyte.String) (*directory.Signed, bool) {
	var size uint32
	var b []byte
	if !in.ReadUint32(&size) || int64(size) > int64(len(*in)) || !in.ReadBytes(&b, int(size)) {
		return nil, false
	}
	if size == 0 {
		return nil, true
	}
	signed, err := directory.DecodeSigned(b)
	return signed, err == nil
}

func flag(v bool) uint8 {
	if v {
		return 1
	}
	return 0
}
