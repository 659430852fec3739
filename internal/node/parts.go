package node

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/starling-swarm/starling/cluster"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
	"github.com/starling-swarm/starling/internal/rpc"
	"github.com/starling-swarm/starling/onionrouter"
)

// parts are what a running node consists of.
type parts struct {
	node    *Node
	cluster *cluster.Node
	router  *onionrouter.Router
	peer    *rpc.PeerListener
	client  *rpc.ClientListener
	ops     net.Listener // nil: none
	admin   net.Listener // nil: none
	metrics *metrics
}

// build makes the parts and binds the listeners; it starts nothing.
func (n *Node) build(data *dataDir, end *end) (_ *parts, err error) {
	p := &parts{node: n}
	defer func() {
		if err != nil {
			p.closeListeners()
		}
	}()
	if p.cluster, err = cluster.New(n.clusterConfig(data, end)); err != nil {
		return nil, err
	}
	if p.router, err = onionrouter.New(n.routerConfig(p.cluster)); err != nil {
		return nil, err
	}
	if err = p.cluster.PublishOnionKeys(end.ctx, p.router.OnionKeys()); err != nil {
		// for its first registration
		return nil, err
	}
	p.metrics = newMetrics(p)

	peer, err := n.listen("nodes", n.cfg.Listen.Peer)
	if err != nil {
		return nil, err
	}
	p.peer = rpc.NewPeerListener(n.faults.Listen(peer), rpc.PeerConfig{Identity: p.cluster.Identity(),
		Trust: p.cluster.Trust, Logger: n.log})
	client, err := n.listen("clients", n.cfg.Listen.Client)
	if err != nil {
		return nil, err
	}
	p.client = rpc.NewClientListener(client, rpc.ClientConfig{Identity: p.cluster.Identity(), Logger: n.log})
	if n.cfg.Listen.Ops != "" {
		if p.ops, err = n.listen("ops", n.cfg.Listen.Ops); err != nil {
			return nil, err
		}
	}
	if n.cfg.AdminSocket != "" {
		if p.admin, err = listenUnix(n.cfg.AdminSocket); err != nil {
			return nil, err
		}
	}
	p.cluster.RegisterPeer(p.peer.Server())
	p.cluster.RegisterClient(p.client.Server())
	p.router.RegisterPeer(p.peer.Server())
	p.router.RegisterClient(p.client.Server())
	return p, nil
}

func (n *Node) routerConfig(c *cluster.Node) onionrouter.Config {
	out := onionrouter.Config{
		Self:      n.id,
		Dir:       filepath.Join(n.cfg.DataDir, "onion"),
		Directory: &view{cluster: c},
		DialPeer:  c.DialPeer,
		NoRelay:   n.cfg.roles()&directory.RoleRelay == 0,
		Logger:    n.log,
	}
	if n.cfg.roles()&directory.RoleStorage != 0 {
		out.Storage = storage{c}
	}
	return out
}

func (n *Node) clusterConfig(data *dataDir, end *end) cluster.Config {
	c := &n.cfg
	return cluster.Config{
		Identity:        n.key,
		ClusterFile:     n.file,
		Secret:          n.secret,
		BootstrapExpect: c.BootstrapExpect,
		Dir:             c.DataDir,
		Roles:           c.roles(),
		Zone:            c.Zone,
		Operator:        c.Operator,
		Weight:          uint16(c.Weight),
		PeerAddr:        c.Advertise.Peer,
		ClientAddrs:     c.Advertise.Client,
		GossipBind:      c.Listen.Gossip,
		GossipAdvertise: c.Advertise.Gossip,
		Join:            c.Join,
		Swarms:          c.Swarms,
		Replication:     c.Replication,
		Params: directory.Params{
			StampDifficulty: uint8(c.Limits.StampDifficulty), QuotaBytes: uint64(c.Limits.MailboxQuota),
			CircuitsPerConn: uint16(c.Limits.ClientCircuits), MaxFileBytes: uint64(c.Limits.MaxFile),
		},
		Incarnation:     data.info.Incarnation,
		WALSegmentBytes: c.WALSegment,
		Faults:          n.faults,
		Logger:          n.log,
		OnFatal:         func(err error) { n.fatal(end, err) },
	}
}

// fatal ends the node without a flush: after a failed write nothing more may be written to the same files.
func (n *Node) fatal(end *end, err error) {
	n.log.Error("disk failed", "err", err)
	end.with(err)
	n.Crash()
}

func (p *parts) closeListeners() {
	if p.peer != nil {
		p.peer.Close()
	}
	if p.client != nil {
		p.client.Close()
	}
	for _, l := range []net.Listener{p.ops, p.admin} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// publishKeys keeps the relay's onion keys in the directory up to date. A directory that cannot be reached is
// tried again by the cluster itself; one that refuses will be asked again with the next period's keys.
func (p *parts) publishKeys(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.router.KeysChanged():
		}
		if err := p.cluster.PublishOnionKeys(ctx, p.router.OnionKeys()); err != nil && ctx.Err() == nil {
			p.node.log.Error("onion keys not published", "err", err)
		}
	}
}

// listenUnix binds the admin socket, in place of one that a crashed process left; the data directory's lock
// says that no other process of this node lives.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fault.Wrap(fault.Invalid, "listen for admin", err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		_ = os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "listen for admin", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fault.Wrap(fault.Invalid, "listen for admin", err)
	}
	return l, nil
}

// identity reads the node's key, or makes one for a node that never ran.
func identity(path, dataDir string) (private.SigningKey, error) {
	key, err := ReadIdentity(path)
	if !errors.Is(err, fault.NotFound) {
		return key, err
	}
	if _, statErr := os.Stat(filepath.Join(dataDir, "node.json")); statErr == nil {
		return private.SigningKey{}, err // a node that ran must not come back as another one
	}
	return NewIdentity(path)
}

// storage gives the relay what a circuit ends at.
type storage struct{ cluster *cluster.Node }

func (s storage) Do(ctx context.Context, tag [32]byte, signed []byte) []byte {
	return s.cluster.Do(ctx, tag, signed)
}

func (s storage) Subscribe(ctx context.Context, tag [32]byte, signed []byte,
	send func(uint64, []byte) error) error {
	return s.cluster.Subscribe(ctx, tag, signed,
		func(e envelope.Envelope) error { return send(e.Seq, e.Encode()) })
}

// view gives the relay the newest directory with its digest, computed once per version.
type view struct {
	cluster *cluster.Node

	mu     sync.Mutex
	of     *directory.Signed
	digest [32]byte
}

func (v *view) Current() (*directory.Directory, [32]byte) {
	d, signed := v.cluster.Directory()
	if d == nil {
		return nil, [32]byte{}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of != signed {
		v.of, v.digest = signed, directory.Digest(signed.Body)
	}
	return d, v.digest
}
