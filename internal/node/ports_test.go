package node

import "testing"

// TestPortsOfACrashedNodeAreKept takes ports that nobody listens on, as those of a node that crashed: another
// cluster gets others, until they are returned.
func TestPortsOfACrashedNodeAreKept(t *testing.T) {
	const n = 50
	var bases []int
	seen := map[int]bool{}
	for range 20 {
		base, err := takePorts(n)
		if err != nil {
			t.Fatal(err)
		}
		bases = append(bases, base)
		for p := base; p < base+n; p++ {
			if seen[p] {
				t.Fatalf("port %d is given twice", p)
			}
			seen[p] = true
		}
	}
	for _, base := range bases {
		returnPorts(base, n)
	}
	for p := range seen {
		if taken.ports[p] {
			t.Fatalf("port %d is still taken", p)
		}
	}
}
