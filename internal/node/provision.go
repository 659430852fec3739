package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/safefile"
)

// Shape is how the nodes of a new cluster will run, which decides their addresses.
type Shape string

// The shapes.
const (
	Procs   Shape = "procs"   // processes on one machine, on loopback
	Compose Shape = "compose" // containers, one per node
	Systemd Shape = "systemd" // machines, one per node
)

// Ports inside a container or on a machine of its own.
const (
	clientPort = 7700
	peerPort   = 7701
	gossipPort = 7702
	opsPort    = 7703

	portsPerNode = 4 // client, peer, gossip, ops
)

// MaxSigners bounds the directory's Raft group.
const maxSigners = 7

// Plan describes a cluster to be made.
type Plan struct {
	Name     string
	Nodes    int    // at least 3
	Out      string // directory that gets cluster.json, admin.key and node-1 to node-N
	Shape    Shape
	BasePort int      // Procs: first of four ports per node. Compose: client ports published on 127.0.0.1
	Hosts    []string // Systemd: one name or address per node; empty: node-1 to node-N

	Swarms, Replication, WALSegment int // as in Config
	Limits                          Limits
	TestFaults                      bool

	addrs []string // Procs: one address per node; empty: 127.0.0.1 for all
}

// NodeDir returns the directory of node i, counted from 1.
func (p *Plan) NodeDir(i int) string { return filepath.Join(p.Out, fmt.Sprintf("node-%d", i)) }

// Validate returns every problem of the plan.
func (p *Plan) Validate() Problems {
	var out Problems
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if p.Name == "" || len(p.Name) > directory.MaxName {
		bad("cluster name has %d bytes, want 1 to %d", len(p.Name), directory.MaxName)
	}
	if p.Nodes < 3 || p.Nodes > directory.MaxBootstrap {
		bad("%d nodes, want 3 to %d", p.Nodes, directory.MaxBootstrap)
	}
	if p.Out == "" {
		bad("no output directory")
	}
	switch p.Shape {
	case Procs:
		if last := p.BasePort + portsPerNode*p.Nodes; p.BasePort < 1024 || last > 65_536 {
			bad("base port %d, want 1024 to %d for %d nodes", p.BasePort, 65_536-portsPerNode*p.Nodes,
				p.Nodes)
		}
	case Compose:
		if p.BasePort < 1024 || p.BasePort+p.Nodes > 65_536 {
			bad("base port %d, want 1024 to %d for %d nodes", p.BasePort, 65_536-p.Nodes, p.Nodes)
		}
	case Systemd:
		if len(p.Hosts) != 0 && len(p.Hosts) != p.Nodes {
			bad("%d hosts for %d nodes", len(p.Hosts), p.Nodes)
		}
	default:
		bad("%q is no shape, want procs, compose or systemd", p.Shape)
	}
	return out
}

// Provision makes the keys and files of a cluster, and reports whether it made any: a cluster that exists is
// left as it is. Every node directory gets swarmd.yaml, cluster.json, and the secrets node.key and
// cluster.secret; Out gets cluster.json last, so that an interrupted call is known by its absence and starts
// over as long as no node has run.
//
// Errors: Invalid for a bad plan, Exists when Out holds another cluster or state that it does not explain.
func Provision(p Plan) (cf *directory.ClusterFile, made bool, err error) {
	if problems := p.Validate(); len(problems) > 0 {
		return nil, false, problems
	}
	path := filepath.Join(p.Out, "cluster.json")
	if _, err := os.Stat(path); err == nil {
		cf, err := p.existing(path)
		return cf, false, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fault.Wrap(fault.Invalid, "make cluster", err)
	}
	if err := p.clear(); err != nil {
		return nil, false, err
	}
	cf, err = p.write()
	return cf, err == nil, err
}

// existing checks that the cluster in Out is the planned one.
func (p *Plan) existing(path string) (*directory.ClusterFile, error) {
	cf, err := ReadClusterFile(path)
	if err != nil {
		return nil, err
	}
	op := "make cluster in " + p.Out
	if cf.Name != p.Name {
		return nil, fault.New(fault.Exists, op, "it holds cluster %q, asked for %q", cf.Name, p.Name)
	}
	if n := len(cf.Bootstrap); n != p.Nodes {
		return nil, fault.New(fault.Exists, op, "cluster %q has %d nodes, asked for %d", cf.Name, n, p.Nodes)
	}
	for i := 1; i <= p.Nodes; i++ {
		if _, err := os.Stat(filepath.Join(p.NodeDir(i), "swarmd.yaml")); err != nil {
			return nil, fault.Wrap(fault.NotFound, op, err)
		}
	}
	return cf, nil
}

