package paths

import (
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/ident"
)

const (
	pinnedMiddles = 4
	day           = 24 * time.Hour
	guardMin      = 60 * day
	guardMax      = 120 * day
	middleMin     = 1 * day
	middleMax     = 12 * day
	goneAfter     = 7 * day // how long a guard that left the directory keeps its place
)

// Pin is a node that a profile holds on to.
type Pin struct {
	Node  ident.NodeID `json:"node"`
	Until int64        `json:"until"`          // Unix seconds
	Gone  int64        `json:"gone,omitempty"` // since when the directory does not list it; 0: it does
}

// Sample is what a profile keeps of the network over restarts: its guards in order of preference (all nodes,
// so that there always is another) and a few middles.
type Sample struct {
	Guards  []Pin `json:"guards"`
	Middles []Pin `json:"middles"`
}

// Update drops what has expired or left the directory, and draws what is missing. It reports whether anything
// changed and must be kept.
func (s *Sample) Update(r Random, d *directory.Directory, now time.Time) (changed bool) {
	unix := now.Unix()
	for i := range s.Guards {
		g := &s.Guards[i]
		_, listed := lookup(d, g.Node)
		switch {
		case listed && g.Gone != 0:
			g.Gone, changed = 0, true
		case !listed && g.Gone == 0:
			g.Gone, changed = unix, true
		}
	}
	keep := func(p Pin) bool {
		return p.Until > unix && (p.Gone == 0 ||
			p.Gone+int64(goneAfter/time.Second) > unix)
	}
	changed = filter(&s.Guards, keep) || changed
	changed = filter(&s.Middles, func(p Pin) bool {
		n, ok := lookup(d, p.Node)
		return ok && n.Roles&directory.RoleRelay != 0 && p.Until > unix
	}) || changed

	var fresh, middles []ident.NodeID
	for i := range d.Nodes {
		n := &d.Nodes[i]
		if n.Roles&directory.RoleRelay == 0 || n.State != directory.Alive {
			continue
		}
		if !pinned(s.Guards, n.ID) && len(n.ClientAddrs) > 0 {
			fresh = append(fresh, n.ID)
		}
		if !pinned(s.Middles, n.ID) {
			middles = append(middles, n.ID)
		}
	}
	shuffle(r, fresh)
	for _, id := range fresh {
		s.Guards = append(s.Guards, Pin{Node: id, Until: unix + seconds(r, guardMin, guardMax)})
		changed = true
	}
	shuffle(r, middles)
	for _, id := range middles {
		if len(s.Middles) >= pinnedMiddles {
			break
		}
		// The larger of two draws: most pins live long, none for ever.
		life := max(seconds(r, middleMin, middleMax), seconds(r, middleMin, middleMax))
		s.Middles = append(s.Middles, Pin{Node: id, Until: unix + life})
		changed = true
	}
	return changed
}

// lookup returns a node that takes part in the network.
func lookup(d *directory.Directory, id ident.NodeID) (*directory.Node, bool) {
	n, ok := d.Node(id)
	return n, ok && alive(n)
}

// Guarded returns the guards that can be used now, in order: nodes outside of the account's own swarm first.
func (s *Sample) Guarded(d *directory.Directory, own []ident.NodeID, period uint32) []ident.NodeID {
	var outside, inside []ident.NodeID
	for _, g := range s.Guards {
		n, ok := lookup(d, g.Node)
		if !ok || n.Roles&directory.RoleRelay == 0 || len(n.ClientAddrs) == 0 {
			continue
		}
		if _, ok := n.OnionKey(period); !ok {
			continue
		}
		if slices.Contains(own, g.Node) {
			inside = append(inside, g.Node)
		} else {
			outside = append(outside, g.Node)
		}
	}
	return append(outside, inside...)
}

// Pinned returns the middles to prefer.
func (s *Sample) Pinned() []ident.NodeID {
	out := make([]ident.NodeID, len(s.Middles))
	for i, m := range s.Middles {
		out[i] = m.Node
	}
	return out
}

func filter(pins *[]Pin, keep func(Pin) bool) (changed bool) {
	n := len(*pins)
	*pins = slices.DeleteFunc(*pins, func(p Pin) bool { return !keep(p) })
	return len(*pins) != n
}

func pinned(pins []Pin, id ident.NodeID) bool {
	return slices.ContainsFunc(pins, func(p Pin) bool { return p.Node == id })
}

func shuffle(r Random, ids []ident.NodeID) {
	r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
}

func seconds(r Random, from, to time.Duration) int64 {
	return int64((from + time.Duration(r.Int64N(int64(to-from)))) / time.Second)
}
