package cluster

import (
	"context"
	"crypto/hmac"
	"path/filepath"
	"sync"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/consensus"
	"github.com/starling-swarm/starling/cluster/internal/dirstate"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// reissueEvery is how often the leader renews the directory's validity; it also does at each onion-key
// period.
const reissueEvery = time.Hour

// dirGroup is this node's part in the directory's Raft group. Only signers of the cluster file have one.
type dirGroup struct {
	n      *Node
	signer uint8
	fsm    *dirFSM
	group  *consensus.Group
}

// openDirectory starts this node's replica of the directory, and founds the group on a new cluster.
func (n *Node) openDirectory(signer int) (*dirGroup, error) {
	g := &dirGroup{n: n, signer: uint8(signer), fsm: newDirFSM(n.cfg.ClusterFile)}
	self := consensus.ServerID{Node: n.id, Incarnation: n.cfg.Incarnation}
	var err error
	g.group, err = consensus.Open(consensus.Config{
		Group: ident.DirectoryGroup, Self: self, Dir: filepath.Join(n.cfg.Dir,
			"directory"), FSM: g.fsm, Mux: n.mux,
		WALSegmentBytes: n.cfg.WALSegmentBytes, Logger: n.cfg.Logger, OnFatal: n.fail,
	})
	if err != nil {
		return nil, err
	}
	if n.cfg.Incarnation > 0 {
		return g, nil // a replica that lost its votes waits until it is added under its new name
	}
	var servers []consensus.Server
	for _, key := range n.cfg.ClusterFile.Signers {
		servers = append(servers, consensus.Server{ID: consensus.ServerID{Node: ident.NodeIDOf(key[:])}})
	}
	if err := g.group.Bootstrap(servers); err != nil {
		g.group.Crash()
		return nil, err
	}
	return g, nil
}

// run signs what this member computes, publishes what enough members signed, and does the leader's duties.
func (g *dirGroup) run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { g.publish(ctx) })
	wg.Go(func() { g.signLoop(ctx) })
	wg.Go(func() { g.lead(ctx) })
	wg.Wait()
	return nil
}

