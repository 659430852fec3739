package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/starling-swarm/starling/cluster/internal/consensus"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/wire"
)

const (
	// clockTolerance is how far a request's time may lie from the clock of the replica that takes it.
	clockTolerance = time.Minute
	// doTimeout bounds a request whose context has no earlier deadline: long enough to outlast an election.
	doTimeout = 10 * time.Second
	// retryPause is how long a request waits before it looks for the leader again when nothing wakes it.
	retryPause = 50 * time.Millisecond
)

// Do carries out one request on a mailbox that this node hosts. signed is an encoded envelope.Signed whose
// signature covers this node's ID and tag; the answer is an encoded envelope.Response, in which a refusal of
// the whole request is one result with an error. A write is answered once a majority of the swarm has it on
// disk.
//
// Errors in the response: Invalid (format), Unauthenticated (signature, or time more than 60 s off), Denied,
// Stale, NotFound, Limited, WrongSwarm (refresh the directory), Unavailable (no leader before ctx ended, or
// the outcome is unknown; retrying the same bytes is safe).
func (n *Node) Do(ctx context.Context, tag [32]byte, signed []byte) []byte {
	resp, err := n.do(ctx, tag, signed)
	if err != nil {
		return n.refusal(err).Encode()
	}
	return resp
}

// refusal is the response to a request that was not carried out.
func (n *Node) refusal(err error) *envelope.Response {
	resp := envelope.Refuse(n.told("do", err))
	resp.Clock = n.now().UnixMilli()
	return resp
}

// told is what others are told of err: its classified error. The text of an unclassified one stays in this
// node's log.
func (n *Node) told(method string, err error) *fault.Error {
	if e := asFault(err); e != nil {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fault.New(fault.Unavailable, "", "gave up waiting")
	}
	n.cfg.Logger.Error("call failed with an unclassified error", "method", method, "err", err)
	return fault.New(fault.Internal, "", "internal error")
}

// asFault returns the classified error in err's chain with its causes spelled out in Detail, because Detail
// is all that travels; nil if there is none.
func asFault(err error) *fault.Error {
	var e *fault.Error
	if !errors.As(err, &e) {
		return nil
	}
	if e.Detail == "" {
		c := *e
		switch {
		case errors.Is(err, consensus.ErrNotLeader):
			c.Detail = consensus.ErrNotLeader.Error()
		case errors.Is(err, consensus.ErrOutcomeUnknown):
			c.Detail = consensus.ErrOutcomeUnknown.Error()
		case errors.Is(err, consensus.ErrClosed):
			c.Detail = "this node is stopping"
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			c.Detail = "gave up waiting"
		}
		return &c
	}
	return e
}

// checkTime refuses what was signed too long ago, or in the future, by this node's wall clock.
func (n *Node) checkTime(op string, timeMS int64) error {
	if off := n.now().Sub(time.UnixMilli(timeMS)); off > clockTolerance || off < -clockTolerance {
		return fault.New(fault.Unauthenticated, op,
			"signed at a time %d s off this node's clock, want at most %d", int64(off.Seconds()),
			int64(clockTolerance.Seconds()))
	}
	return nil
}

// hosted returns this node's replica of the swarm that stores a mailbox.
func (n *Node) hosted(op string, m ident.MailboxID) (*replica, error) {
	d, _ := n.view.current()
	if d == nil {
		return nil, fault.New(fault.Unavailable, op, "this node has no directory yet")
	}
	w, ok := d.SwarmOf(m)
	if !ok {
		return nil, fault.New(fault.Unavailable, op, "the cluster has no swarms yet")
	}
	if r := n.replica(w.ID); r != nil {
		return r, nil
	}
	for _, id := range w.Replicas {
		if id == n.id {
			return nil, fault.New(fault.Unavailable, op, "the replica of swarm %s is not open yet", w.ID)
		}
	}
	return nil, &fault.Error{Kind: fault.WrongSwarm, Op: op,
		Detail: "this node has no replica of the mailbox", Version: d.Version}
}

func (n *Node) do(ctx context.Context, tag [32]byte, raw []byte) ([]byte, error) {
	const op = "handle request"
	in := statemachine.Ingress{Node: n.id, Tag: tag}
	var err error
	if in.Signed, err = envelope.DecodeSigned(raw); err != nil {
		return nil, err
	}
	req, err := envelope.DecodeRequest(in.Signed.Bytes)
	if err != nil {
		return nil, err
	}
	if err := n.checkTime(op, in.Signed.TimeMS); err != nil {
		return nil, err
	}
	r, err := n.hosted(op, req.Mailbox)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, doTimeout)
	defer cancel()
	if req.ReadOnly() {
		if resp := r.read(in, req); resp != nil {
			return resp, nil
		}
	}
	return r.toLeader(ctx, &in, raw, req.ReadOnly())
}

