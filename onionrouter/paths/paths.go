// Package paths chooses which nodes a circuit goes through.
//
// Choose draws middle, exit and storage node for a guard that is given; Sample keeps the guards and middles
// of a profile, which change rarely: who meets new relays all the time meets a bad one soon. The package is
// pure: the directory, the time and the randomness (a generator seeded by the caller) come in as arguments.
//
// A path keeps all rules that the cluster is large enough for. In a small one rules are relaxed in a fixed
// order, and the path says which ones it breaks (docs/threat-model.md).
package paths

import (
	"net/netip"
	"slices"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Rules is a set of path rules.
type Rules uint16

// The rules that may be relaxed, in this order. Two are not here because they hold always: guard, middle and
// exit are three nodes, and the guard is not the storage node.
const (
	SharedPrefix    Rules = 1 << iota // two nodes in one /16 (IPv4) or /32 (IPv6)
	SharedOperator                    // two nodes of one operator
	SharedZone                        // two nodes in one zone
	MiddleInSwarm                     // the middle is a replica of the destination's swarm
	ExitInSwarm                       // the exit is one
	GuardInSwarm                      // the guard is one
	GuardInOwnSwarm                   // the guard is a replica of the account's own swarm
	StorageOnPath                     // the storage node is the middle or the exit
	ruleEnd
)

var ruleWords = map[Rules]string{
	SharedPrefix:    "two nodes of the path share a network prefix",
	SharedOperator:  "two nodes of the path have one operator",
	SharedZone:      "two nodes of the path are in one zone",
	MiddleInSwarm:   "the middle node also stores mailboxes like the destination",
	ExitInSwarm:     "the exit node also stores mailboxes like the destination",
	GuardInSwarm:    "the guard also stores mailboxes like the destination",
	GuardInOwnSwarm: "the guard also stores this account's mailbox",
	StorageOnPath:   "the node that stores the destination is also a hop of the path",
}

// Words says for people what each broken rule means.
func (r Rules) Words() []string {
	var out []string
	for b := Rules(1); b < ruleEnd; b <<= 1 {
		if r&b != 0 {
			out = append(out, ruleWords[b])
		}
	}
	return out
}

// Path is the four nodes of a circuit.
type Path struct {
	Guard, Middle, Exit, Storage ident.NodeID
	Broken                       Rules // the rules that the cluster was too small for
}

// Hops returns the nodes in order.
func (p Path) Hops() [4]ident.NodeID {
	return [4]ident.NodeID{p.Guard, p.Middle, p.Exit, p.Storage}
}

// Query says what a path is for.
type Query struct {
	Directory *directory.Directory
	Period    uint32         // of onion keys; nodes without a key for it are passed over
	Guard     ident.NodeID   // given
	Swarm     []ident.NodeID // replicas of the destination's swarm
	Own       []ident.NodeID // replicas of the account's own swarm
	Middles   []ident.NodeID // preferred middles; may be empty

	Avoid func(ident.NodeID) bool // nodes not to use as middle, exit or storage node; nil: none
}

// relaxable are the rules that a choice of middle, exit and storage node can break, in the order of giving
// them up. What the guard alone breaks is given with it.
var relaxable = [...]Rules{SharedPrefix, SharedOperator, SharedZone, MiddleInSwarm,
	ExitInSwarm, StorageOnPath}

// Random is what a choice needs of a generator. *rand.Rand of math/rand/v2 is one; the caller seeds it from a
// source that nobody can guess.
type Random interface {
	IntN(n int) int
	Int64N(n int64) int64
	Shuffle(n int, swap func(i, j int))
}

// Choose draws a path that breaks as few rules as the nodes allow. It fails with Unavailable if there is
// none.
func Choose(r Random, q Query) (Path, error) {
	c, err := newChooser(r, q)
	if err != nil {
		return Path{}, err
	}
	var allowed Rules
	for level := 0; ; level++ {
		if p, ok := c.find(allowed); ok {
			p.Broken = c.broken(p)
			return p, nil
		}
		if level == len(relaxable) {
			return Path{}, fault.New(fault.Unavailable, "choose path",
				"%d relays and %d storage nodes besides the guard leave no path",
				len(c.relays), len(c.storage))
		}
		allowed |= relaxable[level]
	}
}

type candidate struct {
	node    *directory.Node
	prefix  netip.Prefix // zero: unknown
	inSwarm bool
}

type chooser struct {
	q               Query
	guard           candidate
	relays, storage []candidate // shuffled
	rng             Random
}

func newChooser(r Random, q Query) (*chooser, error) {
	c := &chooser{q: q, rng: r}
	found := false
	for i := range q.Directory.Nodes {
		n := &q.Directory.Nodes[i]
		k := candidate{n, prefixOf(n), slices.Contains(q.Swarm, n.ID)}
		if n.ID == q.Guard {
			c.guard, found = k, true
			continue
		}
		if q.Avoid != nil && q.Avoid(n.ID) || !alive(n) {
			continue
		}
		if _, ok := n.OnionKey(q.Period); !ok {
			continue
		}
		if n.Roles&directory.RoleRelay != 0 {
			c.relays = append(c.relays, k)
		}
		if n.Roles&directory.RoleStorage != 0 && k.inSwarm {
			c.storage = append(c.storage, k)
		}
	}
	if !found {
		return nil, fault.New(fault.NotFound, "choose path", "guard %s is not in the directory",
			q.Guard.Short())
	}
	r.Shuffle(len(c.relays), func(i, j int) { c.relays[i], c.relays[j] = c.relays[j], c.relays[i] })
	r.Shuffle(len(c.storage), func(i, j int) { c.storage[i], c.storage[j] = c.storage[j], c.storage[i] })
	return c, nil
}

func alive(n *directory.Node) bool {
	return n.State == directory.Alive || n.State == directory.Draining
}

// find returns a path that breaks no rule outside allowed, apart from what the guard breaks alone.
func (c *chooser) find(allowed Rules) (Path, bool) {
	var middles []candidate
	for _, s := range c.storage {
		if !c.apart(allowed, c.guard, s) {
			continue
		}
		for _, e := range c.relays {
			if e.inSwarm && allowed&ExitInSwarm == 0 || !c.apart(allowed, c.guard, e) ||
				!c.hopAndStorage(allowed, e, s) {
				continue
			}
			middles = middles[:0]
			preferred := 0
			for _, m := range c.relays {
				if m.node.ID == e.node.ID || m.inSwarm && allowed&MiddleInSwarm == 0 ||
					!c.apart(allowed, c.guard, m) || !c.apart(allowed, m, e) ||
					!c.hopAndStorage(allowed, m, s) {
					continue
				}
				middles = append(middles, m)
				if slices.Contains(c.q.Middles, m.node.ID) {
					last := len(middles) - 1
					middles[preferred], middles[last] = middles[last], middles[preferred]
					preferred++
				}
			}
			if preferred > 0 {
				middles = middles[:preferred]
			}
			if len(middles) > 0 {
				m := middles[c.rng.IntN(len(middles))]
				return Path{Guard: c.q.Guard, Middle: m.node.ID, Exit: e.node.ID, Storage: s.node.ID}, true
			}
		}
	}
	return Path{}, false
}

func (c *chooser) hopAndStorage(allowed Rules, hop, storage candidate) bool {
	if hop.node.ID == storage.node.ID {
		return allowed&StorageOnPath != 0
	}
	return c.apart(allowed, hop, storage)
}

// apart reports whether two different nodes share nothing that is not allowed.
func (c *chooser) apart(allowed Rules, a, b candidate) bool { return shared(a, b)&^allowed == 0 }

// shared returns the distinctness rules that two different nodes break. What a node does not state, it shares
// with nobody.
func shared(a, b candidate) (r Rules) {
	if a.prefix.IsValid() && a.prefix == b.prefix {
		r |= SharedPrefix
	}
	if a.node.Operator != "" && a.node.Operator == b.node.Operator {
		r |= SharedOperator
	}
	if a.node.Zone != "" && a.node.Zone == b.node.Zone {
		r |= SharedZone
	}
	return r
}

// broken returns the rules that a path breaks.
func (c *chooser) broken(p Path) (r Rules) {
	var on [4]candidate
	for i, id := range p.Hops() {
		n, _ := c.q.Directory.Node(id)
		on[i] = candidate{n, prefixOf(n), slices.Contains(c.q.Swarm, id)}
		for _, before := range on[:i] {
			if before.node.ID != id {
				r |= shared(before, on[i])
			}
		}
	}
	for i, rule := range [...]Rules{GuardInSwarm, MiddleInSwarm, ExitInSwarm} {
		if on[i].inSwarm {
			r |= rule
		}
	}
	if slices.Contains(c.q.Own, p.Guard) {
		r |= GuardInOwnSwarm
	}
	if p.Storage == p.Middle || p.Storage == p.Exit {
		r |= StorageOnPath
	}
	return r
}

// prefixOf returns the network prefix of a node whose addresses are literal; zero for names.
func prefixOf(n *directory.Node) netip.Prefix {
	for _, a := range addrs(n) {
		bits := 16
		if a.Is6() {
			bits = 32
		}
		if p, err := a.Prefix(bits); err == nil {
			return p
		}
	}
	return netip.Prefix{}
}

func addrs(n *directory.Node) (out []netip.Addr) {
	for _, s := range append([]string{n.PeerAddr}, n.ClientAddrs...) {
		if ap, err := netip.ParseAddrPort(s); err == nil {
			out = append(out, ap.Addr().Unmap())
		}
	}
	return out
}

// Loopback reports whether all nodes with literal addresses are on loopback ones: a cluster on one machine,
// where path rules say nothing.
func Loopback(d *directory.Directory) bool {
	n := 0
	for i := range d.Nodes {
		for _, a := range addrs(&d.Nodes[i]) {
			if !a.IsLoopback() {
				return false
			}
			n++
		}
	}
	return n > 0
}