// publish hands each version that has enough signatures to the node's view.
func (g *dirGroup) publish(ctx context.Context) {
	for ctx.Err() == nil {
		var signed *directory.Signed
		changed := g.fsm.with(func(s *dirstate.State) { signed = s.Signed() })
		if signed != nil {
			if err := g.n.view.adopt(signed); err != nil {
				g.n.cfg.Logger.Error("directory is not kept", "err", err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// signLoop signs the current version as this member computed it. A signature that does not reach the leader
// is sent again for as long as the version is the current one.
func (g *dirGroup) signLoop(ctx context.Context) {
	var pause time.Duration
	for ctx.Err() == nil {
		var number uint64
		var body []byte
		var sign bool
		var refuse error
		changed := g.fsm.with(func(s *dirstate.State) {
			if number, body, sign = s.Unsigned(g.signer); sign {
				refuse = g.checkProofs(s)
			}
		})
		switch {
		case !sign:
		case refuse != nil:
			g.n.cfg.Logger.Error("directory is not signed", "version", number, "err", refuse)
		default:
			c := dirstate.SignCurrent(g.n.cfg.Identity, g.signer, number, body)
			if _, err := g.n.submit(ctx, dirstate.Encode(c)); err != nil {
				g.n.cfg.Logger.Debug("signature is not delivered", "version", number, "err", err)
				pause = min(max(2*pause, 20*time.Millisecond), 2*time.Second)
				wait(ctx, changed, pause)
				continue
			}
			pause = 0
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// checkProofs refuses a directory with a node that did not know the cluster secret: the leader alone must not
// be able to let one in.
func (g *dirGroup) checkProofs(s *dirstate.State) (err error) {
	s.Proofs(func(key, proof [32]byte) bool {
		want := proofOf(g.n.cfg.Secret, g.n.cfg.ClusterFile.ID, key)
		if !hmac.Equal(want[:], proof[:]) {
			err = fault.New(fault.Denied, "check node "+ident.NodeIDOf(key[:]).Short(),
				"does not know the cluster secret")
		}
		return err == nil
	})
	return err
}

// lead founds the cluster and renews the directory while this member leads.
func (g *dirGroup) lead(ctx context.Context) {
	for ctx.Err() == nil {
		changes := g.group.LeaderChanges()
		if g.group.IsLeader() {
			g.duties(ctx, changes)
		}
		select {
		case <-changes:
		case <-ctx.Done():
		}
	}
}

// duties runs until leadership changes.
func (g *dirGroup) duties(ctx context.Context, changes <-chan struct{}) {
	if err := g.group.Barrier(ctx); err != nil {
		return
	}
	founded := false
	g.fsm.with(func(s *dirstate.State) { _, founded = s.Founded() })
	if !founded {
		c := &dirstate.Found{
			Now: g.n.now().UnixMilli(), Expect: uint16(g.n.cfg.BootstrapExpect),
			Swarms:      uint16(g.n.swarmCount()),
			Replication: uint8(g.n.cfg.Replication), Params: g.n.cfg.Params,
		}
		if _, err := g.propose(ctx, c); err != nil {
			g.n.cfg.Logger.Warn("cluster is not founded", "err", err)
			return
		}
	}
	for ctx.Err() == nil {
		var issued int64
		var version uint64
		var members []consensus.ServerID
		changed := g.fsm.with(func(s *dirstate.State) {
			issued, version, members = s.IssuedAt(),
				s.Version(), g.members(s)
		})
		more, err := g.n.reconfigure(ctx, ident.DirectoryGroup, g.group, members)
		if err != nil {
			g.n.cfg.Logger.Warn("members of the directory are not changed", "err", err)
		}
		now := g.n.now()
		due := time.UnixMilli(issued).Add(reissueEvery)
		next := time.Unix(int64(directory.Period(time.UnixMilli(issued))+1)*directory.PeriodSeconds, 0)
		if next.Before(due) {
			due = next
		}
		if version > 0 && !due.After(now) {
			if _, err := g.propose(ctx, &dirstate.Reissue{Now: now.UnixMilli()}); err != nil {
				g.n.cfg.Logger.Warn("directory is not renewed", "err", err)
				return
			}
			continue
		}
		pause := due.Sub(now)
		if more {
			pause = min(pause, membersPause)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-changed:
		case <-changes:
			timer.Stop()
			return
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// members are the signers under the incarnations that the directory has of them; one that never registered
// has its first.
func (g *dirGroup) members(s *dirstate.State) (out []consensus.ServerID) {
	for _, key := range g.n.cfg.ClusterFile.Signers {
		id := consensus.ServerID{Node: ident.NodeIDOf(key[:])}
		if e, ok := s.Node(id.Node); ok {
			id.Incarnation = e.Incarnation
		}
		out = append(out, id)
	}
	return out
}

// propose replicates a command; this member must lead.
func (g *dirGroup) propose(ctx context.Context, c dirstate.Command) (uint64, error) {
	out, err := g.group.Propose(ctx, dirstate.Encode(c))
	if err != nil {
		return 0, err
	}
	res, ok := out.(dirstate.Result)
	switch {
	case !ok:
		return 0, fault.New(fault.Internal, "propose directory command", "result is a %T", out)
	case res.Err != nil:
		return 0, res.Err
	}
	return res.Version, nil
}

// swarmCount is how many swarms this node would make: max(3, nodes), within what the nodes may host.
func (n *Node) swarmCount() int {
	nodes := n.cfg.BootstrapExpect
	count := n.cfg.Swarms
	if count == 0 {
		count = max(3, nodes)
	}
	return max(1, min(count, maxReplicasPerNode*nodes/min(n.cfg.Replication, nodes)))
}

// wait returns when changed closes, the pause is over, or ctx ends.
func wait(ctx context.Context, changed <-chan struct{}, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}