// read answers from this replica's own state; nil if the leader may know better: it lags, or it is a follower
// and would refuse.
func (r *replica) read(in statemachine.Ingress, req *envelope.Request) []byte {
	resp, behind := r.store.Read(in, req)
	if reign, _, _, _ := r.role(); reign != nil {
		return resp.Encode()
	}
	if behind || mayBeOutdated(resp) {
		return nil
	}
	return resp.Encode()
}

// mayBeOutdated reports whether a refusal may come from a state that lags.
func mayBeOutdated(resp *envelope.Response) bool {
	for i := range resp.Results {
		if e := resp.Results[i].Err; e != nil {
			switch e.Kind {
			case fault.Denied, fault.Unauthenticated, fault.NotFound, fault.Stale, fault.WrongSwarm:
				return true
			}
		}
	}
	return false
}

// toLeader brings a request to whoever leads the swarm, and waits for a leader while there is none. Only what
// was certainly not proposed is tried again here: the rest is for the client to decide.
func (r *replica) toLeader(ctx context.Context, in *statemachine.Ingress, raw []byte,
	readOnly bool) ([]byte, error) {
	for {
		reign, leader, known, changed := r.role()
		var resp []byte
		var err error
		retry := true
		switch {
		case reign != nil:
			resp, err = r.handle(ctx, in, readOnly)
			retry = errors.Is(err, consensus.ErrNotLeader)
		case known:
			moved, stop := r.whenMoved(leader)
			resp, retry, err = r.n.forward(ctx, leader, &wire.Request{Swarm: r.id, Tag: in.Tag, Signed: raw},
				moved)
			stop()
			retry = retry || readOnly
		default:
			err = fault.New(fault.Unavailable, "handle request", "swarm %s has no leader", r.id)
		}
		if err == nil || !retry {
			return resp, err
		}
		wait(ctx, changed, retryPause)
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

// handle carries out a request on the leader.
func (r *replica) handle(ctx context.Context, in *statemachine.Ingress, readOnly bool) ([]byte, error) {
	if readOnly {
		req, err := envelope.DecodeRequest(in.Signed.Bytes)
		if err != nil {
			return nil, err
		}
		resp, _ := r.store.Read(*in, req)
		return resp.Encode(), nil
	}
	res, err := r.propose(ctx, func(s statemachine.Stamp) statemachine.Command {
		return &statemachine.Request{Stamp: s, Ingress: *in}
	})
	if err != nil {
		return nil, err
	}
	if res.Response == nil {
		return nil, fault.New(fault.Internal, "handle request", "no response")
	}
	return res.Response.Encode(), nil
}

func (n *Node) refuseForwarded(id uint64, err error, notLeader bool) *wire.Answer {
	return &wire.Answer{ID: id, Fault: n.told("forward", err), NotLeader: notLeader}
}

// handleForwarded carries out a request that another replica of the swarm took in.
func (n *Node) handleForwarded(ctx context.Context, from ident.NodeID, q *wire.Request) *wire.Answer {
	refuse := func(err error, notLeader bool) *wire.Answer { return n.refuseForwarded(q.ID, err, notLeader) }
	r := n.replica(q.Swarm)
	if r == nil {
		return refuse(fault.New(fault.Unavailable, "", "swarm %s is not here", q.Swarm), true)
	}
	if reign, _, _, _ := r.role(); reign == nil {
		return refuse(fault.New(fault.Unavailable, "", "another node leads swarm %s", q.Swarm), true)
	}
	if !n.isReplica(q.Swarm, from) {
		return refuse(fault.New(fault.Denied, "", "node %s has no replica of swarm %s", from.Short(),
			q.Swarm), false)
	}
	in := statemachine.Ingress{Node: from, Tag: q.Tag}
	var err error
	if in.Signed, err = envelope.DecodeSigned(q.Signed); err != nil {
		return refuse(err, false)
	}
	req, err := envelope.DecodeRequest(in.Signed.Bytes)
	if err != nil {
		return refuse(err, false)
	}
	if q.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.Timeout)
		defer cancel()
	}
	resp, err := r.handle(ctx, &in, req.ReadOnly())
	if err != nil {
		return refuse(err, errors.Is(err, consensus.ErrNotLeader))
	}
	return &wire.Answer{ID: q.ID, Response: resp}
}

// isReplica reports whether the directory gives the swarm to a node: only its replicas speak to each other
// about it.
func (n *Node) isReplica(id ident.SwarmID, node ident.NodeID) bool {
	d, _ := n.view.current()
	if d == nil {
		return false
	}
	w, ok := d.Swarm(id)
	return ok && contains(w.Replicas, node)
}
