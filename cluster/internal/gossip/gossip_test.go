package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/netfault"
	"github.com/starling-swarm/starling/internal/private"
)

func TestMain(m *testing.M) {
	// memberlist's Shutdown does not wait for a probe under way, which takes up to its interval.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).triggerFunc"))
}

// patience bounds waits for things that happen soon or never.
const patience = 30 * time.Second

func nodeID(n int) ident.NodeID { return ident.NodeIDOf([]byte{byte(n)}) }

// peer is a running Gossip.
type peer struct {
	*Gossip
	id    ident.NodeID
	ended chan error
	stop  context.CancelFunc
}

// run starts a Gossip that ends with the test.
func run(t *testing.T, cfg Config) *peer {
	t.Helper()
	if cfg.Bind == "" {
		cfg.Bind = "127.0.0.1:0"
	}
	if cfg.Rejoin == 0 {
		cfg.Rejoin = 50 * time.Millisecond
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &peer{Gossip: g, id: cfg.Node, ended: make(chan error, 1), stop: stop}
	go func() { p.ended <- g.Run(ctx) }()
	t.Cleanup(func() { p.end(t) })
	return p
}

func (p *peer) end(t *testing.T) {
	t.Helper()
	p.stop()
	if err := <-p.ended; err != nil {
		t.Errorf("run ended with %v", err)
	}
	p.ended <- nil
}

// wait returns once ok holds for p's members.
func (p *peer) wait(t *testing.T, what string, ok func([]Member) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		changes := p.Changes()
		members := p.Members()
		if ok(members) {
			return
		}
		select {
		case <-changes:
		case <-deadline:
			t.Fatalf("node %s never %s: sees %+v", p.id.Short(), what, members)
		}
	}
}

// sees waits until p's view of other is in the given state.
func (p *peer) sees(t *testing.T, other ident.NodeID, state State) {
	t.Helper()
	p.wait(t, fmt.Sprintf("saw %s %s", other.Short(), state), func(members []Member) bool {
		return slices.ContainsFunc(members, func(m Member) bool {
			return m.Node == other &&
				m.State == state
		})
	})
}

func alive(n int) func([]Member) bool {
	return func(members []Member) bool {
		count := 0
		for _, m := range members {
			if m.State == Alive {
				count++
			}
		}
		return count == n
	}
}

// ring starts n nodes that all know the first one's address.
func ring(t *testing.T, n int, each func(i int, cfg *Config)) []*peer {
	t.Helper()
	var peers []*peer
	for i := range n {
		cfg := Config{Node: nodeID(i), Meta: fmt.Appendf(nil, "meta of %d", i)}
		if i > 0 {
			cfg.Join = []string{peers[0].Addr()}
		}
		if each != nil {
			each(i, &cfg)
		}
		peers = append(peers, run(t, cfg))
	}
	for _, p := range peers {
		p.wait(t, "saw all", alive(n-1))
	}
	return peers
}

func TestNodesFindEachOtherThroughOne(t *testing.T) {
	peers := ring(t, 5, nil)
	for i, p := range peers {
		for _, m := range p.Members() {
			j := slices.IndexFunc(peers, func(q *peer) bool { return q.id == m.Node })
			if j < 0 || j == i {
				t.Fatalf("node %d lists %s, want only the others", i, m.Node.Short())
			}
			if want := fmt.Sprintf("meta of %d", j); string(m.Meta) != want || m.Addr != peers[j].Addr() {
				t.Errorf("node %d sees node %d with %q at %s, want %q at %s", i, j, m.Meta, m.Addr, want,
					peers[j].Addr())
			}
		}
	}
}

