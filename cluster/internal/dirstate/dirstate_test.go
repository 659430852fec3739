package dirstate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

const begin = 1_800_000_000_000 // Unix milliseconds

func keyOf(seed string) private.SigningKey {
	h := sha256.Sum256([]byte(seed))
	return private.KeyOf(h).Signing()
}

func publicOf(k private.SigningKey) [32]byte { return k.Public() }

func nodeKey(i int) private.SigningKey { return keyOf(fmt.Sprint("node", i)) }

func testFile(t testing.TB, signers int) *directory.ClusterFile {
	t.Helper()
	var keys [][32]byte
	for i := range signers {
		keys = append(keys, publicOf(nodeKey(i)))
	}
	f, err := directory.NewClusterFile("test", [32]byte{1}, keys, 0, [32]byte{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func entry(i int, change func(*directory.Node)) directory.Node {
	n := directory.Node{
		Key: publicOf(nodeKey(i)), Roles: directory.RoleStorage, State: directory.Alive, Weight: 100,
		PeerAddr: fmt.Sprintf("host-%d:1", i),
	}
	n.ID = ident.NodeIDOf(n.Key[:])
	if change != nil {
		change(&n)
	}
	return n
}

func register(f *directory.ClusterFile, i int, serial uint64, change func(*directory.Node)) []byte {
	r := NewRegister(nodeKey(i), [32]byte{byte(i)}, &Descriptor{Cluster: f.ID, Serial: serial,
		Node: entry(i, change)})
	r.Now = begin + int64(serial)
	return Encode(r)
}

func found(expect int) []byte {
	return Encode(&Found{Now: begin, Expect: uint16(expect), Swarms: uint16(max(3, expect)), Replication: 3})
}

// ready returns a state with n registered nodes.
func ready(t testing.TB, f *directory.ClusterFile, n int) *State {
	t.Helper()
	s := New(f)
	apply(t, s, found(n))
	for i := range n {
		apply(t, s, register(f, i, 1, nil))
	}
	return s
}

func apply(t testing.TB, s *State, c []byte) Result {
	t.Helper()
	r := s.Apply(c)
	if r.Err != nil {
		t.Fatalf("apply: %v", r.Err)
	}
	return r
}

func current(t testing.TB, s *State) *directory.Directory {
	t.Helper()
	_, body, ok := s.Unsigned(200)
	if !ok {
		t.Fatal("no version")
	}
	d, err := directory.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSwarmsAreMadeWithTheLastFounder(t *testing.T) {
	f := testFile(t, 3)
	s := New(f)
	if r := s.Apply(register(f, 0, 1, nil)); !errors.Is(r.Err, fault.Unavailable) {
		t.Errorf("before found: got %v, want unavailable", r.Err)
	}
	apply(t, s, found(5))
	for i := range 4 {
		apply(t, s, register(f, i, 1, nil))
		if d := current(t, s); len(d.Swarms) != 0 || len(d.Nodes) != i+1 {
			t.Fatalf("after %d nodes: got %d nodes and %d swarms, want no swarm", i+1,
				len(d.Nodes), len(d.Swarms))
		}
	}
	apply(t, s, register(f, 4, 1, nil))
	d := current(t, s)
	if len(d.Swarms) != 5 || d.Version != 5 {
		t.Fatalf("got %d swarms in version %d, want 5 in version 5", len(d.Swarms), d.Version)
	}
	load := make(map[ident.NodeID]int)
	for _, w := range d.Swarms {
		if len(w.Replicas) != 3 {
			t.Errorf("swarm %s: got %d replicas, want 3", w.ID, len(w.Replicas))
		}
		for _, id := range w.Replicas {
			load[id]++
		}
	}
	for id, n := range load {
		if n > 4 {
			t.Errorf("node %s has %d replicas, want at most a quarter more than its share of 3", id.Short(),
				n)
		}
	}
	if r := s.Apply(register(f, 5, 1, nil)); !errors.Is(r.Err, fault.Denied) {
		t.Errorf("a sixth node: got %v, want denied", r.Err)
	}
	if r := apply(t, s, found(7)); r.Changed {
		t.Error("a second found changed something")
	}
}

func TestNodesSpeakForThemselvesOnly(t *testing.T) {
	f := testFile(t, 3)
	s := ready(t, f, 3)
	forged := NewRegister(nodeKey(1), [32]byte{}, &Descriptor{Cluster: f.ID, Serial: 9, Node: entry(0, nil)})
	if r := s.Apply(Encode(forged)); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("signed by another node: got %v, want unauthenticated", r.Err)
	}
	elsewhere := NewRegister(nodeKey(0), [32]byte{}, &Descriptor{Cluster: ident.ClusterID{7}, Serial: 9,
		Node: entry(0, nil)})
	if r := s.Apply(Encode(elsewhere)); !errors.Is(r.Err, fault.Denied) {
		t.Errorf("for another cluster: got %v, want denied", r.Err)
	}
	if r := apply(t, s, register(f, 0, 2, nil)); r.Changed {
		t.Error("an equal entry made a version")
	}
	if r := apply(t, s, register(f, 0, 5, func(n *directory.Node) { n.PeerAddr = "moved:1" })); !r.Changed {
		t.Error("a moved node made no version")
	}
	if r := s.Apply(register(f, 0, 4, nil)); !errors.Is(r.Err, fault.Stale) || r.Err.Head != 5 {
		t.Errorf("an older descriptor: got %v, want stale with serial 5", r.Err)
	}
}

func TestVersionNeedsEnoughSignatures(t *testing.T) {
	f := testFile(t, 5)
	s := ready(t, f, 5)
	number, body, _ := s.Unsigned(0)
	for i := range 3 {
		if r := apply(t, s, Encode(SignCurrent(nodeKey(i), uint8(i), number, body))); r.Signed {
			t.Fatalf("signed after %d signatures, want 4", i+1)
		}
	}
	if _, _, again := s.Unsigned(1); again {
		t.Error("a member that signed is asked again")
	}
	apply(t, s, Encode(SignCurrent(nodeKey(2), 2, number, body))) // twice counts once
	wrong := SignCurrent(nodeKey(3), 4, number, body)
	if r := s.Apply(Encode(wrong)); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("in another's name: got %v, want unauthenticated", r.Err)
	}
	differs := SignCurrent(nodeKey(3), 3, number, append([]byte{}, body[:len(body)-1]...))
	if r := s.Apply(Encode(differs)); !errors.Is(r.Err, fault.Corrupt) {
		t.Errorf("over other bytes: got %v, want corrupt", r.Err)
	}
	if s.Signed() != nil {
		t.Fatal("there is a signed directory with 3 signatures")
	}
	if r := apply(t, s, Encode(SignCurrent(nodeKey(4), 4, number, body))); !r.Signed {
		t.Error("the fourth signature did not complete the version")
	}
	if d, err := f.Verify(s.Signed()); err != nil || d.Version != number {
		t.Errorf("the signed directory does not verify: %v", err)
	}
	apply(t, s, Encode(&Reissue{Now: begin + 99}))
	if d := current(t, s); d.Previous != directory.Digest(body) || d.IssuedAt != begin+99 {
		t.Errorf("reissue: got previous %x, issued %d", d.Previous[:4], d.IssuedAt)
	}
	if d, _ := f.Verify(s.Signed()); d.Version != number {
		t.Errorf("the unsigned version %d replaced the signed one", d.Version)
	}
}

func TestSnapshotRestoresTheSameState(t *testing.T) {
	f := testFile(t, 3)
	s := ready(t, f, 3)
	number, body, _ := s.Unsigned(0)
	for i := range 2 {
		apply(t, s, Encode(SignCurrent(nodeKey(i), uint8(i), number, body)))
	}
	apply(t, s, Encode(&SetParams{Now: begin + 50, Params: directory.Params{StampDifficulty: 9}}))
	b := s.Snapshot()
	again := New(f)
	if err := again.Restore(b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Snapshot(), b) {
		t.Error("a restored state has another snapshot")
	}
	next := register(f, 1, 9, func(n *directory.Node) { n.Zone = "b" })
	if s.Apply(next); again.Apply(next).Version != s.Version() ||
		!bytes.Equal(again.Snapshot(), s.Snapshot()) {
		t.Error("a restored state goes on differently")
	}
	for n := range b {
		if err := New(f).Restore(b[:n]); err == nil {
			t.Fatalf("a snapshot cut to %d bytes is taken", n)
		}
	}
	other, err := directory.NewClusterFile("other", [32]byte{1}, [][32]byte{{3}}, 0, [32]byte{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := New(other).Restore(b); !errors.Is(err, fault.Denied) {
		t.Errorf("another cluster's snapshot: got %v, want denied", err)
	}
}

func TestReplicasComputeTheSame(t *testing.T) {
	f := testFile(t, 3)
	rapid.Check(t, func(t *rapid.T) {
		a, b := New(f), New(f)
		commands := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []byte {
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				return found(rapid.IntRange(1, 4).Draw(t, "expect"))
			case 1:
				return Encode(&Reissue{Now: begin + rapid.Int64Range(0, 1000).Draw(t, "now")})
			case 2:
				return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "noise")
			}
			zone := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone")
			return register(f, rapid.IntRange(0, 4).Draw(t, "node"),
				uint64(rapid.IntRange(1, 9).Draw(t, "serial")), func(n *directory.Node) { n.Zone = zone })
		}), 0, 20).Draw(t, "commands")
		for i, c := range commands {
			a.Apply(c)
			if i == len(commands)/2 { // b goes through a snapshot on the way
				snap := b.Snapshot()
				b = New(f)
				if err := b.Restore(snap); err != nil {
					t.Fatal(err)
				}
			}
			b.Apply(c)
		}
		if !bytes.Equal(a.Snapshot(), b.Snapshot()) {
			t.Error("two replicas differ")
		}
	})
}

