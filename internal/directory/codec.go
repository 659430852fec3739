package directory

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Limits of a directory.
const (
	FormatVersion = 1
	MaxSize       = 16 << 20 // bytes of an encoded directory
	MaxNodes      = 1000
	MaxSwarms     = 4096
	MaxReplicas   = 16
	MaxOnionKeys  = 8
	MaxLabel      = 64 // bytes of a zone or an operator
)

const labelDigest = "starling/v1/directory-digest\x00"

// Digest names the encoded directory body: SHA-256 over a label and the bytes.
func Digest(body []byte) (d [32]byte) {
	h := sha256.New()
	h.Write([]byte(labelDigest))
	h.Write(body)
	h.Sum(d[:0])
	return d
}

// Encode returns the one encoding of d. It fails if d breaks a limit or an order that Decode demands.
func (d *Directory) Encode() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint8(FormatVersion)
	b.AddBytes(d.Cluster[:])
	b.AddUint64(d.Version)
	b.AddBytes(d.Previous[:])
	b.AddUint64(uint64(d.IssuedAt))
	b.AddUint64(uint64(d.ValidUntil))
	d.Params.Append(&b)
	b.AddUint16(uint16(len(d.Nodes)))
	for i := range d.Nodes {
		d.Nodes[i].Append(&b)
	}
	b.AddUint16(uint16(len(d.Swarms)))
	for i := range d.Swarms {
		s := &d.Swarms[i]
		b.AddUint32(uint32(s.ID))
		b.AddUint64(s.Config)
		b.AddUint8(uint8(len(s.Replicas)))
		for _, id := range s.Replicas {
			b.AddBytes(id[:])
		}
	}
	b.AddUint16(uint16(len(d.Slots)))
	for _, r := range d.Slots {
		b.AddUint16(uint16(r.First))
		b.AddUint16(uint16(r.Last))
		b.AddUint32(uint32(r.Swarm))
		b.AddUint64(r.Config)
	}
	out, err := b.Bytes()
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "encode directory", err)
	}
	if len(out) > MaxSize {
		return nil, fault.New(fault.Invalid, "encode directory", "has %d bytes, want at most %d",
			len(out), MaxSize)
	}
	return out, nil
}

// Append writes p's fixed layout to b.
func (p *Params) Append(b *cryptobyte.Builder) {
	b.AddUint8(p.StampDifficulty)
	b.AddUint64(p.QuotaBytes)
	b.AddUint16(p.CircuitsPerConn)
	b.AddUint64(p.MaxFileBytes)
}

// Read reads what Append wrote.
func (p *Params) Read(s *cryptobyte.String) bool {
	return s.ReadUint8(&p.StampDifficulty) && s.ReadUint64(&p.QuotaBytes) &&
		s.ReadUint16(&p.CircuitsPerConn) && s.ReadUint64(&p.MaxFileBytes)
}

// Append writes n's layout to b.
func (n *Node) Append(b *cryptobyte.Builder) {
	b.AddBytes(n.Key[:])
	b.AddUint8(uint8(n.Roles))
	b.AddUint8(uint8(n.State))
	b.AddUint32(n.Incarnation)
	b.AddUint16(n.Weight)
	addString8(b, n.PeerAddr)
	b.AddUint8(uint8(len(n.ClientAddrs)))
	for _, a := range n.ClientAddrs {
		addString8(b, a)
	}
	addString8(b, n.Zone)
	addString8(b, n.Operator)
	b.AddUint8(uint8(len(n.OnionKeys)))
	for i := range n.OnionKeys {
		b.AddUint32(n.OnionKeys[i].Period)
		b.AddBytes(n.OnionKeys[i].Key[:])
	}
}

