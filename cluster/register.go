package cluster

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/dirstate"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// registration is what this node wants its directory entry to be.
type registration struct {
	mu       sync.Mutex
	keys     []directory.OnionKey
	want     uint64        // from 1; rises with every change of keys
	accepted uint64        // the newest want that is in the directory's log; 0: none
	changed  chan struct{} // closed and replaced when want or accepted changes
	running  bool
	refused  error // the directory's last answer, if it was a final one
	serial   uint64
}

func (r *registration) broadcastLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// PublishOnionKeys makes keys the node's onion keys in the directory and returns once they are in its log.
// Before Run it only remembers them for the node's first registration, which saves a version.
//
// Errors: Invalid (more than directory.MaxOnionKeys, or periods that do not rise), Unavailable (ctx ended
// first; the node goes on trying), and what the directory refuses with.
func (n *Node) PublishOnionKeys(ctx context.Context, keys []directory.OnionKey) error {
	e := n.entry(keys)
	if err := e.Check(); err != nil {
		return err
	}
	r := &n.registration
	r.mu.Lock()
	r.keys = append([]directory.OnionKey(nil), keys...)
	r.want++
	mine := r.want
	r.refused = nil
	r.broadcastLocked()
	running := r.running
	r.mu.Unlock()
	for running {
		r.mu.Lock()
		changed, done, refused := r.changed, r.accepted >= mine, r.refused
		running = r.running
		r.mu.Unlock()
		switch {
		case done:
			return nil
		case refused != nil:
			return refused
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fault.Wrap(fault.Unavailable, "publish onion keys", ctx.Err())
		}
	}
	return nil
}

// entry is this node's directory entry.
func (n *Node) entry(keys []directory.OnionKey) directory.Node {
	e := directory.Node{
		ID: n.id, Roles: n.cfg.Roles, State: directory.Alive, Incarnation: n.cfg.Incarnation,
		Weight:   n.cfg.Weight,
		PeerAddr: n.cfg.PeerAddr, ClientAddrs: n.cfg.ClientAddrs, Zone: n.cfg.Zone, Operator: n.cfg.Operator,
		OnionKeys: keys,
	}
	e.Key = n.cfg.Identity.Public()
	return e
}

// register keeps the node's directory entry as it should be. It returns an error only when the cluster will
// never take the node.
func (n *Node) register(ctx context.Context) error {
	r := &n.registration
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.running = false
		r.broadcastLocked()
		r.mu.Unlock()
	}()
	var pause time.Duration
	for ctx.Err() == nil {
		r.mu.Lock()
		changed, want, keys, done := r.changed, r.want, r.keys, r.accepted == r.want
		r.mu.Unlock()
		if done {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		var err error
		if !n.listedAs(keys) { // after a restart it mostly is
			err = n.submitEntry(ctx, keys)
		}
		switch kind := fault.KindOf(err); {
		case err == nil:
			r.mu.Lock()
			r.accepted = want
			r.broadcastLocked()
			r.mu.Unlock()
			pause = 0
			continue
		case kind == fault.Invalid && n.view.version() == 0:
			return err // the nodes disagree about the cluster
		case kind != fault.Unavailable && kind != fault.Stale:
			n.cfg.Logger.Error("directory refuses this node", "err", err)
			r.mu.Lock()
			r.refused = err
			r.broadcastLocked()
			changed = r.changed
			r.mu.Unlock()
		}
		pause = min(max(2*pause, 10*time.Millisecond), time.Second)
		wait(ctx, changed, pause)
	}
	return nil
}

// listedAs reports whether the signed directory shows this node as it should be.
func (n *Node) listedAs(keys []directory.OnionKey) bool {
	d, _ := n.view.current()
	if d == nil {
		return false
	}
	got, ok := d.Node(n.id)
	if !ok {
		return false
	}
	want := n.entry(keys)
	want.State = got.State
	return reflect.DeepEqual(normalized(*got), normalized(want))
}

// normalized makes empty and absent lists the same.
func normalized(n directory.Node) directory.Node {
	if len(n.ClientAddrs) == 0 {
		n.ClientAddrs = nil
	}
	if len(n.OnionKeys) == 0 {
		n.OnionKeys = nil
	}
	return n
}

// submitEntry registers the node's entry under a fresh serial.
func (n *Node) submitEntry(ctx context.Context, keys []directory.OnionKey) error {
	r := &n.registration
	r.mu.Lock()
	r.serial = max(r.serial+1, uint64(n.now().UnixMilli()))
	serial := r.serial
	r.mu.Unlock()
	d := &dirstate.Descriptor{Cluster: n.cfg.ClusterFile.ID, Serial: serial, Node: n.entry(keys)}
	proof := proofOf(n.cfg.Secret, n.cfg.ClusterFile.ID, d.Node.Key)
	_, err := n.submit(ctx, dirstate.Encode(dirstate.NewRegister(n.cfg.Identity, proof, d)))
	if e := asFault(err); e != nil && e.Kind == fault.Stale {
		// this node's clock went back since it registered last
		r.mu.Lock()
		r.serial = max(r.serial, e.Head)
		r.mu.Unlock()
	}
	return err
}

// follow keeps up with one signer's directory, and goes on to the next when it fails.
func (n *Node) follow(ctx context.Context, first int) {
	signers := n.cfg.ClusterFile.Signers
	var pause time.Duration
	for at := first; ctx.Err() == nil; at++ {
		id := ident.NodeIDOf(signers[at%len(signers)][:])
		before := n.view.version()
		p, err := n.peer(id)
		if err == nil {
			err = p.Watch(ctx, before, n.view.adopt)
		}
		if n.view.version() > before {
			pause = 0
		}
		n.cfg.Logger.Debug("directory watch ended", "node", id.Short(), "err", err)
		pause = min(max(2*pause, 20*time.Millisecond), 2*time.Second)
		wait(ctx, nil, pause)
	}
}