func TestPlacementKeepsZonesApartAndFollowsWeights(t *testing.T) {
	var nodes []directory.Node
	for i := range 9 {
		nodes = append(nodes, entry(i, func(n *directory.Node) {
			n.Zone = fmt.Sprint("zone", i%3)
			if i == 0 {
				n.Weight = 200
			}
		}))
	}
	zoneOf := make(map[ident.NodeID]string)
	for _, n := range nodes {
		zoneOf[n.ID] = n.Zone
	}
	load := make(map[ident.NodeID]int)
	for _, replicas := range place(90, 3, nodes) {
		zones := make(map[string]bool)
		for _, id := range replicas {
			zones[zoneOf[id]] = true
			load[id]++
		}
		if len(zones) != 3 {
			t.Errorf("got replicas in %d zones, want 3", len(zones))
		}
	}
	if heavy, light := load[nodes[0].ID], load[nodes[1].ID]; heavy <= light {
		t.Errorf("got %d replicas at weight 200, %d at weight 100, want more", heavy, light)
	}
	if got := place(3, 3, nodes[:2]); len(got[0]) != 2 {
		t.Errorf("two nodes: got %d replicas, want 2", len(got[0]))
	}
}

func TestPlacementMovesLittleWhenANodeIsAdded(t *testing.T) {
	var nodes []directory.Node
	for i := range 10 {
		nodes = append(nodes, entry(i, nil))
	}
	moved, total := 0, 0
	for i := range 200 {
		swarm := ident.SwarmID(i + 1)
		before := best(swarm, nodes[:9])
		if after := best(swarm, nodes); after != before {
			moved++
			if after != nodes[9].ID {
				t.Errorf("swarm %s moved between nodes that were there before", swarm)
			}
		}
		total++
	}
	if moved > total/4 {
		t.Errorf("%d of %d swarms moved to a tenth node, want about a tenth", moved, total)
	}
}

func best(swarm ident.SwarmID, nodes []directory.Node) ident.NodeID {
	b := &nodes[0]
	for i := range nodes {
		if compareRank(swarm, &nodes[i], b) < 0 {
			b = &nodes[i]
		}
	}
	return b.ID
}

func FuzzDecode(f *testing.F) {
	file := testFile(f, 3)
	for _, c := range [][]byte{
		found(3), register(file, 0, 1, nil), Encode(&Reissue{Now: 1}), Encode(&SetParams{Now: 1}),
		Encode(SignCurrent(nodeKey(0), 0, 1, []byte("x"))),
	} {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		if !bytes.Equal(Encode(c), b) {
			t.Error("what decodes must encode to the same bytes")
		}
		New(file).Apply(b)
	})
}

func FuzzRestore(f *testing.F) {
	file := testFile(f, 3)
	f.Add(ready(f, file, 3).Snapshot())
	f.Fuzz(func(t *testing.T, b []byte) {
		s := New(file)
		if s.Restore(b) == nil && !bytes.Equal(s.Snapshot(), b) {
			t.Error("what restores must snapshot to the same bytes")
		}
	})
}
