package cluster

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/cluster/internal/consensus"
	"github.com/starling-swarm/starling/cluster/internal/gossip"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
)

// errCrash ends a run that Crash was called on.
var errCrash = errors.New("crashed")

// Run joins the cluster and takes part in it until ctx ends; then it hands over what it leads, leaves gossip,
// closes its stores and returns nil. It uses peer for Raft; the caller serves peer beside Run and closes it
// after Run has returned.
//
// Errors: Invalid (the nodes disagree about bootstrap_expect), Corrupt or Internal (a disk failed: the
// process should exit), Unavailable (an address cannot be bound).
func (n *Node) Run(ctx context.Context, peer *rpc.PeerListener) error {
	if n.started.Swap(true) {
		return fault.New(fault.Internal, "run node", "it ran already")
	}
	defer close(n.ended)
	if err := os.MkdirAll(n.cfg.Dir, 0o700); err != nil {
		return fault.Wrap(fault.Internal, "run node", err)
	}
	// The base outlives ctx: handing over needs the network.
	base, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	var background tasks // what ends with base
	defer background.end()
	defer abort(nil)
	defer n.peers.close()

	talk, err := gossip.New(gossip.Config{
		Node: n.id, Bind: n.cfg.GossipBind, Advertise: n.cfg.GossipAdvertise, Secret: n.cfg.Secret,
		Meta: n.meta(),
		Join: n.cfg.Join, Switch: n.cfg.Faults, Logger: n.cfg.Logger,
	})
	if err != nil {
		return err
	}
	n.mux = consensus.NewMux(consensus.MuxConfig{Self: n.id, Listener: peer.Raft(), Dial: n.peers.raft,
		Admit: n.admitRaft, Logger: n.cfg.Logger})
	n.forwarders = &forwarders{ctx: base, dial: n.peer, tasks: &background,
		links: make(map[ident.NodeID]*forwarder)}
	n.followers = &followers{ctx: base, dial: n.peer, tasks: &background,
		links: make(map[followKey]*follower)}
	background.begin(func() {
		if err := n.mux.Run(base); err != nil {
			abort(err)
		}
	})
	background.begin(func() {
		if err := talk.Run(base); err != nil {
			abort(err)
		}
	})
	if signer, ok := n.cfg.ClusterFile.Signer(n.id); ok {
		if n.dirGroup, err = n.openDirectory(signer); err != nil {
			talk.Crash()
			return err
		}
	}
	loops, stop := context.WithCancel(base)
	defer stop()
	n.mu.Lock()
	n.running, n.abort, n.listener = loops, abort, peer
	n.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- n.loops(loops, talk) }()

	var runErr error
	select {
	case <-ctx.Done():
	case <-n.crash:
		abort(errCrash)
	case <-base.Done():
	case runErr = <-done:
		done <- nil
	}
	if cause := context.Cause(base); runErr == nil && cause != nil && !errors.Is(cause, errCrash) {
		runErr = cause
	}
	hard := base.Err() != nil || runErr != nil
	if hard {
		talk.Crash()
	}
	n.stopServing(stop)
	n.closeGroups(hard)
	if err := <-done; runErr == nil {
		runErr = err
	}
	return runErr
}

// stopServing refuses new work and ends the loops.
func (n *Node) stopServing(stop context.CancelFunc) {
	n.setHealth(false)
	n.mu.Lock()
	n.running = nil
	n.mu.Unlock()
	stop()
	n.noteChange()
}

// closeGroups closes every replica: gracefully with leadership handed over, or as a kill would.
func (n *Node) closeGroups(hard bool) {
	n.mu.Lock()
	replicas := n.replicas
	n.replicas = make(map[ident.SwarmID]*replica)
	n.mu.Unlock()
	var wg sync.WaitGroup
	for _, r := range replicas {
		wg.Go(func() {
			if err := r.close(hard); err != nil {
				n.cfg.Logger.Warn("replica did not close cleanly", "swarm", r.id, "err", err)
			}
		})
	}
	if g := n.dirGroup; g != nil {
		wg.Go(func() {
			if hard {
				g.group.Crash()
			} else if err := g.group.Close(); err != nil {
				n.cfg.Logger.Warn("directory did not close cleanly", "err", err)
			}
		})
	}
	wg.Wait()
}

