package dirstate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/ident"
)

const labelPlace = "starling/v1/placement\x00"

// candidate is a node with its rank for one swarm and what it has been given so far.
type candidate struct {
	node  *directory.Node
	load  int // replicas given
	limit int // replicas that keep it within a quarter of its fair share
}

// place returns the replicas of the swarms 1 to count: for each swarm the nodes with the best weighted
// rendezvous rank, of distinct zones and hosts where there are enough of them, none with more than its share
// and a quarter. Everything is integer arithmetic, because every member of the directory must get the same.
func place(count, replication int, nodes []directory.Node) [][]ident.NodeID {
	var all []*candidate
	total := 0
	for i := range nodes {
		if n := &nodes[i]; n.Roles&directory.RoleStorage != 0 && n.State == directory.Alive {
			all = append(all, &candidate{node: n})
			total += weight(n)
		}
	}
	replication = min(replication, len(all))
	for _, c := range all {
		fair := 5 * count * replication * weight(c.node) // four times the share, times total
		c.limit = (fair + 4*total - 1) / (4 * total)
	}
	out := make([][]ident.NodeID, 0, count)
	for i := range count {
		out = append(out, choose(ident.SwarmID(i+1), replication, all))
	}
	return out
}

func weight(n *directory.Node) int { return max(int(n.Weight), 1) }

// choose picks the replicas of one swarm, giving up first the host, then the zone, then the fair share.
func choose(swarm ident.SwarmID, replication int, all []*candidate) []ident.NodeID {
	ranked := slices.Clone(all)
	slices.SortFunc(ranked, func(a, b *candidate) int { return compareRank(swarm, a.node, b.node) })
	var chosen []*candidate
	for rule := 0; rule <= 3 && len(chosen) < replication; rule++ {
		for _, c := range ranked {
			if len(chosen) == replication {
				break
			}
			if slices.Contains(chosen, c) || rule < 3 && c.load >= c.limit {
				continue
			}
			clash := slices.ContainsFunc(chosen, func(o *candidate) bool {
				return rule < 2 && c.node.Zone != "" && c.node.Zone == o.node.Zone ||
					rule < 1 && sameHost(c.node, o.node)
			})
			if !clash {
				chosen = append(chosen, c)
			}
		}
	}
	ids := make([]ident.NodeID, 0, replication)
	for _, c := range chosen {
		c.load++
		ids = append(ids, c.node.ID)
	}
	slices.SortFunc(ids, func(a, b ident.NodeID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// sameHost compares the hosts of the peer addresses. Loopback says nothing: a cluster in one machine has no
// other.
func sameHost(a, b *directory.Node) bool {
	ha, hb := host(a.PeerAddr), host(b.PeerAddr)
	if ip, err := netip.ParseAddr(ha); err == nil && ip.IsLoopback() {
		return false
	}
	return ha == hb
}

func host(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		addr = addr[:i]
	}
	return strings.Trim(addr, "[]")
}

// compareRank orders two nodes for a swarm, best first: by -log(u)/weight, where u in (0,1) is a hash of
// swarm and node, so that a node is first with a probability in proportion to its weight.
func compareRank(swarm ident.SwarmID, a, b *directory.Node) int {
	ah, al := bits.Mul64(negLog2(swarm, a.ID), uint64(weight(b)))
	bh, bl := bits.Mul64(negLog2(swarm, b.ID), uint64(weight(a)))
	switch {
	case ah != bh:
		return cmpUint(ah, bh)
	case al != bl:
		return cmpUint(al, bl)
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

func cmpUint(a, b uint64) int {
	if a < b {
		return -1
	}
	return 1
}

// negLog2 returns -log2(u) with 32 binary digits, for u = (h+1) / 2^64 and h a hash of swarm and node.
func negLog2(swarm ident.SwarmID, node ident.NodeID) uint64 {
	b := append([]byte(labelPlace), node[:]...)
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(b, uint32(swarm)))
	h := binary.BigEndian.Uint64(sum[:])
	if h == 1<<64-1 {
		return 0
	}
	h++
	whole := 63 - bits.LeadingZeros64(h)
	x := h << (63 - whole) // in [2^63, 2^64): the mantissa
	var frac uint64
	for range 32 {
		hi, _ := bits.Mul64(x, x) // the square, in [2^62, 2^64) of 2^64ths
		frac <<= 1
		if hi>>63 == 1 {
			frac |= 1
			x = hi
		} else {
			x = hi << 1
		}
	}
	return 64<<32 - (uint64(whole)<<32 | frac)
}
