package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/cluster"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/netfault"
	"github.com/starling-swarm/starling/internal/private"
)

// errCrashed is what ends a Run whose node crashed on purpose.
var errCrashed = errors.New("node crashed on purpose")

// Options are what a Config cannot say.
type Options struct {
	Logger *slog.Logger     // nil discards
	Faults *netfault.Switch // nil: none, or one of its own with test_faults
}

// Node is one node. Its methods may be called from any goroutine.
type Node struct {
	cfg     Config
	id      ident.NodeID
	key     private.SigningKey
	secret  private.Key
	file    *directory.ClusterFile
	log     *slog.Logger
	faults  *netfault.Switch
	started time.Time

	crashOnce sync.Once
	crashing  chan struct{} // closed by Crash
	up        chan struct{} // closed when Run has made the parts

	mu       sync.Mutex
	cluster  *cluster.Node // nil before Run and after it
	draining bool
}

// New reads the node's key, the cluster file and the secret, checks them against cfg, and starts nothing. A
// missing key is made, unless the data directory shows that there was one.
func New(cfg Config, opts Options) (*Node, error) {
	if problems := cfg.Validate(); len(problems) > 0 {
		return nil, problems
	}
	n := &Node{cfg: cfg, log: opts.Logger, faults: opts.Faults, started: time.Now(),
		crashing: make(chan struct{}), up: make(chan struct{})}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.faults == nil && cfg.TestFaults {
		n.faults = new(netfault.Switch)
	}
	var err error
	if n.file, err = ReadClusterFile(cfg.ClusterFile); err != nil {
		return nil, err
	}
	if n.secret, err = ReadSecret(cfg.SecretFile); err != nil {
		return nil, err
	}
	if n.key, err = identity(cfg.IdentityFile, cfg.DataDir); err != nil {
		return nil, err
	}
	pub := n.key.Public()
	n.id = ident.NodeIDOf(pub[:])
	n.log = n.log.With("node", cfg.Name)
	return n, nil
}

// ID returns the node's ID.
func (n *Node) ID() ident.NodeID { return n.id }

// Config returns the configuration that the node was made with.
func (n *Node) Config() Config { return n.cfg }

// Ready returns nil while the node serves: it is in the directory and every replica that it hosts has a
// leader.
func (n *Node) Ready() error {
	c, err := n.running()
	if err != nil {
		return err
	}
	return c.Ready()
}

// WaitReady waits until the node runs and is ready. When ctx ends it returns what is missing.
func (n *Node) WaitReady(ctx context.Context) error {
	select {
	case <-n.up:
	case <-ctx.Done():
	}
	c, err := n.running()
	if err != nil {
		return err
	}
	return c.WaitReady(ctx)
}

// running returns the part that takes part in the cluster.
func (n *Node) running() (*cluster.Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.draining:
		return nil, fault.New(fault.Unavailable, "use node", "it is shutting down")
	case n.cluster == nil:
		return nil, fault.New(fault.Unavailable, "use node", "it does not run")
	}
	return n.cluster, nil
}

// Crash makes Run return at once, as kill -9 would: nothing is handed over, flushed or said to anyone.
func (n *Node) Crash() { n.crashOnce.Do(func() { close(n.crashing) }) }

// Run is the node's life. When ctx ends it stops being ready, takes leave of its clients, hands over what it
// leads, flushes, leaves gossip, and returns nil, or the first error of a part that ended by itself. It may
// be called once.
//
// Errors: those of the data directory (see New), Unavailable for a port in use, and what a failed disk said.
func (n *Node) Run(ctx context.Context) error {
	data, err := n.openData()
	if err != nil {
		return err
	}
	defer data.close()
	end := newEnd(ctx)
	defer end.cancel()
	p, err := n.build(data, end)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.cluster = p.cluster
	n.mu.Unlock()
	close(n.up)
	defer func() {
		n.mu.Lock()
		n.cluster = nil
		n.mu.Unlock()
	}()
	n.serve(end, p)
	return end.err()
}

// serve runs the parts in stages and ends them in the reverse order: clients, then the cluster, then the peer
// listener that the cluster needs to say goodbye, then ops, which reports until the end.
func (n *Node) serve(end *end, p *parts) {
	var stages []*stage
	start := func(tasks ...func(context.Context) error) {
		s := newStage(end)
		for _, t := range tasks {
			s.run(t)
		}
		stages = append(stages, s)
	}
	start(p.serveOps, p.serveAdmin)
	start(p.peer.Serve)
	start(func(ctx context.Context) error { return p.cluster.Run(ctx, p.peer) })
	start(p.router.Run, p.client.Serve, p.publishKeys)
	n.log.Info("node runs", "id", n.id.Short(), "client", p.client.Addr().String(), "peer",
		p.peer.Addr().String())

	select {
	case <-end.ctx.Done():
	case <-n.crashing:
	}
	select {
	case <-n.crashing:
		end.with(errCrashed)
		p.cluster.Crash()
		p.peer.Close()
		p.client.Close()
		for _, s := range stages {
			s.cancel()
		}
	default:
		n.log.Info("node stops")
	}
	n.mu.Lock()
	n.draining = true
	n.mu.Unlock()
	grace := time.AfterFunc(n.cfg.ShutdownGrace, func() {
		p.cluster.Crash()
		p.peer.Close() // a circuit whose neighbour does not read ends only with its connection
		p.client.Close()
	})
	defer grace.Stop()
	for i := len(stages) - 1; i >= 0; i-- {
		stages[i].cancel()
		_ = stages[i].group.Wait()
	}
}

// end is the end of a node: its context is done when the node is told to stop or one of its parts fails.
type end struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	cause error // nil: told to stop
}

func newEnd(ctx context.Context) *end {
	ctx, cancel := context.WithCancel(ctx)
	return &end{ctx: ctx, cancel: cancel}
}

// with ends the node because of err; the first one counts.
func (e *end) with(err error) {
	e.mu.Lock()
	if e.cause == nil && e.ctx.Err() == nil {
		e.cause = err
	}
	e.mu.Unlock()
	e.cancel()
}

func (e *end) err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cause
}

// stage is a set of tasks that end together, after the node was told to end.
type stage struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  errgroup.Group
	end    *end
}

func newStage(end *end) *stage {
	ctx, cancel := context.WithCancel(context.WithoutCancel(end.ctx))
	return &stage{ctx: ctx, cancel: cancel, end: end}
}

// run starts a task. One that ends by itself ends the node.
func (s *stage) run(task func(context.Context) error) {
	s.group.Go(func() error {
		err := task(s.ctx)
		if s.ctx.Err() == nil {
			if err == nil {
				err = fault.New(fault.Internal, "run node", "a part of it ended by itself")
			}
			s.end.with(err)
		}
		return nil
	})
}

// listen binds a TCP address.
func (n *Node) listen(what, addr string) (net.Listener, error) {
	l, err := n.faults.Under().Listen("tcp", addr)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "listen for "+what, err)
	}
	return l, nil
}
