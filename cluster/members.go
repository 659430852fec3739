package cluster

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/cluster/internal/gossip"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

const (
	metaVersion = 1
	labelProof  = "starling/v1/cluster-proof\x00"
)

// proofOf shows that whoever made it knows the cluster secret: HMAC-SHA-256 over label, cluster and node key.
func proofOf(secret private.Key, cluster ident.ClusterID, key [32]byte) (p [32]byte) {
	b := secret.Reveal()
	h := hmac.New(sha256.New, b[:])
	h.Write([]byte(labelProof))
	h.Write(cluster[:])
	h.Write(key[:])
	h.Sum(p[:0])
	return p
}

// meta is what a node says of itself in gossip: enough to dial it and to admit it during bootstrap.
// Everything else about a node is in the descriptor that it registers.
type meta struct {
	key         [32]byte
	proof       [32]byte
	roles       directory.Role
	incarnation uint32
	expect      uint16
	peerAddr    string
}

func (m *meta) encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(metaVersion)
	b.AddBytes(m.key[:])
	b.AddBytes(m.proof[:])
	b.AddUint8(uint8(m.roles))
	b.AddUint32(m.incarnation)
	b.AddUint16(m.expect)
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(m.peerAddr)) })
	return b.BytesOrPanic()
}

func decodeMeta(p []byte) (*meta, error) {
	s := cryptobyte.String(p)
	var version, roles uint8
	var addr cryptobyte.String
	m := new(meta)
	if !s.ReadUint8(&version) || version != metaVersion || !s.CopyBytes(m.key[:]) ||
		!s.CopyBytes(m.proof[:]) || !s.ReadUint8(&roles) ||
		!s.ReadUint32(&m.incarnation) || !s.ReadUint16(&m.expect) || !s.ReadUint8LengthPrefixed(&addr) ||
		len(addr) == 0 || !s.Empty() {
		return nil, fault.New(fault.Invalid, "decode gossip metadata", "is malformed or of another version")
	}
	m.roles, m.peerAddr = directory.Role(roles), string(addr)
	return m, nil
}

// neighbour is a node that gossip vouches for.
type neighbour struct {
	meta
	alive bool
	since time.Time
}

// neighbours is what gossip says of the other nodes, verified.
type neighbours struct {
	mu sync.RWMutex
	m  map[ident.NodeID]neighbour
}

func (n *neighbours) get(id ident.NodeID) (neighbour, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	v, ok := n.m[id]
	return v, ok
}

// update takes over a list of members. It drops what carries no proof, and returns a node that expects
// another number of founders than want, if there is one.
func (n *neighbours) update(members []gossip.Member, secret private.Key, cluster ident.ClusterID,
	want int) (odd ident.NodeID, expects int) {
	m := make(map[ident.NodeID]neighbour, len(members))
	for _, g := range members {
		d, err := decodeMeta(g.Meta)
		if err != nil || ident.NodeIDOf(d.key[:]) != g.Node {
			continue
		}
		if p := proofOf(secret, cluster, d.key); !hmac.Equal(p[:], d.proof[:]) {
			continue
		}
		m[g.Node] = neighbour{meta: *d, alive: g.State == gossip.Alive, since: g.Since}
		if int(d.expect) != want {
			odd, expects = g.Node, int(d.expect)
		}
	}
	n.mu.Lock()
	n.m = m
	n.mu.Unlock()
	return odd, expects
}