// loops runs everything that follows the cluster, until ctx ends or one part fails for good.
func (n *Node) loops(ctx context.Context, talk *gossip.Gossip) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.listen(ctx, talk) })
	g.Go(func() error { return n.register(ctx) })
	g.Go(func() error { return n.host(ctx) })
	g.Go(func() error { return n.watchHealth(ctx) })
	if n.dirGroup != nil {
		g.Go(func() error { return n.dirGroup.run(ctx) })
	} else {
		// Two, so that a signer that is cut off from the others does not hold this node back.
		for i := range min(2, len(n.cfg.ClusterFile.Signers)) {
			first := int(n.id[0]) + i
			g.Go(func() error { n.follow(ctx, first); return nil })
		}
	}
	return g.Wait()
}

// Crash makes a running Run return at once, without handing over, flushing or leaving: what kill -9 does, for
// tests and demonstrations. It returns when Run has. The Node cannot be used again; a new one on the same Dir
// goes on where this one was.
func (n *Node) Crash() {
	n.crashed.Do(func() {
		n.mu.Lock()
		listener := n.listener
		n.mu.Unlock()
		if listener != nil {
			listener.Close() // silent at once
		}
		close(n.crash)
	})
	if n.started.Load() {
		<-n.ended
	}
}

// fail ends Run after a disk failed under a group: what was not written must not be acknowledged.
func (n *Node) fail(err error) {
	n.mu.Lock()
	abort := n.abort
	n.mu.Unlock()
	if abort != nil {
		abort(err)
	}
	// The caller is a part of the node: it must not wait for what the owner does to the node.
	go n.cfg.OnFatal(err)
}

// working returns a context for a call that others make on this node: it ends with the call and with Run.
func (n *Node) working(ctx context.Context) (context.Context, context.CancelFunc, error) {
	n.mu.Lock()
	running := n.running
	n.mu.Unlock()
	if running == nil {
		return nil, nil, fault.New(fault.Unavailable, "call node "+n.id.Short(), "it is not running")
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(running, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

// meta is what this node announces in gossip.
func (n *Node) meta() []byte {
	e := n.entry(nil)
	m := meta{
		key: e.Key, proof: proofOf(n.cfg.Secret, n.cfg.ClusterFile.ID,
			e.Key), roles: e.Roles, incarnation: e.Incarnation,
		expect: uint16(n.cfg.BootstrapExpect), peerAddr: e.PeerAddr,
	}
	return m.encode()
}

// listen keeps the neighbours as gossip tells them.
func (n *Node) listen(ctx context.Context, talk *gossip.Gossip) error {
	for {
		changed := talk.Changes()
		odd, expects := n.neighbours.update(talk.Members(), n.cfg.Secret, n.cfg.ClusterFile.ID,
			n.cfg.BootstrapExpect)
		if expects != 0 && n.view.version() == 0 {
			return disagree(odd, expects, n.id, n.cfg.BootstrapExpect)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// host opens the replicas that the directory gives this node, and keeps its connections in step with the
// membership.
func (n *Node) host(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		viewed := n.view.changes()
		if d, _ := n.view.current(); d != nil {
			n.mu.Lock()
			listener := n.listener
			n.mu.Unlock()
			listener.Recheck()
			n.peers.keep(func(id ident.NodeID) bool { return n.Trust(id) != rpc.Stranger })
			n.peers.warm(d, n.id)
			if err := n.openReplicas(ctx, &wg, d); err != nil {
				return err
			}
		}
		select {
		case <-viewed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *Node) openReplicas(ctx context.Context, wg *sync.WaitGroup, d *directory.Directory) error {
	var opening errgroup.Group
	for i := range d.Swarms {
		w := &d.Swarms[i]
		if !contains(w.Replicas, n.id) || n.replica(w.ID) != nil {
			continue
		}
		opening.Go(func() error {
			r, err := n.openReplica(d, w)
			if err != nil {
				return err
			}
			n.mu.Lock()
			if n.running == nil {
				n.mu.Unlock()
				return r.close(true)
			}
			n.replicas[w.ID] = r
			wg.Go(func() { r.run(ctx) })
			n.mu.Unlock()
			n.noteChange()
			return nil
		})
	}
	return opening.Wait()
}

func contains(ids []ident.NodeID, id ident.NodeID) bool {
	for i := range ids {
		if ids[i] == id {
			return true
		}
	}
	return false
}

// watchHealth keeps the health services in step with Ready.
func (n *Node) watchHealth(ctx context.Context) error {
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		viewed := n.view.changes()
		n.setHealth(n.Ready() == nil)
		select {
		case <-changed:
		case <-viewed:
		case <-ctx.Done():
			return nil
		}
	}
}
