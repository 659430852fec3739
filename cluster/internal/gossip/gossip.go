// Package gossip finds the nodes of a cluster and tells who is reachable. It decides nothing: membership is
// the directory's, and what a member says of itself here is a hint that its receiver verifies.
//
// New validates a Config and opens the sockets, Run gossips until its context ends. Members lists every node
// heard of in this run, with the opaque metadata it announces; Changes says when to look again. Nodes that
// fell silent are looked for again, at the addresses of Config.Join (whose names are resolved at every
// attempt) and where they were last seen, so that a healed partition closes by itself.
//
// Everything on the wire is encrypted under a key derived from the cluster secret. The package wraps
// hashicorp/memberlist and is impure. Key and names: docs/formats.md, section 8.
package gossip

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/netfault"
	"github.com/starling-swarm/starling/internal/private"
)

// MaxMeta is the size in bytes of the largest metadata that a node can announce.
const MaxMeta = memberlist.MetaMaxSize

// leaveTimeout bounds how long a node that stops waits for its farewell to be sent.
const leaveTimeout = 300 * time.Millisecond

// Config configures a Gossip. Zero values take the defaults in parentheses.
type Config struct {
	Node ident.NodeID // required
	Bind string       // host:port to listen on, UDP and TCP; port 0 takes a free one ("0.0.0.0:0")
	// host:port at which peers reach this node; the name is resolved again at every rejoin (the bound
	// address)
	Advertise string
	Secret    private.Key   // the cluster secret; the gossip key is derived from it
	Meta      []byte        // what this node announces of itself, at most MaxMeta bytes
	Join      []string      // host:port of other nodes; its own address among them does no harm
	Rejoin    time.Duration // how often missing nodes are looked for (2 s)
	Switch    *netfault.Switch
	Logger    *slog.Logger // nil discards
}

// State is what gossip believes of a member.
type State uint8

// The states.
const (
	Alive State = iota + 1
	Gone        // left, or did not answer
)

func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Gone:
		return "gone"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Member is another node of the cluster as gossip sees it.
type Member struct {
	Node  ident.NodeID
	Meta  []byte // as announced: the receiver verifies it
	Addr  string // host:port of its gossip
	State State
	Since time.Time // when it took this state
}

// Gossip is this node's part in the gossip. All methods may be called from any goroutine.
type Gossip struct {
	cfg   Config
	socks *sockets
	crash atomic.Bool
	stop  context.CancelFunc // ends Run
	ctx   context.Context    // ends at Close or Crash

	mu      sync.Mutex
	meta    []byte
	list    *memberlist.Memberlist // nil while none runs
	members map[string]*instance   // by memberlist name
	changed chan struct{}          // closed and replaced at every change
}

// New validates the configuration and opens the sockets; nothing is sent or answered before Run.
//
// Errors: Invalid (Config), Unavailable (the address cannot be bound).
func New(cfg Config) (*Gossip, error) {
	const op = "start gossip"
	if cfg.Node.IsZero() {
		return nil, fault.New(fault.Invalid, op, "has no node ID")
	}
	if len(cfg.Meta) > MaxMeta {
		return nil, fault.New(fault.Invalid, op, "metadata of %d bytes, limit is %d", len(cfg.Meta), MaxMeta)
	}
	for _, a := range append(slices.Clone(cfg.Join), cfg.Advertise) {
		if _, _, err := net.SplitHostPort(a); a != "" && err != nil {
			return nil, fault.New(fault.Invalid, op, "address %q is not host:port", a)
		}
	}
	if cfg.Bind == "" {
		cfg.Bind = "0.0.0.0:0"
	}
	if cfg.Rejoin == 0 {
		cfg.Rejoin = 2 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := listen(cfg.Bind, cfg.Switch)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err)
	}
	g := &Gossip{cfg: cfg, socks: s, meta: slices.Clone(cfg.Meta), members: make(map[string]*instance),
		changed: make(chan struct{})}
	g.ctx, g.stop = context.WithCancel(context.Background())
	return g, nil
}

// Addr returns the bound address, with the port that was taken for port 0.
func (g *Gossip) Addr() string { return g.socks.tcp.Addr().String() }

// Run gossips until ctx ends, then says farewell and closes the sockets. The end of ctx is no error.
func (g *Gossip) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.ctx, cancel)()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.socks.read(ctx) })
	group.Go(func() error {
		defer cancel()
		defer g.socks.close() // after the farewell
		for {
			again, err := g.session(ctx)
			if err != nil || !again {
				return err
			}
		}
	})
	if err := group.Wait(); err != nil {
		return fault.Wrap(fault.Unavailable, "gossip", err)
	}
	return nil
}

// Close ends Run from outside, and closes the sockets if Run was never called.
func (g *Gossip) Close() {
	g.stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.list == nil {
		g.socks.close()
	}
}

// Crash ends Run without a farewell: peers find out by themselves, as after a kill.
func (g *Gossip) Crash() {
	g.crash.Store(true)
	g.Close()
}

// SetMeta changes what this node announces.
func (g *Gossip) SetMeta(meta []byte) error {
	if len(meta) > MaxMeta {
		return fault.New(fault.Invalid, "announce metadata", "has %d bytes, limit is %d", len(meta), MaxMeta)
	}
	g.mu.Lock()
	g.meta = slices.Clone(meta)
	list := g.list
	g.mu.Unlock()
	if list != nil {
		_ = list.UpdateNode(leaveTimeout) // a timeout only says that nobody was there to hear it yet
	}
	return nil
}

// Members returns the other nodes, in the order of their IDs.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	best := make(map[ident.NodeID]*instance)
	for _, m := range g.members {
		if b := best[m.node]; b == nil || m.better(b) {
			best[m.node] = m
		}
	}
	members := make([]Member, 0, len(best))
	for _, m := range best {
		members = append(members, Member{Node: m.node, Meta: slices.Clone(m.meta), Addr: m.addr,
			State: m.state, Since: m.since})
	}
	slices.SortFunc(members, func(a, b Member) int { return slices.Compare(a.Node[:], b.Node[:]) })
	return members
}

// Changes returns a channel that is closed when Members next changes. Take the channel first, then read
// Members, then wait.
func (g *Gossip) Changes() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// notifyLocked wakes whoever waits on Changes.
func (g *Gossip) notifyLocked() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// better reports whether m rather than b says how their node is: who is alive, then who started later.
func (m *instance) better(b *instance) bool {
	if m.state != b.state {
		return m.state == Alive
	}
	return cmp.Compare(m.started, b.started) > 0
}
