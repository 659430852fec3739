// Package cluster is a node's share of a Starling cluster: it finds the other nodes, takes part in the
// directory, hosts the replicas that the directory gives it, and answers requests on mailboxes.
//
// New validates a Config and starts nothing; Run joins or founds the cluster and owns every goroutine until
// it returns. Do carries out one signed request on a mailbox and Subscribe follows a mailbox; both accept any
// mailbox of any swarm that this node hosts and go to the swarm's leader themselves where that is needed, one
// hop. Directory and WatchDirectory give the newest signed view of the cluster.
//
// How it hangs together: gossip (cluster/internal/gossip) finds addresses and decides nothing. The signers of
// the cluster file form the directory's Raft group, whose state machine is cluster/internal/dirstate; each of
// them signs what it computed itself. Every node keeps the newest directory with enough signatures on disk
// and follows the signers for newer ones; stores and deliveries go on without them. A swarm is a Raft group
// (cluster/internal/consensus) over a mailbox store (cluster/internal/mailstore).
//
// The package is impure. Layouts: docs/formats.md, sections 4 and 8.
package cluster

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/starling-swarm/starling/cluster/internal/consensus"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
)

// Node is one node of a cluster. Its methods may be called from any goroutine; those that need the cluster
// answer Unavailable before Run has joined it and after it ended.
type Node struct {
	cfg      Config
	id       ident.NodeID
	identity *rpc.Identity
	health   *health.Server
	view     *view

	neighbours   neighbours
	registration registration
	peers        *peerConns
	lastSigner   atomic.Int64 // index of the signer that took our last command

	started atomic.Bool
	ended   chan struct{} // closed when Run has returned
	crash   chan struct{} // closed by Crash
	crashed sync.Once

	mu       sync.Mutex
	running  context.Context // of Run while it serves; nil before and after
	abort    context.CancelCauseFunc
	listener *rpc.PeerListener
	replicas map[ident.SwarmID]*replica
	changed  chan struct{} // closed and replaced when something that Ready looks at changes

	// Set once by Run before it serves.
	mux        *consensus.Mux
	dirGroup   *dirGroup // nil: not a signer
	forwarders *forwarders
	followers  *followers
}

// New checks cfg, reads the directory that an earlier run left, and returns a node that does nothing yet.
// Errors: Invalid (of cfg, every problem at once), Denied (the directory is of another cluster), Internal
// (the disk).
func New(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	identity, err := rpc.NewIdentity(cfg.Identity)
	if err != nil {
		return nil, err
	}
	v, err := openView(cfg.ClusterFile, filepath.Join(cfg.Dir, "directory.bin"))
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, id: cfg.id(), identity: identity, health: newHealth(), view: v,
		registration: registration{want: 1, changed: make(chan struct{})},
		ended:        make(chan struct{}), crash: make(chan struct{}),
		replicas: make(map[ident.SwarmID]*replica), changed: make(chan struct{}),
	}
	n.peers = &peerConns{dialer: rpc.NewPeerDialer(identity, cfg.Faults.Dial), addr: n.addrOf,
		conns: make(map[ident.NodeID]*grpc.ClientConn)}
	return n, nil
}

// now is this node's wall clock.
func (n *Node) now() time.Time { return time.Now().Add(n.cfg.ClockOffset) }

// ID returns the node's ID.
func (n *Node) ID() ident.NodeID { return n.id }

// Identity returns the node's key and certificate, for its listeners.
func (n *Node) Identity() *rpc.Identity { return n.identity }

// Directory returns the newest directory with enough signatures, with its signed form; nil before the first
// one. Callers must not change either.
func (n *Node) Directory() (*directory.Directory, *directory.Signed) { return n.view.current() }

// WatchDirectory waits for a directory newer than the version after, and returns it. Errors: ctx's, once it
// ends.
func (n *Node) WatchDirectory(ctx context.Context,
	after uint64) (*directory.Directory, *directory.Signed, error) {
	return n.view.wait(ctx, after)
}

// Ready returns nil once the node has a directory in which it is listed and swarms exist, and every replica
// that it hosts has a leader. Otherwise the error, Unavailable, says what is missing.
func (n *Node) Ready() error {
	const op = "node is not ready"
	n.mu.Lock()
	running := n.running != nil
	n.mu.Unlock()
	d, _ := n.view.current()
	switch {
	case !running:
		return fault.New(fault.Unavailable, op, "it is not running")
	case d == nil:
		return fault.New(fault.Unavailable, op, "it has no signed directory yet")
	case len(d.Swarms) == 0:
		return fault.New(fault.Unavailable, op, "%d of %d nodes have registered", len(d.Nodes),
			n.cfg.BootstrapExpect)
	}
	if _, ok := d.Node(n.id); !ok {
		return fault.New(fault.Unavailable, op, "the directory does not list it yet")
	}
	for i := range d.Swarms {
		w := &d.Swarms[i]
		if !slices.Contains(w.Replicas, n.id) {
			continue
		}
		r := n.replica(w.ID)
		if r == nil {
			return fault.New(fault.Unavailable, op, "the replica of swarm %s is not open yet", w.ID)
		}
		if _, _, known, _ := r.role(); !known {
			return fault.New(fault.Unavailable, op, "swarm %s has no leader", w.ID)
		}
	}
	return nil
}

// WaitReady waits until Ready returns nil, or returns its last answer, Unavailable, when ctx ends or the node
// stops.
func (n *Node) WaitReady(ctx context.Context) error {
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		viewed := n.view.changes()
		err := n.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-viewed:
		case <-n.ended:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// noteChange wakes those who wait for the node to become ready.
func (n *Node) noteChange() {
	n.mu.Lock()
	close(n.changed)
	n.changed = make(chan struct{})
	n.mu.Unlock()
}

func (n *Node) replica(id ident.SwarmID) *replica {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replicas[id]
}
