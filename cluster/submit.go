package cluster

import (
	"context"
	"crypto/hmac"

	"github.com/starling-swarm/starling/cluster/internal/dirstate"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// submit brings an encoded command to the directory's leader and returns the version after it.
func (n *Node) submit(ctx context.Context, command []byte) (uint64, error) {
	if g := n.dirGroup; g != nil {
		return n.accept(ctx, n.id, command, n.cfg.BootstrapExpect, false)
	}
	var last error
	for i := range n.cfg.ClusterFile.Signers {
		at := (int(n.lastSigner.Load()) + i) % len(n.cfg.ClusterFile.Signers)
		p, err := n.peer(ident.NodeIDOf(n.cfg.ClusterFile.Signers[at][:]))
		if err == nil {
			var v uint64
			if v, err = p.Submit(ctx, command, n.cfg.BootstrapExpect, false); err == nil {
				n.lastSigner.Store(int64(at))
				return v, nil
			}
		}
		if last = err; fault.KindOf(err) != fault.Unavailable {
			return 0, err
		}
	}
	return 0, last
}

// accept takes a directory command from a node. The leader proposes it; another member sends it on, once.
func (n *Node) accept(ctx context.Context, from ident.NodeID, command []byte, expect int,
	forwarded bool) (uint64, error) {
	g := n.dirGroup
	if g == nil {
		return 0, fault.New(fault.Unavailable, "submit directory command", "this node has no directory")
	}
	c, err := dirstate.Decode(command)
	if err != nil {
		return 0, err
	}
	if !g.group.IsLeader() {
		leader, ok := g.group.Leader()
		if forwarded || !ok || leader == n.id {
			return 0, fault.New(fault.Unavailable, "submit directory command",
				"the directory has no leader here")
		}
		if err := n.mayCarry(from, c); err != nil {
			return 0, err
		}
		p, err := n.peer(leader)
		if err != nil {
			return 0, err
		}
		return p.Submit(ctx, command, expect, true)
	}
	if forwarded {
		if _, ok := n.cfg.ClusterFile.Signer(from); !ok {
			return 0, fault.New(fault.Denied, "submit directory command", "node %s may not forward",
				from.Short())
		}
	} else if err := n.mayCarry(from, c); err != nil {
		return 0, err
	}
	if r, ok := c.(*dirstate.Register); ok {
		if err := g.admit(r, expect); err != nil {
			return 0, err
		}
		r.Now = n.now().UnixMilli()
	}
	return g.propose(ctx, c)
}

// mayCarry says whether a node may submit a command: its own registration, and signatures, which prove
// themselves.
func (n *Node) mayCarry(from ident.NodeID, c dirstate.Command) error {
	switch c := c.(type) {
	case *dirstate.Register:
		d, err := dirstate.DecodeDescriptor(c.Descriptor)
		if err != nil {
			return err
		}
		if d.Node.ID != from {
			return fault.New(fault.Denied, "submit directory command", "node %s may not register node %s",
				from.Short(), d.Node.ID.Short())
		}
		return nil
	case *dirstate.Sign:
		return nil
	}
	return fault.New(fault.Denied, "submit directory command", "a %T comes from the leader only", c)
}

// admit checks the registration of a node that is not listed yet.
func (g *dirGroup) admit(r *dirstate.Register, expect int) error {
	d, err := r.Open()
	if err != nil {
		return err
	}
	listed, founders := false, 0
	g.fsm.with(func(s *dirstate.State) {
		_, listed = s.Node(d.Node.ID)
		founders, _ = s.Founded()
	})
	if listed {
		return nil
	}
	op := "register node " + d.Node.ID.Short()
	want := proofOf(g.n.cfg.Secret, g.n.cfg.ClusterFile.ID, d.Node.Key)
	if !hmac.Equal(want[:], r.Proof[:]) {
		return fault.New(fault.Denied, op, "does not know the cluster secret")
	}
	if expect != founders && founders != 0 {
		return disagree(d.Node.ID, expect, g.n.id, founders)
	}
	return nil
}

// disagree is the error of two nodes that expect another number of founders.
func disagree(a ident.NodeID, expectsA int, b ident.NodeID, expectsB int) error {
	return fault.New(fault.Invalid, "bootstrap cluster",
		"node %s has bootstrap_expect %d, node %s has bootstrap_expect %d", a.Short(), expectsA,
		b.Short(), expectsB)
}
