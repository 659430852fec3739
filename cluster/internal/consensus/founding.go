package consensus

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A fresh group would wait out a heartbeat timeout, seconds, before its first election. Instead every
// replica, once it has written the founding configuration, calls the first server of that configuration with
// a TimeoutNow, and the first server stands for election as soon as a majority, itself included, is ready to
// vote.

// callBackoff is the pause between founding calls while the first server is not there yet; it doubles.
const (
	callBackoff    = 2 * time.Millisecond
	maxCallBackoff = 100 * time.Millisecond
)

// founding collects the calls that reach the first server of a fresh group.
type founding struct {
	mu    sync.Mutex
	group *Group
	ready map[raft.ServerID]bool // who has called
	// how many must be ready; 0 until this replica is founded, or is not the first
	quorum int
	stood  bool
}

// intercept decides about a TimeoutNow. One from the known leader is a transfer of leadership and goes to
// Raft; any other is a founding call, which a group that is not fresh ignores.
func (f *founding) intercept(req *raft.TimeoutNowRequest) bool {
	from := raft.ServerID(req.ID)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.group == nil {
		f.ready[from] = true // the replica is still opening
		return true
	}
	if _, leader := f.group.raft.LeaderWithID(); leader != "" && leader == from {
		return false
	}
	if f.group.raft.LastIndex() <= 1 {
		f.ready[from] = true
		f.standLocked()
	}
	return true
}

// opened ties the calls to the group once Raft runs.
func (f *founding) opened(g *Group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.group = g
}

// founded says that this replica is the first server, has the configuration, and needs quorum replicas to be
// ready.
func (f *founding) founded(quorum int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.quorum = quorum
	f.ready[raft.ServerID(f.group.cfg.Self.String())] = true
	f.standLocked()
}

// standLocked makes this replica stand for election, once, when enough are ready and nothing happened yet.
func (f *founding) standLocked() {
	if f.stood || f.quorum == 0 || len(f.ready) < f.quorum || f.group.raft.State() != raft.Follower {
		return
	}
	if leader, _ := f.group.raft.LeaderWithID(); leader != "" {
		return
	}
	f.stood = true
	f.group.spawn(f.group.stand)
}

// call tells the first server that this replica is ready, until it has heard or there is a leader. After two
// election timeouts Raft's own elections are under way and the call is pointless.
func (g *Group) call(first ServerID) {
	ctx, cancel := context.WithTimeout(g.ctx, 2*g.cfg.ElectionTimeout)
	defer cancel()
	id := first.String()
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(g.cfg.Self.String()),
		Addr: []byte(g.cfg.Self.String()),
	}}
	for pause := callBackoff; ; pause = min(2*pause, maxCallBackoff) {
		if leader, _ := g.raft.LeaderWithID(); leader != "" {
			return
		}
		err := g.trans.TimeoutNow(raft.ServerID(id), raft.ServerAddress(id), req,
			new(raft.TimeoutNowResponse))
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
