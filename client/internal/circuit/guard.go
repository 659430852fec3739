package circuit

import (
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
)

// How long a guard that failed is passed over: it doubles with every failure in a row.
const (
	guardRetryMin = 10 * time.Second
	guardRetryMax = 10 * time.Minute
	guardIdle     = time.Minute // a connection without circuits to another than the first guard stays so long
	// guardStrikes is how many circuits in a row, over different middles, must fail at a guard that accepts
	// connections before it is passed over. What one other node says or does never moves a client from its
	// guard.
	guardStrikes = 2
)

// guard is a node that this client connects to. Its fields belong to Network.mu.
type guard struct {
	id    ident.NodeID
	addrs []string
	conn  *grpc.ClientConn
	used  time.Time // when it was last picked

	strikes map[ident.NodeID]bool // middles over which circuits failed, in a row
}

// passed is how long a guard that failed is passed over, whether it is connected to or not.
type passed struct {
	until    time.Time
	failures int // in a row; decides how long
}

// up reports whether the connection stands.
func (g *guard) up() bool { return g.conn.GetState() == connectivity.Ready }

// pickGuard returns the first guard in the profile's order that is not passed over nor the one to skip; if
// all are, the one whose time ends first.
func (n *Network) pickGuard(v *view, own []ident.NodeID, period uint32, skip ident.NodeID) (*guard, error) {
	var order []ident.NodeID
	err := n.state.update(func(k *kept) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		changed := k.Sample.Update(n.rng, v.dir, n.clock.now())
		order = k.Sample.Guarded(v.dir, own, period)
		return changed
	})
	if err != nil {
		return nil, err
	}
	if len(order) == 0 {
		return nil, fault.New(fault.Unavailable, "pick guard",
			"the directory lists no node that takes clients")
	}
	if i := slices.Index(order, skip); i >= 0 && len(order) > 1 {
		order = slices.Delete(order, i, i+1)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	best := order[0]
	for _, id := range order {
		until := n.passed[id].until
		if !time.Now().Before(until) {
			best = id
			break
		}
		if until.Before(n.passed[best].until) {
			best = id
		}
	}
	return n.guardLocked(v, best)
}

// guardLocked returns the guard's entry, connecting if there is none yet.
func (n *Network) guardLocked(v *view, id ident.NodeID) (*guard, error) {
	node, _ := v.dir.Node(id)
	if g := n.guards[id]; g != nil {
		if slices.Equal(g.addrs, node.ClientAddrs) {
			g.used = time.Now()
			return g, nil
		}
		_ = g.conn.Close() // it moved
	}
	conn, err := rpc.DialNode(id, node.ClientAddrs, n.cfg.Dial)
	if err != nil {
		return nil, err
	}
	g := &guard{id: id, addrs: node.ClientAddrs, conn: conn, used: time.Now(),
		strikes: map[ident.NodeID]bool{}}
	n.guards[id] = g
	return g, nil
}

// guardFailed records that no circuit could be built through the guard and middle. Without a connection the
// guard is passed over at once. With one it is kept off the middle and the exit of other guards' paths as
// well: a node that reaches nobody fails there in the same way, and its neighbours are blamed for it.
func (n *Network) guardFailed(g *guard, middle ident.NodeID) {
	n.mu.Lock()
	up := g.up()
	g.strikes[middle] = true
	over := !up || len(g.strikes) >= guardStrikes
	d := avoidSilent
	if over {
		clear(g.strikes)
		p := n.passed[g.id]
		d = min(guardRetryMin<<min(p.failures, 10), guardRetryMax)
		n.passed[g.id] = passed{until: time.Now().Add(d), failures: p.failures + 1}
	}
	n.mu.Unlock()
	if up {
		n.avoid(g.id, d)
	}
	if over {
		n.keepPassed()
	}
}

// guardWorked records a circuit.
func (n *Network) guardWorked(g *guard) {
	n.mu.Lock()
	clear(g.strikes)
	_, failed := n.passed[g.id]
	delete(n.passed, g.id)
	n.mu.Unlock()
	if failed {
		n.keepPassed()
	}
}

// dropGuards closes the connections that no circuit uses any more: of guards other than keep, or with
// addresses that the directory has changed.
func (n *Network) dropGuards(keep ident.NodeID, d *directory.Directory) {
	n.mu.Lock()
	defer n.mu.Unlock()
	used := map[ident.NodeID]bool{keep: true}
	for _, s := range n.pool {
		if c := s.current(); c != nil {
			used[c.path.Guard] = true
		}
	}
	for id, g := range n.guards {
		node, listed := d.Node(id)
		gone := !listed || node.State == directory.Dead || node.State == directory.Removed
		if gone || !used[id] && time.Now().After(n.passed[id].until) && time.Since(g.used) > guardIdle {
			_ = g.conn.Close()
			delete(n.guards, id)
		}
	}
}

// avoid keeps a node off new paths for a while. Guards are not chosen by it.
func (n *Network) avoid(id ident.NodeID, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if until := time.Now().Add(d); n.avoided[id].Before(until) {
		n.avoided[id] = until
	}
}