// Read reads what Append wrote, within the limits of Check. The ID follows from the key.
func (n *Node) Read(s *cryptobyte.String) bool {
	var roles, state, keys uint8
	if !s.CopyBytes(n.Key[:]) || !s.ReadUint8(&roles) || !s.ReadUint8(&state) ||
		!s.ReadUint32(&n.Incarnation) || !s.ReadUint16(&n.Weight) ||
		!readString(s, &n.PeerAddr, MaxAddr) || !readStrings(s, &n.ClientAddrs, MaxClientAddrs, MaxAddr) ||
		!readString(s, &n.Zone, MaxLabel) || !readString(s, &n.Operator, MaxLabel) || !s.ReadUint8(&keys) ||
		keys > MaxOnionKeys ||
		len(*s) < int(keys)*(4+OnionKeySize) {
		return false
	}
	n.ID, n.Roles, n.State = ident.NodeIDOf(n.Key[:]), Role(roles), State(state)
	n.OnionKeys = make([]OnionKey, keys)
	for i := range n.OnionKeys {
		s.ReadUint32(&n.OnionKeys[i].Period)
		s.CopyBytes(n.OnionKeys[i].Key[:])
	}
	return n.Check() == nil
}

// Check reports whether n keeps the limits of a directory entry.
func (n *Node) Check() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "check node "+n.ID.Short(), format, args...)
	}
	switch {
	case n.ID != ident.NodeIDOf(n.Key[:]):
		return bad("ID is not the hash of its key")
	case n.Roles == 0 || n.Roles > RoleDirectory|RoleStorage|RoleRelay:
		return bad("roles %#x are unknown", uint8(n.Roles))
	case n.State < Alive || n.State > Removed:
		return bad("state %d is unknown", n.State)
	case n.PeerAddr == "" || len(n.PeerAddr) > MaxAddr:
		return bad("peer address of %d bytes, want 1 to %d", len(n.PeerAddr), MaxAddr)
	case len(n.ClientAddrs) > MaxClientAddrs:
		return bad("%d client addresses, want at most %d", len(n.ClientAddrs), MaxClientAddrs)
	case len(n.Zone) > MaxLabel || len(n.Operator) > MaxLabel:
		return bad("zone or operator is longer than %d bytes", MaxLabel)
	case len(n.OnionKeys) > MaxOnionKeys:
		return bad("%d onion keys, want at most %d", len(n.OnionKeys), MaxOnionKeys)
	}
	for _, a := range n.ClientAddrs {
		if a == "" || len(a) > MaxAddr {
			return bad("client address of %d bytes, want 1 to %d", len(a), MaxAddr)
		}
	}
	for i := 1; i < len(n.OnionKeys); i++ {
		if n.OnionKeys[i-1].Period >= n.OnionKeys[i].Period {
			return bad("onion key periods do not rise")
		}
	}
	return nil
}

// Decode reads an encoded directory. It checks the format and its limits, not the signatures: see
// ClusterFile.Verify.
func Decode(body []byte) (*Directory, error) {
	bad := func(what string) (*Directory, error) {
		return nil, fault.New(fault.Invalid, "decode directory", "%s", what)
	}
	if len(body) > MaxSize {
		return bad("is too large")
	}
	s := cryptobyte.String(body)
	d := new(Directory)
	var version uint8
	var issued, until uint64
	var nodes, swarms, slots uint16
	if !s.ReadUint8(&version) || version != FormatVersion {
		return bad("has an unknown version")
	}
	if !s.CopyBytes(d.Cluster[:]) || !s.ReadUint64(&d.Version) || !s.CopyBytes(d.Previous[:]) ||
		!s.ReadUint64(&issued) ||
		!s.ReadUint64(&until) || issued > 1<<62 || until > 1<<62 || !d.Params.Read(&s) ||
		!s.ReadUint16(&nodes) || nodes > MaxNodes {
		return bad("ends in its header, or has a time out of range")
	}
	d.IssuedAt, d.ValidUntil = int64(issued), int64(until)
	for range nodes {
		var n Node
		if !n.Read(&s) {
			return bad("has a malformed node")
		}
		d.Nodes = append(d.Nodes, n)
	}
	if !s.ReadUint16(&swarms) || swarms > MaxSwarms {
		return bad("has a malformed list of swarms")
	}
	for range swarms {
		var w Swarm
		var id uint32
		var n uint8
		if !s.ReadUint32(&id) || !s.ReadUint64(&w.Config) || !s.ReadUint8(&n) || n > MaxReplicas ||
			len(s) < 32*int(n) {
			return bad("has a malformed swarm")
		}
		w.ID, w.Replicas = ident.SwarmID(id), make([]ident.NodeID, n)
		for i := range w.Replicas {
			s.CopyBytes(w.Replicas[i][:])
		}
		d.Swarms = append(d.Swarms, w)
	}
	if !s.ReadUint16(&slots) || slots > ident.SlotCount {
		return bad("has a malformed slot table")
	}
	for range slots {
		var r SlotRange
		if !s.ReadUint16((*uint16)(&r.First)) || !s.ReadUint16((*uint16)(&r.Last)) ||
			!s.ReadUint32((*uint32)(&r.Swarm)) || !s.ReadUint64(&r.Config) {
			return bad("has a malformed slot range")
		}
		d.Slots = append(d.Slots, r)
	}
	if !s.Empty() {
		return bad("has bytes after its end")
	}
	return d, d.check()
}

