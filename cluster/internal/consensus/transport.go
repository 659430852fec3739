package consensus

import (
	"errors"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// rpcTimeout bounds one call between replicas. A link that died silently is noticed after it, so it also
// bounds how long replication takes to resume after a partition heals.
const rpcTimeout = 4 * time.Second

// maxPool is how many idle connections to a peer are kept.
const maxPool = 2

// transport carries one group's calls. It is raft's own transport, with every message passing filters on its
// way out and in: the clamp (clamp.go), the founding call (founding.go) and the pre-vote after a leader's
// death (succession.go).
type transport struct {
	*raft.NetworkTransport
	clamp bool
	calls *founding
	// nil, or an answer of nil: Raft answers
	heir   func(*raft.RequestPreVoteRequest) *raft.RequestPreVoteResponse
	rpcs   chan raft.RPC
	closed chan struct{}
	ended  chan struct{}
}

func newTransport(s *stream, logger hclog.Logger, clamp bool, calls *founding,
	heir func(*raft.RequestPreVoteRequest) *raft.RequestPreVoteResponse) *transport {
	t := &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: s, MaxPool: maxPool, Timeout: rpcTimeout, Logger: logger,
		}),
		clamp:  clamp,
		calls:  calls,
		heir:   heir,
		rpcs:   make(chan raft.RPC),
		closed: make(chan struct{}),
		ended:  make(chan struct{}),
	}
	go t.receive()
	return t
}

// receive passes what peers ask through the filters.
func (t *transport) receive() {
	defer close(t.ended)
	for {
		var rpc raft.RPC
		select {
		case rpc = <-t.NetworkTransport.Consumer():
		case <-t.closed:
			return
		}
		switch req := rpc.Command.(type) {
		case *raft.AppendEntriesRequest:
			if t.clamp {
				clampCommit(req)
			}
		case *raft.TimeoutNowRequest:
			if t.calls.intercept(req) {
				rpc.Respond(&raft.TimeoutNowResponse{}, nil)
				continue
			}
		case *raft.RequestPreVoteRequest:
			if t.heir == nil {
				break
			}
			if resp := t.heir(req); resp != nil {
				rpc.Respond(resp, nil)
				continue
			}
		}
		if !t.deliver(rpc) {
			return
		}
	}
}

// deliver hands an RPC to Raft; false if the transport closes first.
func (t *transport) deliver(rpc raft.RPC) bool {
	select {
	case t.rpcs <- rpc:
		return true
	case <-t.closed:
		return false
	}
}

// Consumer returns the filtered calls of peers.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// AppendEntries sends log entries to a follower.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest,
	resp *raft.AppendEntriesResponse) error {
	if t.clamp {
		clampCommit(req)
	}
	return t.NetworkTransport.AppendEntries(id, to, req, resp)
}

// RequestVote asks a peer for its vote.
func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest,
	resp *raft.RequestVoteResponse) error {
	return again(func() error { return t.NetworkTransport.RequestVote(id, to, req, resp) })
}

// RequestPreVote asks a peer whether it would vote.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest,
	resp *raft.RequestPreVoteResponse) error {
	return again(func() error { return t.NetworkTransport.RequestPreVote(id, to, req, resp) })
}

// again repeats a call as often as there may be idle connections that the peer has closed since: a peer that
// was restarted lately would count as one that does not vote, and with two votes needed of two, the election
// would be lost for a timeout. Votes may be asked for twice.
func again(call func() error) (err error) {
	for range maxPool + 1 {
		var timeout interface{ Timeout() bool }
		if err = call(); err == nil || errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &timeout) &&
			timeout.Timeout() {
			return err
		}
	}
	return err
}

// AppendEntriesPipeline opens a pipeline to a follower.
func (t *transport) AppendEntriesPipeline(id raft.ServerID,
	to raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, to)
	if err != nil || !t.clamp {
		return p, err
	}
	return clampedPipeline{p}, nil
}

// Close ends the transport and its goroutines.
func (t *transport) Close() error {
	select {
	case <-t.closed:
	default:
		close(t.closed)
	}
	err := t.NetworkTransport.Close()
	<-t.ended
	return err
}
