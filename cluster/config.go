package cluster

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/netfault"
	"github.com/starling-swarm/starling/internal/private"
)

// Config configures a Node. Zero values take the defaults in parentheses.
type Config struct {
	Identity        private.SigningKey     // required
	ClusterFile     *directory.ClusterFile // required
	Secret          private.Key            // required: shared by all nodes of the cluster
	BootstrapExpect int                    // nodes that found the cluster; at least 1, the same on every node
	Dir             string                 // required: directory document, logs and mailboxes live below it
	// (storage and relay; signers of the cluster file add directory by themselves)
	Roles           directory.Role
	Zone, Operator  string           // for placement and path choice; at most 64 bytes each
	Weight          uint16           // capacity for placement and path choice (100)
	PeerAddr        string           // host:port of the peer listener as other nodes dial it; required
	ClientAddrs     []string         // host:port of the client listener as clients dial it; at most 8
	GossipBind      string           // host:port (gossip's default)
	GossipAdvertise string           // host:port (the bound address)
	Join            []string         // host:port of other nodes' gossip
	Swarms          int              // swarms to create at bootstrap (max(3, nodes))
	Replication     int              // replicas of a swarm (3, or all nodes if there are fewer)
	Params          directory.Params // of a new cluster (DefaultParams)
	Incarnation     uint32           // rises when the node lost its data
	WALSegmentBytes int              // preallocated size of a log segment (32 MiB; 4 MiB suits tests)
	Faults          *netfault.Switch // nil: none
	ClockOffset     time.Duration    // makes this node's clock wrong, for tests
	Logger          *slog.Logger     // nil discards
	// a disk failed under the node: the process should exit; nil ignores
	OnFatal func(error)
}

// Defaults of the zero Params.
const (
	DefaultQuotaBytes      = 32 << 20
	DefaultCircuitsPerConn = 64
	DefaultMaxFileBytes    = 100 << 20
)

// maxReplicasPerNode bounds the Raft groups of a node: more groups divide the batch that shares an fsync.
const maxReplicasPerNode = 64

// withDefaults reports every problem at once.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fault.New(fault.Invalid, "configure node", format, args...))
	}
	if c.Identity.IsZero() {
		bad("has no identity key")
	}
	switch {
	case c.ClusterFile == nil:
		bad("has no cluster file")
	default:
		if err := c.ClusterFile.Check(); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Secret.IsZero() {
		bad("has no cluster secret")
	}
	if c.Dir == "" {
		bad("has no data directory")
	}
	if c.BootstrapExpect < 1 || c.BootstrapExpect > directory.MaxNodes {
		bad("bootstrap_expect %d, want 1 to %d", c.BootstrapExpect, directory.MaxNodes)
	}
	if _, _, err := net.SplitHostPort(c.PeerAddr); err != nil {
		bad("peer address %q is not host:port", c.PeerAddr)
	}
	if c.Swarms < 0 || c.Replication < 0 || c.Replication > directory.MaxReplicas {
		bad("swarms %d, replication %d: out of range", c.Swarms, c.Replication)
	}
	if len(errs) > 0 {
		return c, errors.Join(errs...)
	}
	if c.Roles == 0 {
		c.Roles = directory.RoleStorage | directory.RoleRelay
	}
	c.Roles &^= directory.RoleDirectory
	if _, ok := c.ClusterFile.Signer(c.id()); ok {
		c.Roles |= directory.RoleDirectory
	}
	if c.Weight == 0 {
		c.Weight = 100
	}
	if c.Replication == 0 {
		c.Replication = 3
	}
	p := &c.Params
	if p.QuotaBytes == 0 {
		p.QuotaBytes = DefaultQuotaBytes
	}
	if p.CircuitsPerConn == 0 {
		p.CircuitsPerConn = DefaultCircuitsPerConn
	}
	if p.MaxFileBytes == 0 {
		p.MaxFileBytes = DefaultMaxFileBytes
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnFatal == nil {
		c.OnFatal = func(error) {}
	}
	return c, nil
}

func (c *Config) id() ident.NodeID {
	key := c.Identity.Public()
	return ident.NodeIDOf(key[:])
}
