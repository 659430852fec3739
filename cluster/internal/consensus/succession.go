package consensus

import (
	"cmp"
	"errors"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// A follower knows that its leader is silent only after a heartbeat timeout, which must be long: on a busy
// machine a leader that lives may say nothing for a second. But that a leader's process has ended shows at
// once: its connections close, and its address refuses new ones, which no machine that is merely slow does.
// So a group need not wait for the timeout then:
//
//   - when a connection from a peer closes, and the leader says nothing more, a follower dials the leader;
//   - refused, it asks the other voters whether they would vote for it, by Raft's pre-vote, which changes
//     nothing;
//   - a replica that was refused as well answers by the two logs and, if they are equal, by name, so that of
//     all survivors one gets every vote; every other replica answers as Raft does: no, as long as it has a
//     leader;
//   - with a majority, and nobody against it, the follower stands for election as if leadership were handed
//     to it.
//
// Whatever else happens (a host that vanishes, a cut cable, survivors that disagree) is left to Raft and its
// timeouts.

const (
	// Between two looks at a leader whose connection closed; it doubles.
	lookPause    = 10 * time.Millisecond
	maxLookPause = 100 * time.Millisecond
	// A voter that has not answered by then is counted as absent.
	answerWait = 250 * time.Millisecond
)

// watchLeader looks at the leader whenever a connection from a peer closes.
func (g *Group) watchLeader() {
	for {
		select {
		case <-g.stream.lost:
			g.lookAtLeader()
		case <-g.ctx.Done():
			return
		}
	}
}

// lookAtLeader returns when the leader has spoken, or there is another, or when it is for Raft to decide.
// That there is none is no end: what the dead leader sent last may be stored after the voters were asked, and
// then the election is lost to the longer log, whose replica has to stand in turn.
func (g *Group) lookAtLeader() {
	_, leader := g.raft.LeaderWithID()
	lost := time.Now()
	defer g.setGone("")
	for pause := lookPause; leader != "" && leader != g.id() &&
		time.Since(lost) < g.cfg.HeartbeatTimeout; pause = min(2*pause, maxLookPause) {
		changes := g.LeaderChanges()
		if _, now := g.raft.LeaderWithID(); now != leader && now != "" ||
			now == leader && g.raft.LastContact().After(lost) {
			return
		}
		if g.refuses(leader) {
			g.setGone(leader)
			g.succeed(leader)
		}
		select {
		case <-changes:
		case <-time.After(pause):
		case <-g.ctx.Done():
			return
		}
	}
}

func (g *Group) id() raft.ServerID { return raft.ServerID(g.cfg.Self.String()) }

// refuses reports whether nobody listens at a replica's address. That a connection is not made for another
// reason, or not in time, says nothing.
func (g *Group) refuses(id raft.ServerID) bool {
	c, err := g.stream.Dial(raft.ServerAddress(id), g.cfg.HeartbeatTimeout)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func (g *Group) setGone(leader raft.ServerID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = leader
}

// succeed stands for election in place of a leader that is gone, if the other voters agree.
func (g *Group) succeed(leader raft.ServerID) {
	if !g.chosen(leader) {
		return
	}
	if _, now := g.raft.LeaderWithID(); now == leader || now == "" {
		g.cfg.Logger.Info("leader is gone, standing for election")
		g.stand()
	}
}

// stand makes Raft start an election now; it does nothing to one that is under way.
func (g *Group) stand() {
	g.trans.deliver(raft.RPC{
		Command: &raft.TimeoutNowRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}},
		RespChan: make(chan raft.RPCResponse, 1),
	})
}

// chosen asks the voters besides the leader: a majority must be for this replica, and nobody against it.
func (g *Group) chosen(leader raft.ServerID) bool {
	req := &raft.RequestPreVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(g.id()),
			Addr: []byte(g.id())},
		Term: g.raft.CurrentTerm() + 1,
	}
	var err error
	if req.LastLogIndex, req.LastLogTerm, err = g.end(); err != nil {
		return false
	}
	servers := g.raft.GetConfiguration().Configuration().Servers
	answers := make(chan *raft.RequestPreVoteResponse, len(servers))
	voters, asked, votes, mayVote := 0, 0, 1, false
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		switch s.ID {
		case g.id():
			mayVote = true
		case leader:
		default:
			asked++
			g.spawn(func() {
				resp := new(raft.RequestPreVoteResponse)
				if err := g.trans.RequestPreVote(s.ID, s.Address, req, resp); err != nil {
					resp = nil
				}
				answers <- resp
			})
		}
	}
	if !mayVote {
		return false
	}
	late := time.NewTimer(answerWait)
	defer late.Stop()
	for ; asked > 0; asked-- {
		select {
		case resp := <-answers:
			switch {
			case resp == nil: // absent
			case !resp.Granted:
				return false
			default:
				votes++
			}
		case <-late.C:
			return votes > voters/2
		case <-g.ctx.Done():
			return false
		}
	}
	return votes > voters/2
}

// end returns the index and term of the log's last entry.
func (g *Group) end() (index, term uint64, err error) {
	var last raft.Log
	if index = g.raft.LastIndex(); index > 0 {
		err = g.log.GetLog(index, &last)
	}
	return index, last.Term, err
}

// answerHeir answers a pre-vote if this replica knows that its leader is gone; nil leaves it to Raft.
func (g *Group) answerHeir(req *raft.RequestPreVoteRequest) *raft.RequestPreVoteResponse {
	g.mu.Lock()
	gone := g.gone
	g.mu.Unlock()
	if gone == "" {
		return nil
	}
	if _, leader := g.raft.LeaderWithID(); leader != gone && leader != "" {
		return nil
	}
	index, term, err := g.end()
	if err != nil {
		return nil
	}
	resp := &raft.RequestPreVoteResponse{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(g.id()),
			Addr: []byte(g.id())},
		Term: g.raft.CurrentTerm(),
	}
	resp.Granted = req.Term > resp.Term &&
		cmp.Or(cmp.Compare(req.LastLogTerm, term), cmp.Compare(req.LastLogIndex, index),
			cmp.Compare(string(req.ID), string(g.id()))) > 0
	return resp
}
