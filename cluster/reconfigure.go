package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/consensus"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/wire"
)

const (
	// caughtUpLag is how far behind, in log entries, a learner may be to get a vote.
	caughtUpLag = 16
	changeLimit = 10 * time.Second // for one change of a group's members
)

// reconfigure brings the members of a group, which this node leads, one step nearer to what they should be: a
// missing one is added without a vote, one that has caught up gets its vote, and only when all wanted have
// theirs does one that is not wanted go. more says that there is something left to do.
//
// This is how a node that lost its data comes back: under its next incarnation, because a replica that forgot
// its votes must not vote under its old name.
func (n *Node) reconfigure(ctx context.Context, id ident.SwarmID, g *consensus.Group,
	want []consensus.ServerID) (more bool, err error) {
	have, version, err := g.Servers()
	if err != nil {
		return true, err
	}
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	for _, w := range want {
		i := slices.IndexFunc(have, func(s consensus.Server) bool { return s.ID == w })
		switch {
		case i < 0:
			return true, g.AddServer(ctx, consensus.Server{ID: w, NonVoter: true}, version)
		case have[i].NonVoter && n.caughtUp(ctx, id, g, w.Node):
			return true, g.AddServer(ctx, consensus.Server{ID: w}, version)
		case have[i].NonVoter:
			more = true
		}
	}
	if more {
		return true, nil
	}
	for _, s := range have {
		if !slices.Contains(want, s.ID) {
			return true, g.RemoveServer(ctx, s.ID, version)
		}
	}
	return false, nil
}

// caughtUp asks a learner how far it is.
func (n *Node) caughtUp(ctx context.Context, id ident.SwarmID, g *consensus.Group, node ident.NodeID) bool {
	p, err := n.peer(node)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	target := g.Stats().CommitIndex
	a, err := p.Status(ctx, true)
	if err != nil {
		return false
	}
	i := slices.IndexFunc(a.Groups, func(s wire.GroupStatus) bool { return s.Group == id })
	return i >= 0 && a.Groups[i].Applied+caughtUpLag >= target
}