// check holds what the layout alone does not say: orders, references, coverage.
func (d *Directory) check() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "check directory", format, args...)
	}
	if len(d.Nodes) > MaxNodes || len(d.Swarms) > MaxSwarms || len(d.Slots) > ident.SlotCount {
		return bad("%d nodes, %d swarms, %d slot ranges: too many", len(d.Nodes), len(d.Swarms), len(d.Slots))
	}
	if d.IssuedAt < 0 || d.ValidUntil < d.IssuedAt {
		return bad("is valid until %d, issued at %d", d.ValidUntil, d.IssuedAt)
	}
	for i := range d.Nodes {
		if err := d.Nodes[i].Check(); err != nil {
			return err
		}
		if i > 0 && string(d.Nodes[i-1].ID[:]) >= string(d.Nodes[i].ID[:]) {
			return bad("nodes are not in order of their IDs")
		}
	}
	for i := range d.Swarms {
		w := &d.Swarms[i]
		if w.ID == ident.DirectoryGroup || i > 0 && d.Swarms[i-1].ID >= w.ID {
			return bad("swarms are not in order of their numbers, from 1")
		}
		if len(w.Replicas) == 0 || len(w.Replicas) > MaxReplicas {
			return bad("swarm %s has %d replicas, want 1 to %d", w.ID, len(w.Replicas), MaxReplicas)
		}
		for j, id := range w.Replicas {
			if j > 0 && string(w.Replicas[j-1][:]) >= string(id[:]) {
				return bad("swarm %s: replicas are not in order", w.ID)
			}
			if _, ok := d.Node(id); !ok {
				return bad("swarm %s: replica %s is no node", w.ID, id.Short())
			}
		}
	}
	next := 0
	for _, r := range d.Slots {
		if int(r.First) != next || r.Last < r.First || r.Last >= ident.SlotCount {
			return bad("slots %d to %d follow slot %d", r.First, r.Last, next-1)
		}
		if _, ok := d.Swarm(r.Swarm); !ok {
			return bad("slots %d to %d belong to swarm %s, which is not listed", r.First, r.Last, r.Swarm)
		}
		next = int(r.Last) + 1
	}
	if next != 0 && next != ident.SlotCount {
		return bad("slots end at %d, want %d", next-1, ident.SlotCount-1)
	}
	return nil
}

func addString8(b *cryptobyte.Builder, s string) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func readString(s *cryptobyte.String, dst *string, limit int) bool {
	var v cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&v) || len(v) > limit {
		return false
	}
	*dst = string(v)
	return true
}

func readStrings(s *cryptobyte.String, dst *[]string, count, limit int) bool {
	var n uint8
	if !s.ReadUint8(&n) || int(n) > count {
		return false
	}
	*dst = make([]string, n)
	for i := range *dst {
		if !readString(s, &(*dst)[i], limit) || (*dst)[i] == "" {
			return false
		}
	}
	return true
}
