package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/netfault"
)

// embeddedWAL is the size of a log segment in a cluster that exists to be tried out: many logs on one disk,
// little in each.
const embeddedWAL = 4 << 20

// EmbeddedConfig describes a whole cluster in one process: on loopback, with ports picked free, or on Hosts.
type EmbeddedConfig struct {
	Name        string // cluster name; "" is "dev"
	Nodes       int    // 0 is 5; at least 3
	Swarms      int    // 0 is the cluster's own choice, max(3, nodes)
	Replication int    // replicas of a swarm; 0 is 3
	// where the nodes' state lies; reopened if it holds a cluster; "" is a temporary directory, removed by
	// Close
	Dir        string
	QuotaBytes uint64        // of one mailbox; 0 is the cluster's default
	Latency    time.Duration // added to what a node sends to other nodes
	Loss       float64       // share of node-to-node packets lost, 0 to 1
	NoOps      bool          // leave out the ops listeners (tests)
	Hosts      []Host        // one per node: networks other than loopback; sets the number of nodes
	Logger     *slog.Logger  // nil discards
}

// Host is the network of one node of an embedded cluster.
type Host interface {
	netfault.Network
	IP() string // the address that nodes and clients dial
}

// EmbeddedNode is one node of an embedded cluster as seen from outside.
type EmbeddedNode struct {
	ID         ident.NodeID
	ClientAddr string // host:port of the client listener
	PeerAddr   string // host:port of the node-to-node listener
	OpsAddr    string // host:port of the ops listener; "" without one
	Running    bool
}

// Embedded is a running cluster in this process. Its methods may be called concurrently; nodes are numbered
// from 0.
type Embedded struct {
	dir     string
	temp    bool
	base    int // its first port
	ports   int // how many there are
	file    *directory.ClusterFile
	members []*member
}

// StartEmbedded starts a cluster and returns once every node is ready to serve clients. ctx bounds the start
// only; the cluster runs until Close.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (_ *Embedded, err error) {
	if len(cfg.Hosts) > 0 {
		cfg.Nodes = len(cfg.Hosts)
	}
	if cfg.Nodes == 0 {
		cfg.Nodes = 5
	}
	if cfg.Name == "" {
		cfg.Name = "dev"
	}
	e := &Embedded{dir: cfg.Dir}
	defer func() {
		if err != nil {
			e.kill()
		}
	}()
	if e.dir == "" {
		if e.dir, err = os.MkdirTemp("", "starling-"); err != nil {
			return nil, err
		}
		e.temp = true
	}
	plan := Plan{
		Name: cfg.Name, Nodes: cfg.Nodes, Out: e.dir, Shape: Procs, BasePort: clientPort,
		Swarms: cfg.Swarms, Replication: cfg.Replication, WALSegment: embeddedWAL,
		Limits: Limits{MailboxQuota: int(cfg.QuotaBytes)},
	}
	for _, h := range cfg.Hosts {
		plan.addrs = append(plan.addrs, h.IP())
	}
	if len(cfg.Hosts) == 0 {
		e.ports = portsPerNode * cfg.Nodes
		if e.base, err = takePorts(e.ports); err != nil {
			return nil, err
		}
		plan.BasePort = e.base
	}
	if e.file, _, err = Provision(plan); err != nil {
		return nil, err
	}
	for i := range cfg.Nodes {
		var under netfault.Network
		if len(cfg.Hosts) > 0 {
			under = cfg.Hosts[i]
		}
		m, err := newMember(filepath.Join(plan.NodeDir(i+1), "swarmd.yaml"), cfg, netfault.Over(under))
		if err != nil {
			return nil, err
		}
		e.members = append(e.members, m)
	}
	for _, m := range e.members {
		if err := m.start(); err != nil {
			return nil, err
		}
	}
	return e, e.WaitReady(ctx)
}

// ClusterFile returns what clients pin.
func (e *Embedded) ClusterFile() *directory.ClusterFile { return e.file }

// Dir returns the directory of the cluster's state, with cluster.json in it.
func (e *Embedded) Dir() string { return e.dir }

// Nodes returns the nodes in order.
func (e *Embedded) Nodes() []EmbeddedNode {
	var out []EmbeddedNode
	for _, m := range e.members {
		out = append(out, EmbeddedNode{
			ID: m.id, ClientAddr: m.cfg.Advertise.Client[0], PeerAddr: m.cfg.Advertise.Peer,
			OpsAddr: m.cfg.Listen.Ops,
			Running: m.run() != nil,
		})
	}
	return out
}

// Index returns the number of the node with the given ID.
func (e *Embedded) Index(id ident.NodeID) (int, bool) {
	for i, m := range e.members {
		if m.id == id {
			return i, true
		}
	}
	return 0, false
}

// Crash stops node i as kill -9 would: no flush, no hand-over, no leave. It returns when the node is gone.
// Errors: NotFound when it does not run.
func (e *Embedded) Crash(i int) error { return e.members[i].stop((*Node).Crash) }

// Stop stops node i as SIGTERM would, and returns when it has ended. Errors: NotFound when it does not run,
// and what its Run said.
func (e *Embedded) Stop(i int) error { return e.members[i].stop(nil) }

// Restart starts node i again from its disk, on its old addresses, and returns when it is ready. Errors:
// Exists when it runs.
func (e *Embedded) Restart(ctx context.Context, i int) error {
	if err := e.members[i].start(); err != nil {
		return err
	}
	return e.members[i].waitReady(ctx)
}

