package cluster

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
	"github.com/starling-swarm/starling/internal/wire"
)

// Trust says what another node may call here; it is the PeerListener's. Members are the nodes of the
// directory and the signers that the cluster file pins; before the swarms exist, nodes that gossip vouches
// for may make the calls of the bootstrap.
func (n *Node) Trust(id ident.NodeID) rpc.Trust {
	d, _ := n.view.current()
	if d != nil {
		if e, ok := d.Node(id); ok {
			if e.State == directory.Removed {
				return rpc.Stranger
			}
			return rpc.Member
		}
	}
	if _, ok := n.cfg.ClusterFile.Signer(id); ok {
		return rpc.Member
	}
	if d == nil || len(d.Swarms) == 0 {
		if _, ok := n.neighbours.get(id); ok {
			return rpc.Applicant
		}
	}
	return rpc.Stranger
}

// admitRaft refuses a Raft connection of a node that has no part in the group: being a member of the cluster
// is not enough to speak in a swarm.
func (n *Node) admitRaft(c net.Conn, group ident.SwarmID) error {
	p, ok := c.(interface{ Peer() ident.NodeID })
	if !ok {
		return fault.New(fault.Internal, "accept raft connection", "does not name its peer")
	}
	id := p.Peer()
	if group == ident.DirectoryGroup {
		_, ok = n.cfg.ClusterFile.Signer(id)
	} else {
		ok = n.isReplica(group, id)
	}
	if !ok {
		return fault.New(fault.Denied, "accept raft connection", "node %s is no member of group %s",
			id.Short(), group)
	}
	return nil
}

// addrOf returns where a node's peer listener is now: gossip knows of a move first, the directory knows nodes
// that gossip has not met.
func (n *Node) addrOf(id ident.NodeID) (string, error) {
	g, known := n.neighbours.get(id)
	if known && g.alive {
		return g.peerAddr, nil
	}
	if d, _ := n.view.current(); d != nil {
		if e, ok := d.Node(id); ok {
			return e.PeerAddr, nil
		}
	}
	if known {
		return g.peerAddr, nil
	}
	return "", fault.New(fault.Unavailable, "dial node "+id.Short(), "address is not known")
}

// peerConns holds one warm connection per peer.
type peerConns struct {
	dialer *rpc.PeerDialer
	addr   func(ident.NodeID) (string, error)

	mu     sync.Mutex
	conns  map[ident.NodeID]*grpc.ClientConn
	closed bool
}

func (p *peerConns) get(id ident.NodeID) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fault.New(fault.Unavailable, "dial node "+id.Short(), "this node is stopping")
	}
	if c, ok := p.conns[id]; ok {
		return c, nil
	}
	c, err := p.dialer.GRPC(id, func() (string, error) { return p.addr(id) })
	if err != nil {
		return nil, err
	}
	p.conns[id] = c
	return c, nil
}

func (p *peerConns) raft(ctx context.Context, id ident.NodeID) (net.Conn, error) {
	addr, err := p.addr(id)
	if err != nil {
		return nil, err
	}
	return p.dialer.Raft(ctx, addr, id)
}

// keep drops the connections of nodes that are no members any more.
func (p *peerConns) keep(member func(ident.NodeID) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, c := range p.conns {
		if !member(id) {
			delete(p.conns, id)
			go c.Close() // waits for callbacks of its own
		}
	}
}

func (p *peerConns) close() {
	p.mu.Lock()
	conns := p.conns
	p.conns, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// DialPeer returns the warm connection to another node's peer listener; it is shared and must not be closed.
// Calls on it return *fault.Error.
func (n *Node) DialPeer(_ context.Context, id ident.NodeID) (grpc.ClientConnInterface, error) {
	if id == n.id {
		return nil, fault.New(fault.Invalid, "dial node "+id.Short(), "is this node")
	}
	return n.peers.get(id)
}

func (n *Node) peer(id ident.NodeID) (wire.Peer, error) {
	c, err := n.peers.get(id)
	return wire.Peer{Conn: c}, err
}

// warm connects to every node of the directory, so that the first request need not wait for a handshake.
func (p *peerConns) warm(d *directory.Directory, self ident.NodeID) {
	for i := range d.Nodes {
		if id := d.Nodes[i].ID; id != self && d.Nodes[i].State != directory.Removed {
			if c, err := p.get(id); err == nil {
				c.Connect()
			}
		}
	}
}