// clear removes what an interrupted call left, but never the keys of a node that has run.
func (p *Plan) clear() error {
	if err := os.MkdirAll(p.Out, 0o755); err != nil {
		return fault.Wrap(fault.Invalid, "make cluster", err)
	}
	for i := 1; i <= p.Nodes; i++ {
		dir := p.NodeDir(i)
		if entries, err := os.ReadDir(filepath.Join(dir, "data")); err == nil && len(entries) > 0 {
			return fault.New(fault.Exists, "make cluster in "+p.Out,
				"%s has data but cluster.json is missing", dir)
		}
	}
	for i := 1; i <= p.Nodes; i++ {
		for _, name := range []string{"node.key", "cluster.secret", "cluster.json", "swarmd.yaml"} {
			if err := os.Remove(filepath.Join(p.NodeDir(i), name)); err != nil &&
				!errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if err := os.Remove(filepath.Join(p.Out, "admin.key")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (p *Plan) write() (*directory.ClusterFile, error) {
	var salt, secret [32]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, err
	}
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, err
	}
	admin, err := NewIdentity(filepath.Join(p.Out, "admin.key"))
	if err != nil {
		return nil, err
	}
	var signers [][32]byte
	var bootstrap []directory.Bootstrap
	configs := make([]Config, p.Nodes)
	for i := range configs {
		dir := p.NodeDir(i + 1)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		key, err := NewIdentity(filepath.Join(dir, "node.key"))
		if err != nil {
			return nil, err
		}
		if err := writeSecret(filepath.Join(dir, "cluster.secret"), []byte(hex.EncodeToString(secret[:])+
			"\n")); err != nil {
			return nil, err
		}
		pub := key.Public()
		configs[i] = p.config(i)
		if len(signers) < p.signers() {
			signers = append(signers, pub)
		} else {
			configs[i].Roles = []string{"storage", "relay"}
		}
		bootstrap = append(bootstrap, directory.Bootstrap{NodeID: ident.NodeIDOf(pub[:]),
			ClientAddrs: configs[i].Advertise.Client})
	}
	cf, err := directory.NewClusterFile(p.Name, admin.Public(), signers, 0, salt, bootstrap)
	if err != nil {
		return nil, err
	}
	body, err := cf.Encode()
	if err != nil {
		return nil, err
	}
	for i := range configs {
		dir := p.NodeDir(i + 1)
		if err := safefile.ReplaceMode(filepath.Join(dir, "cluster.json"), body, plainMode); err != nil {
			return nil, err
		}
		if err := safefile.ReplaceMode(filepath.Join(dir, "swarmd.yaml"), configs[i].yaml(),
			plainMode); err != nil {
			return nil, err
		}
	}
	return cf, safefile.ReplaceMode(filepath.Join(p.Out, "cluster.json"), body, plainMode)
}

// signers is the size of the directory's Raft group: odd, because an even one tolerates no more failures than
// the odd one below it.
func (p *Plan) signers() int {
	n := min(p.Nodes, maxSigners)
	return n - 1 + n%2
}

// config returns the configuration of node i, counted from 0.
func (p *Plan) config(i int) Config {
	c := Defaults()
	c.Name = fmt.Sprintf("node-%d", i+1)
	c.BootstrapExpect = p.Nodes
	c.Swarms, c.Replication, c.WALSegment = p.Swarms, p.Replication, p.WALSegment
	c.Limits, c.TestFaults = p.Limits, p.TestFaults
	switch p.Shape {
	case Procs:
		p.procsAddrs(&c, i)
	case Compose:
		// Peers meet under names that exist on the network "peers" only: a node cut off from it has no way
		// round.
		peer := func(i int) string { return fmt.Sprintf("peer-%d", i+1) }
		c.Listen.Ops = hostPort("", opsPort)
		c.Advertise.Peer = hostPort(peer(i), peerPort)
		c.Advertise.Gossip = hostPort(peer(i), gossipPort)
		c.Advertise.Client = []string{hostPort(c.Name, clientPort), hostPort("127.0.0.1", p.BasePort+i)}
		c.Join = p.others(i, func(j int) string { return hostPort(peer(j), gossipPort) })
	case Systemd:
		host := func(i int) string {
			if len(p.Hosts) > 0 {
				return p.Hosts[i]
			}
			return fmt.Sprintf("node-%d", i+1)
		}
		c.DataDir, c.AdminSocket = "/var/lib/swarmd", "/run/swarmd/admin.sock"
		c.Advertise.Peer = hostPort(host(i), peerPort)
		c.Advertise.Gossip = hostPort(host(i), gossipPort)
		c.Advertise.Client = []string{hostPort(host(i), clientPort)}
		c.Join = p.others(i, func(j int) string { return hostPort(host(j), gossipPort) })
	}
	return c
}

func (p *Plan) procsAddrs(c *Config, i int) {
	addr := func(i, offset int) string {
		host := "127.0.0.1"
		if len(p.addrs) > 0 {
			host = p.addrs[i]
		}
		return hostPort(host, p.BasePort+portsPerNode*i+offset)
	}
	c.AllowLoopback = true
	if c.WALSegment == 0 {
		c.WALSegment = embeddedWAL
	}
	c.Listen = Listen{Client: addr(i, 0), Peer: addr(i, 1), Gossip: addr(i, 2), Ops: addr(i, 3)}
	c.Advertise = Advertise{Client: []string{addr(i, 0)}, Peer: addr(i, 1), Gossip: addr(i, 2)}
	c.Join = p.others(i, func(j int) string { return addr(j, 2) })
}

// others returns what name gives for every node but i.
func (p *Plan) others(i int, name func(int) string) []string {
	var out []string
	for j := range p.Nodes {
		if j != i {
			out = append(out, name(j))
		}
	}
	return slices.Clip(out)
}

// plainMode is of files that hold no secret.
const plainMode = 0o644

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