func TestNewMetadataSpreads(t *testing.T) {
	peers := ring(t, 3, nil)
	if err := peers[1].SetMeta([]byte("new")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*peer{peers[0], peers[2]} {
		p.wait(t, "saw the new metadata", func(members []Member) bool {
			return slices.ContainsFunc(members, func(m Member) bool {
				return m.Node == peers[1].id &&
					string(m.Meta) == "new"
			})
		})
	}
	if err := peers[1].SetMeta(make([]byte, MaxMeta+1)); !errors.Is(err, fault.Invalid) {
		t.Errorf("too much metadata: got %v, want %v", err, fault.Invalid)
	}
}

func TestLargestMetadataArrives(t *testing.T) {
	big := bytes.Repeat([]byte{7}, MaxMeta)
	peers := ring(t, 3, func(_ int, cfg *Config) { cfg.Meta = big })
	for _, m := range peers[0].Members() {
		if !bytes.Equal(m.Meta, big) {
			t.Errorf("got %d bytes of metadata, want %d", len(m.Meta), MaxMeta)
		}
	}
}

func TestNodeThatEndsSaysFarewell(t *testing.T) {
	peers := ring(t, 3, nil)
	peers[2].end(t)
	peers[0].sees(t, peers[2].id, Gone)
	peers[1].sees(t, peers[2].id, Gone)
}

func TestRestartedNodeIsTakenAtItsNewAddress(t *testing.T) {
	peers := ring(t, 3, nil)
	old := peers[2].Addr()
	peers[2].Crash()
	peers[2].end(t)
	again := run(t, Config{Node: nodeID(2), Meta: []byte("second run"), Join: []string{peers[0].Addr()}})
	for _, p := range peers[:2] {
		p.wait(t, "saw the second run", func(members []Member) bool {
			return slices.ContainsFunc(members, func(m Member) bool {
				return m.Node == again.id && m.State == Alive && string(m.Meta) == "second run" &&
					m.Addr == again.Addr()
			})
		})
		if n := len(p.Members()); n != 2 {
			t.Errorf("got %d members, want 2: one per node", n)
		}
	}
	if again.Addr() == old {
		t.Skip("the kernel gave the same port again")
	}
}

func TestNodeRestartedOnItsPortRejoins(t *testing.T) {
	peers := ring(t, 3, nil)
	addr := peers[0].Addr()
	peers[0].Crash()
	peers[0].end(t)
	// Nobody in the new run's list: the others look for it where it was.
	again := run(t, Config{Node: nodeID(0), Bind: addr})
	again.wait(t, "was found", alive(2))
	for _, p := range peers[1:] {
		p.sees(t, again.id, Alive)
	}
}

func TestHealedPartitionClosesByItself(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for probes to fail")
	}
	var sw netfault.Switch
	peers := ring(t, 3, func(i int, cfg *Config) {
		if i == 2 {
			cfg.Switch = &sw
		}
	})
	sw.Cut(true)
	peers[0].sees(t, peers[2].id, Gone)
	peers[1].sees(t, peers[2].id, Gone)
	peers[2].wait(t, "lost the others", alive(0))
	sw.Cut(false)
	for _, p := range peers {
		p.wait(t, "saw all again", alive(2))
	}
}

func TestOtherSecretIsNotHeard(t *testing.T) {
	peers := ring(t, 2, nil)
	stranger := run(t, Config{Node: nodeID(9), Secret: private.KeyOf([32]byte{1}),
		Join: []string{peers[0].Addr(), peers[1].Addr()}})
	third := run(t, Config{Node: nodeID(3), Join: []string{peers[0].Addr()}})
	peers[1].sees(t, third.id, Alive) // later than the stranger's first attempts
	for _, p := range append(peers, third) {
		for _, m := range p.Members() {
			if m.Node == stranger.id {
				t.Error("a node with another secret is listed")
			}
		}
	}
	if n := len(stranger.Members()); n != 0 {
		t.Errorf("a node with another secret sees %d members, want none", n)
	}
}

func TestNewRejectsBadConfigurations(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name string
		cfg  Config
		want fault.Kind
	}{
		{"no node", Config{}, fault.Invalid},
		{"metadata too long", Config{Node: nodeID(1), Meta: make([]byte, MaxMeta+1)}, fault.Invalid},
		{"join without port", Config{Node: nodeID(1), Join: []string{"host"}}, fault.Invalid},
		{"advertise without port", Config{Node: nodeID(1), Advertise: "host"}, fault.Invalid},
		{"address in use", Config{Node: nodeID(1), Bind: taken.Addr().String()}, fault.Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if g, err := New(test.cfg); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
				if err == nil {
					g.Close()
				}
			}
		})
	}
}

func TestCloseWithoutRunFreesTheAddress(t *testing.T) {
	g, err := New(Config{Node: nodeID(1), Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	again, err := New(Config{Node: nodeID(1), Bind: g.Addr()})
	if err != nil {
		t.Fatalf("address is not free: %v", err)
	}
	again.Close()
}

func TestNameText(t *testing.T) {
	name := nameOf(nodeID(1), 0x18f)
	node, started, err := parseName(name)
	if err != nil || node != nodeID(1) || started != 0x18f {
		t.Errorf("got %s, %x, %v", node.Short(), started, err)
	}
	id := nodeID(1).String()
	for _, bad := range []string{"", id, id + ".", id + ".zz", id + ".000000000000018g",
		"ab.000000000000018f", name + "0"} {
		if _, _, err := parseName(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add(nameOf(nodeID(1), 0x18f))
	f.Fuzz(func(t *testing.T, name string) {
		node, started, err := parseName(name)
		if err == nil && nameOf(node, started) != name {
			t.Errorf("%q reads as %q", name, nameOf(node, started))
		}
	})
}

func TestOnlyWarningsAreLoggedAndOnce(t *testing.T) {
	var out bytes.Buffer
	l := newLines(slog.New(slog.NewTextHandler(&out, nil)))
	for _, line := range []string{
		"[DEBUG] memberlist: Stream connection from=127.0.0.1:1\n",
		"[INFO] memberlist: Suspect x has failed, no acks received\n",
		"[ERR] memberlist: Failed push/pull: refused\n",
		"[ERR] memberlist: Failed push/pull: refused again\n",
		"no level",
	} {
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("got %d, %v, want all written", n, err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 1 ||
		!strings.Contains(out.String(), `level=WARN msg=gossip event="Failed push/pull: refused"`) {
		t.Errorf("got\n%s", out.String())
	}
}
