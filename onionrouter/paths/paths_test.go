package paths

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

const period = 81_000

// cluster returns n nodes, each in a /16, a zone and with an operator of its own as long as the numbers last,
// and the first `replicas` of them as the destination's swarm.
func cluster(n, replicas int, change func(i int, n *directory.Node)) (*directory.Directory, []ident.NodeID) {
	d := &directory.Directory{}
	for i := range n {
		node := directory.Node{
			ID: ident.NodeID{byte(i), 1}, Roles: directory.RoleStorage | directory.RoleRelay,
			State:    directory.Alive,
			PeerAddr: fmt.Sprintf("10.%d.0.1:7000", i), ClientAddrs: []string{fmt.Sprintf("10.%d.0.1:7001",
				i)},
			Zone: fmt.Sprint("zone", i), Operator: fmt.Sprint("operator",
				i), OnionKeys: []directory.OnionKey{{Period: period}},
		}
		if change != nil {
			change(i, &node)
		}
		d.Nodes = append(d.Nodes, node)
	}
	var swarm []ident.NodeID
	for i := range replicas {
		swarm = append(swarm, d.Nodes[i].ID)
	}
	return d, swarm
}

func generator(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// check fails if a path breaks a rule that is never relaxed, or says less or more than it breaks.
func check(t *testing.T, q Query, p Path) {
	t.Helper()
	relays := []ident.NodeID{p.Guard, p.Middle, p.Exit}
	for i, id := range relays {
		if slices.Contains(relays[:i], id) {
			t.Fatalf("guard, middle and exit are not three nodes: %v", relays)
		}
	}
	if p.Guard != q.Guard || p.Storage == p.Guard {
		t.Fatalf("guard %s, storage %s, asked for guard %s", p.Guard.Short(), p.Storage.Short(),
			q.Guard.Short())
	}
	if !slices.Contains(q.Swarm, p.Storage) {
		t.Fatalf("storage node %s is no replica", p.Storage.Short())
	}
	says := func(r Rules) bool { return p.Broken&r != 0 }
	for _, row := range []struct {
		rule Rules
		is   bool
	}{
		{MiddleInSwarm, slices.Contains(q.Swarm, p.Middle)},
		{ExitInSwarm, slices.Contains(q.Swarm, p.Exit)},
		{GuardInSwarm, slices.Contains(q.Swarm, p.Guard)},
		{GuardInOwnSwarm, slices.Contains(q.Own, p.Guard)},
		{StorageOnPath, p.Storage == p.Middle || p.Storage == p.Exit},
	} {
		if says(row.rule) != row.is {
			t.Fatalf("path %v says %b, rule %b is broken: %v", p.Hops(), p.Broken, row.rule, row.is)
		}
	}
}

func TestPathsOfClustersOfAllSizes(t *testing.T) {
	samples := 100_000
	if testing.Short() {
		samples = 5_000
	}
	sizes := []int{3, 4, 5, 6, 7, 8, 10, 15, 30, 100}
	for _, size := range sizes {
		d, swarm := cluster(size, 3, nil)
		own := []ident.NodeID{d.Nodes[size-1].ID, d.Nodes[size-2].ID, d.Nodes[size-3].ID}
		r := generator(uint64(size))
		seen := map[ident.NodeID]bool{}
		for i := range samples / len(sizes) {
			q := Query{Directory: d, Period: period, Guard: d.Nodes[i%size].ID, Swarm: swarm, Own: own}
			p, err := Choose(r, q)
			if err != nil {
				t.Fatalf("%d nodes: %v", size, err)
			}
			check(t, q, p)
			seen[p.Exit] = true
			// With four nodes outside of the swarm nothing has to be relaxed but what the guard itself
			// breaks.
			if allowed := GuardInSwarm | GuardInOwnSwarm; size >= 7 && p.Broken&^allowed != 0 {
				t.Fatalf("%d nodes: path breaks %v", size, p.Broken.Words())
			}
			if i%size >= 3 && size >= 6 && p.Broken&GuardInSwarm != 0 {
				t.Fatalf("%d nodes: guard outside of the swarm, path says %v", size, p.Broken.Words())
			}
		}
		if size >= 7 && len(seen) != size-3 {
			t.Errorf("%d nodes: %d exits were used, want all %d outside of the swarm", size,
				len(seen), size-3)
		}
	}
}

func TestRulesAreRelaxedInOrder(t *testing.T) {
	// The guard is the last node. Each row takes away one more way out; the path must break that rule and,
	// besides it, none that comes later.
	same := func(field func(*directory.Node) *string, v string) func(int, *directory.Node) {
		return func(_ int, n *directory.Node) { *field(n) = v }
	}
	rows := []struct {
		name   string
		nodes  int
		change func(int, *directory.Node)
		want   Rules
	}{
		{"large", 8, nil, 0},
		{"one /16", 8, func(i int, n *directory.Node) {
			n.PeerAddr, n.ClientAddrs = fmt.Sprintf("10.0.%d.1:7000",
				i), []string{fmt.Sprintf("10.0.%d.1:7001", i)}
		}, SharedPrefix},
		{"one operator", 8, same(func(n *directory.Node) *string { return &n.Operator }, "one"),
			SharedOperator},
		{"one zone", 8, same(func(n *directory.Node) *string { return &n.Zone }, "one"), SharedZone},
		{"two outside besides the guard is enough", 6, nil, 0},
		{"one outside besides the guard", 5, nil, MiddleInSwarm},
		{"none outside besides the guard", 4, nil, MiddleInSwarm | ExitInSwarm},
		{"three nodes", 3, nil, MiddleInSwarm | ExitInSwarm | GuardInSwarm | StorageOnPath},
	}
	for _, row := range rows {
		d, swarm := cluster(row.nodes, 3, row.change)
		r := generator(1)
		for range 200 {
			q := Query{Directory: d, Period: period, Guard: d.Nodes[row.nodes-1].ID, Swarm: swarm}
			p, err := Choose(r, q)
			if err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			check(t, q, p)
			if p.Broken != row.want {
				t.Fatalf("%s: path breaks %q, want %q", row.name, p.Broken.Words(), row.want.Words())
			}
		}
	}
}

func TestUnstatedPropertiesAreNotShared(t *testing.T) {
	d, swarm := cluster(8, 3, func(i int, n *directory.Node) {
		n.Zone, n.Operator, n.PeerAddr, n.ClientAddrs = "", "", fmt.Sprintf("node%d:7000",
			i), []string{fmt.Sprintf("node%d:7001", i)}
	})
	p, err := Choose(generator(1), Query{Directory: d, Period: period, Guard: d.Nodes[7].ID, Swarm: swarm})
	if err != nil || p.Broken != 0 {
		t.Errorf("got %q, %v", p.Broken.Words(), err)
	}
}

func TestNodesThatCannotServeArePassedOver(t *testing.T) {
	d, swarm := cluster(9, 3, func(i int, n *directory.Node) {
		switch i {
		case 0:
			n.State = directory.Dead
		case 1:
			n.Roles = directory.RoleRelay
		case 3:
			n.OnionKeys = []directory.OnionKey{{Period: period + 1}} // of a coming period only
		case 4:
			n.Roles = directory.RoleStorage
		case 5:
			n.State = directory.Removed
		}
	})
	r := generator(1)
	for range 300 {
		p, err := Choose(r, Query{Directory: d, Period: period, Guard: d.Nodes[8].ID, Swarm: swarm})
		if err != nil {
			t.Fatal(err)
		}
		if p.Storage != d.Nodes[2].ID {
			t.Fatalf("storage node is %s, want the only replica that stores", p.Storage.Short())
		}
		for _, i := range []int{0, 3, 4, 5} {
			if id := d.Nodes[i].ID; p.Middle == id || p.Exit == id {
				t.Fatalf("node %d is on path %v", i, p.Hops())
			}
		}
	}
}

func TestNoPathIsAnError(t *testing.T) {
	two, swarm := cluster(2, 2, nil)
	if _, err := Choose(generator(1), Query{Directory: two, Period: period, Guard: two.Nodes[0].ID,
		Swarm: swarm}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("two nodes: got %v, want unavailable", err)
	}
	d, swarm := cluster(8, 1, nil)
	q := Query{Directory: d, Period: period, Guard: d.Nodes[0].ID, Swarm: swarm}
	if _, err := Choose(generator(1), q); !errors.Is(err, fault.Unavailable) {
		t.Errorf("guard is the only storage node: got %v, want unavailable", err)
	}
	q.Guard = ident.NodeID{0xff}
	if _, err := Choose(generator(1), q); !errors.Is(err, fault.NotFound) {
		t.Errorf("foreign guard: got %v, want not found", err)
	}
}

func TestPreferredMiddlesAndAvoidedNodes(t *testing.T) {
	d, swarm := cluster(10, 3, nil)
	r := generator(1)
	for range 200 {
		q := Query{Directory: d, Period: period, Guard: d.Nodes[9].ID, Swarm: swarm,
			Middles: []ident.NodeID{d.Nodes[4].ID, d.Nodes[5].ID},
			Avoid:   func(id ident.NodeID) bool { return id == d.Nodes[5].ID || id == d.Nodes[0].ID }}
		p, err := Choose(r, q)
		if err != nil {
			t.Fatal(err)
		}
		if p.Middle != d.Nodes[4].ID && p.Exit != d.Nodes[4].ID {
			t.Fatalf("middle is %s, want the pinned one", p.Middle.Short())
		}
		if p.Exit == d.Nodes[5].ID || p.Storage == d.Nodes[0].ID {
			t.Fatalf("path %v holds an avoided node", p.Hops())
		}
	}
}

func TestGuardsAreStableAndLast(t *testing.T) {
	d, _ := cluster(12, 3, nil)
	own := []ident.NodeID{d.Nodes[0].ID, d.Nodes[1].ID, d.Nodes[2].ID}
	now := time.Unix(1_800_000_000, 0)
	var s Sample
	if !s.Update(generator(7), d, now) {
		t.Fatal("an empty sample was not filled")
	}
	order := s.Guarded(d, own, period)
	if len(order) != 12 {
		t.Fatalf("%d guards, want all 12 nodes ranked", len(order))
	}
	for i, id := range order {
		if slices.Contains(own, id) != (i >= 9) {
			t.Fatalf("node %d of the order is %s: those of the own swarm come last", i, id.Short())
		}
	}
	// Other randomness, later starts, new nodes: the first guards stay.
	for seed := range uint64(20) {
		now = now.Add(24 * time.Hour)
		d.Nodes = append(d.Nodes, directory.Node{ID: ident.NodeID{0xee, byte(seed)},
			Roles: directory.RoleRelay, State: directory.Alive,
			ClientAddrs: []string{"192.0.2.1:1"}, OnionKeys: []directory.OnionKey{{Period: period}}})
		s.Update(generator(seed), d, now)
		if got := s.Guarded(d, own, period); !slices.Equal(got[:9], order[:9]) {
			t.Fatalf("after %d days the order of guards changed", seed+1)
		}
		if len(s.Middles) != 4 {
			t.Fatalf("%d middles, want 4", len(s.Middles))
		}
	}
}

func TestGuardsExpireAndLeave(t *testing.T) {
	d, _ := cluster(5, 3, nil)
	now := time.Unix(1_800_000_000, 0)
	var s Sample
	s.Update(generator(1), d, now)
	first := s.Guarded(d, nil, period)[0]

	without := &directory.Directory{}
	for _, n := range d.Nodes {
		if n.ID != first {
			without.Nodes = append(without.Nodes, n)
		}
	}
	s.Update(generator(2), without, now.Add(time.Hour))
	if got := s.Guarded(without, nil, period); slices.Contains(got, first) {
		t.Fatal("a guard that the directory does not list is used")
	}
	s.Update(generator(3), d, now.Add(2*time.Hour))
	if got := s.Guarded(d, nil, period)[0]; got != first {
		t.Error("a guard lost its place though it came back after an hour")
	}
	s.Update(generator(4), without, now.Add(3*time.Hour))
	s.Update(generator(5), without, now.Add(3*time.Hour+goneAfter+time.Second))
	if pinned(s.Guards, first) {
		t.Error("a guard that left a week ago is still in the sample")
	}
	later := now.Add(guardMax + time.Second)
	s.Update(generator(6), d, later)
	for _, g := range s.Guards {
		if life := time.Duration(g.Until-later.Unix()) * time.Second; life < guardMin-time.Minute ||
			life > guardMax {
			t.Errorf("guard lives %v from now, want 60 to 120 days", life)
		}
	}
}

func TestLoopback(t *testing.T) {
	at := func(addr string) *directory.Directory {
		d, _ := cluster(3, 3, func(i int, n *directory.Node) {
			n.PeerAddr, n.ClientAddrs = "127.0.0.1:1", []string{"[::1]:2"}
			if i == 2 {
				n.PeerAddr = addr
			}
		})
		return d
	}
	if !Loopback(at("127.0.0.1:9")) {
		t.Error("a cluster on one machine is not recognized")
	}
	if Loopback(at("192.0.2.1:9")) {
		t.Error("a node elsewhere counts as loopback")
	}
}

func BenchmarkChoose(b *testing.B) {
	for _, size := range []int{5, 100} {
		d, swarm := cluster(size, 3, nil)
		r := generator(1)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				if _, err := Choose(r, Query{Directory: d, Period: period, Guard: d.Nodes[size-1].ID,
					Swarm: swarm}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
