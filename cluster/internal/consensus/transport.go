package consensus

import (
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// rpcTimeout bounds one call between replicas. A link that died silently is noticed after it, so it also bounds how
// long replication takes to resume after a partition heals.
const rpcTimeout = 4 * time.Second

// transport carries one group's calls. It is raft's own transport, with every message passing filters on its way out
// and in: the clamp (clamp.go) and the founding call (founding.go).
type transport struct {
	*raft.NetworkTransport
	clamp  bool
	calls  *founding
	rpcs   chan raft.RPC
	closed chan struct{}
	ended  chan struct{}
}

func newTransport(s *stream, logger hclog.Logger, clamp bool, calls *founding) *transport {
	t := &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: s, MaxPool: 2, Timeout: rpcTimeout, Logger: logger,
		}),
		clamp:  clamp,
		calls:  calls,
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
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.clamp {
		clampCommit(req)
	}
	return t.NetworkTransport.AppendEntries(id, to, req, resp)
}

// AppendEntriesPipeline opens a pipeline to a follower.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
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