// Cut isolates node i from the other nodes; its client listener stays.
func (e *Embedded) Cut(i int) { e.members[i].faults.Cut(true) }

// Heal ends Cut.
func (e *Embedded) Heal(i int) { e.members[i].faults.Cut(false) }

// Status returns the cluster as node i sees it.
func (e *Embedded) Status(ctx context.Context, i int) (Status, error) {
	r := e.members[i].run()
	if r == nil {
		return Status{}, fault.New(fault.NotFound, fmt.Sprintf("ask node %d", i), "it does not run")
	}
	return r.node.Status(ctx), nil
}

// LeaderOf returns the node that leads the swarm of a mailbox, as node i learns from the others. Errors:
// NotFound when node i does not run, Unavailable when it knows of no leader.
func (e *Embedded) LeaderOf(ctx context.Context, i int, mailbox ident.MailboxID) (int, error) {
	r := e.members[i].run()
	if r == nil {
		return 0, fault.New(fault.NotFound, fmt.Sprintf("ask node %d", i), "it does not run")
	}
	c, err := r.node.running()
	if err != nil {
		return 0, err
	}
	if d, _ := c.Directory(); d != nil {
		swarm, ok := d.SwarmOf(mailbox)
		for _, s := range c.Status(ctx).Swarms {
			if leader, found := e.Index(s.Leader); ok && found && s.ID == swarm.ID &&
				e.members[leader].run() != nil {
				return leader, nil
			}
		}
	}
	return 0, fault.New(fault.Unavailable, "find leader", "node %d knows of none", i)
}

// WaitReady returns once every node that runs and is not cut is ready.
func (e *Embedded) WaitReady(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range e.members {
		if m.run() != nil && !m.faults.IsCut() {
			g.Go(func() error { return m.waitReady(ctx) })
		}
	}
	return g.Wait()
}

// Close stops all nodes in order and removes a temporary directory.
func (e *Embedded) Close() error {
	// All at once: a node that stops alone hands its leadership to one that stops next.
	var g errgroup.Group
	for _, m := range e.members {
		if m.run() != nil {
			g.Go(func() error {
				if err := m.stop(nil); err != nil && !errors.Is(err, fault.NotFound) {
					return err
				}
				return nil
			})
		}
	}
	err := g.Wait()
	e.returnPorts()
	if e.temp {
		err = errors.Join(err, os.RemoveAll(e.dir))
	}
	return err
}

// returnPorts gives the ports back, once.
func (e *Embedded) returnPorts() {
	returnPorts(e.base, e.ports)
	e.ports = 0
}

// kill ends what a start that failed has begun.
func (e *Embedded) kill() {
	for _, m := range e.members {
		_ = m.stop((*Node).Crash)
	}
	e.returnPorts()
	if e.temp {
		_ = os.RemoveAll(e.dir)
	}
}

// member is one node of an embedded cluster over all its lives.
type member struct {
	cfg    Config
	id     ident.NodeID
	log    *slog.Logger
	faults *netfault.Switch

	mu      sync.Mutex
	current *life // nil when the node does not run
}

// life is one run of a node.
type life struct {
	node   *Node
	cancel context.CancelFunc
	done   chan struct{} // closed when Run has returned
	err    error         // of Run; read after done
}

func newMember(file string, cfg EmbeddedConfig, faults *netfault.Switch) (*member, error) {
	loaded, err := Load(Layers{File: file})
	if err != nil {
		return nil, err
	}
	m := &member{cfg: loaded.Config, log: cfg.Logger, faults: faults}
	m.cfg.AdminSocket = ""
	if cfg.NoOps {
		m.cfg.Listen.Ops = ""
	}
	m.faults.SetDelay(cfg.Latency, cfg.Loss)
	n, err := m.make()
	if err != nil {
		return nil, err
	}
	m.id = n.ID()
	return m, nil
}

func (m *member) make() (*Node, error) { return New(m.cfg, Options{Logger: m.log, Faults: m.faults}) }

func (m *member) run() *life {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

// start begins a life and returns at once.
func (m *member) start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current != nil {
		return fault.New(fault.Exists, "start node "+m.cfg.Name, "it runs")
	}
	n, err := m.make()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{node: n, cancel: cancel, done: make(chan struct{})}
	m.current = l
	go func() {
		defer close(l.done)
		l.err = n.Run(ctx)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.current = nil
	}()
	return nil
}

// stop ends the current life, by crash unless that is nil, and waits for its end.
func (m *member) stop(crash func(*Node)) error {
	l := m.run()
	if l == nil {
		return fault.New(fault.NotFound, "stop node "+m.cfg.Name, "it does not run")
	}
	if crash != nil {
		crash(l.node)
	}
	l.cancel()
	<-l.done
	if errors.Is(l.err, errCrashed) && crash != nil {
		return nil
	}
	return l.err
}

// waitReady waits until the node is ready, or has ended.
func (m *member) waitReady(ctx context.Context) error {
	l := m.run()
	if l == nil {
		return fault.New(fault.Unavailable, "wait for node "+m.cfg.Name, "it does not run")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-l.done:
		case <-ctx.Done():
		}
	}()
	err := l.node.WaitReady(ctx)
	select {
	case <-l.done:
		if l.err != nil {
			return l.err
		}
		return fault.New(fault.Unavailable, "wait for node "+m.cfg.Name, "it stopped")
	default:
		return err
	}
}
