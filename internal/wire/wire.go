// Package wire turns generated protobuf messages into the vocabulary and back, and checks what comes in.
//
// It is the only package besides internal/rpc and the files named grpc.go that knows both sides: everything
// else speaks ident, envelope, directory and fault. A reader here answers Invalid for what a correct peer
// never sends; sizes are bounded by the transport's message limit and checked again where a format has its
// own.
//
// Next to the conversions are the typed clients of the peer listener's services (clients.go). Message layouts
// are in proto/starling/v1; the bytes inside them in docs/formats.md, sections 3 and 4.
package wire

import (
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

// maxForwardTimeout bounds how long a leader works for a caller.
const maxForwardTimeout = time.Minute

// maxSigned is the size in bytes of the largest encoded envelope.Signed.
const maxSigned = 72 + envelope.MaxRequest

func bad(what string) error { return fault.New(fault.Invalid, "read message", "%s", what) }

// FaultProto returns the wire form of a classified error: without Op and Cause, which stay on the node.
func FaultProto(e *fault.Error) *pb.Fault {
	detail := e.Detail
	if len(detail) > envelope.MaxDetail {
		detail = detail[:envelope.MaxDetail]
	}
	return &pb.Fault{
		Kind: uint32(e.Kind), Detail: detail, Head: e.Head, Version: e.Version,
		RetryAfterMs: uint32(min(max(e.RetryAfter.Milliseconds(), 0), 1<<32-1)),
	}
}

// Fault reads the wire form. An unknown kind becomes Internal.
func Fault(p *pb.Fault) *fault.Error {
	e := &fault.Error{
		Kind: fault.Kind(p.GetKind()), Detail: p.GetDetail(), Head: p.GetHead(), Version: p.GetVersion(),
		RetryAfter: time.Duration(p.GetRetryAfterMs()) * time.Millisecond,
	}
	if p.GetKind() > 255 || !e.Kind.Valid() {
		e.Kind = fault.Internal
	}
	return e
}

// Request is a client's request on its one hop from the ingress replica to the leader.
type Request struct {
	ID      uint64
	Swarm   ident.SwarmID
	Tag     [32]byte
	Signed  []byte
	Timeout time.Duration
}

// RequestProto returns the message of r.
func RequestProto(r *Request) *pb.ForwardRequest {
	return &pb.ForwardRequest{Id: r.ID, Swarm: uint32(r.Swarm), Tag: r.Tag[:], Signed: r.Signed,
		TimeoutMs: uint32(min(r.Timeout, maxForwardTimeout).Milliseconds())}
}

// ReadRequest checks and reads a message.
func ReadRequest(p *pb.ForwardRequest) (*Request, error) {
	r := &Request{ID: p.GetId(), Swarm: ident.SwarmID(p.GetSwarm()), Signed: p.GetSigned()}
	if len(p.GetTag()) != len(r.Tag) || len(r.Signed) > maxSigned {
		return nil, bad("request has a tag or a body of the wrong size")
	}
	copy(r.Tag[:], p.GetTag())
	r.Timeout = min(time.Duration(p.GetTimeoutMs())*time.Millisecond, maxForwardTimeout)
	return r, nil
}

// Answer is what the leader made of a Request: Response, or Fault.
type Answer struct {
	ID        uint64
	Response  []byte
	Fault     *fault.Error
	NotLeader bool // not proposed: ask elsewhere
}

// AnswerProto returns the message of a.
func AnswerProto(a *Answer) *pb.ForwardResponse {
	p := &pb.ForwardResponse{Id: a.ID, NotLeader: a.NotLeader,
		Outcome: &pb.ForwardResponse_Response{Response: a.Response}}
	if a.Fault != nil {
		p.Outcome = &pb.ForwardResponse_Fault{Fault: FaultProto(a.Fault)}
	}
	return p
}

// ReadAnswer checks and reads a message.
func ReadAnswer(p *pb.ForwardResponse) (*Answer, error) {
	a := &Answer{ID: p.GetId(), NotLeader: p.GetNotLeader(), Response: p.GetResponse()}
	if f := p.GetFault(); f != nil {
		a.Fault = Fault(f)
	} else if p.GetOutcome() == nil {
		return nil, bad("answer has no outcome")
	}
	return a, nil
}

// Follow is what a follower says on the stream of its subscriptions: exactly one of Open, Credit and Close.
type Follow struct {
	ID     uint64
	Open   *Subscription
	Credit uint32 // envelopes taken
	Close  bool
}

// Subscription is a client's subscription on its way to the leader.
type Subscription struct {
	Swarm  ident.SwarmID
	Tag    [32]byte
	Signed []byte
	Cursor uint64
}

// FollowProto returns the message of f.
func FollowProto(f *Follow) *pb.FollowRequest {
	p := &pb.FollowRequest{Id: f.ID}
	switch {
	case f.Open != nil:
		p.Action = &pb.FollowRequest_Open{Open: &pb.FollowOpen{
			Swarm: uint32(f.Open.Swarm), Tag: f.Open.Tag[:], Signed: f.Open.Signed, Cursor: f.Open.Cursor,
		}}
	case f.Close:
		p.Action = &pb.FollowRequest_Close{Close: true}
	default:
		p.Action = &pb.FollowRequest_Credit{Credit: f.Credit}
	}
	return p
}

// ReadFollow checks and reads a message.
func ReadFollow(p *pb.FollowRequest) (*Follow, error) {
	f := &Follow{ID: p.GetId()}
	switch a := p.GetAction().(type) {
	case *pb.FollowRequest_Open:
		o := &Subscription{Swarm: ident.SwarmID(a.Open.GetSwarm()), Signed: a.Open.GetSigned(),
			Cursor: a.Open.GetCursor()}
		if len(a.Open.GetTag()) != len(o.Tag) || len(o.Signed) > maxSigned {
			return nil, bad("subscription has a tag or a body of the wrong size")
		}
		copy(o.Tag[:], a.Open.GetTag())
		f.Open = o
	case *pb.FollowRequest_Credit:
		f.Credit = a.Credit
	case *pb.FollowRequest_Close:
		f.Close = true
	default:
		return nil, bad("subscription has no action")
	}
	return f, nil
}

// Push is what the leader says on that stream: an envelope, or the end of a subscription.
type Push struct {
	ID       uint64
	Envelope []byte
	End      *fault.Error
}

// PushProto returns the message of m.
func PushProto(m *Push) *pb.FollowResponse {
	if m.End != nil {
		return &pb.FollowResponse{Id: m.ID, Event: &pb.FollowResponse_End{End: FaultProto(m.End)}}
	}
	return &pb.FollowResponse{Id: m.ID, Event: &pb.FollowResponse_Envelope{Envelope: m.Envelope}}
}

// ReadPush checks and reads a message.
func ReadPush(p *pb.FollowResponse) (*Push, error) {
	switch e := p.GetEvent().(type) {
	case *pb.FollowResponse_Envelope:
		return &Push{ID: p.GetId(), Envelope: e.Envelope}, nil
	case *pb.FollowResponse_End:
		return &Push{ID: p.GetId(), End: Fault(e.End)}, nil
	}
	return nil, bad("push has no event")
}

// NodeStatus is what a node says of itself.
type NodeStatus struct {
	DirectoryVersion uint64
	DiskBytes        uint64
	Now              time.Time
	Groups           []GroupStatus
	Problems         []string
}

// GroupStatus is a node's view of one group that it hosts.
type GroupStatus struct {
	Group              ident.SwarmID
	Leads              bool
	Leader             ident.NodeID // zero: none known
	Applied, Committed uint64
}

// Limits of a status.
const (
	maxGroups   = 4096
	maxProblems = 16
)

// StatusProto returns the message of s.
func StatusProto(s *NodeStatus) *pb.StatusResponse {
	p := &pb.StatusResponse{DirectoryVersion: s.DirectoryVersion, DiskBytes: s.DiskBytes,
		NowMs: s.Now.UnixMilli()}
	for _, g := range s.Groups {
		m := &pb.GroupStatus{Group: uint32(g.Group), Leader: g.Leads, Applied: g.Applied,
			Committed: g.Committed}
		if !g.Leader.IsZero() {
			m.LeaderNode = g.Leader[:]
		}
		p.Groups = append(p.Groups, m)
	}
	for _, t := range s.Problems[:min(len(s.Problems), maxProblems)] {
		p.Problems = append(p.Problems, t[:min(len(t), envelope.MaxDetail)])
	}
	return p
}

// ReadStatus checks and reads a message.
func ReadStatus(p *pb.StatusResponse) (*NodeStatus, error) {
	if len(p.GetGroups()) > maxGroups || len(p.GetProblems()) > maxProblems {
		return nil, bad("status has too many groups or problems")
	}
	s := &NodeStatus{DirectoryVersion: p.GetDirectoryVersion(), DiskBytes: p.GetDiskBytes(),
		Now: time.UnixMilli(p.GetNowMs()), Problems: p.GetProblems()}
	for _, m := range p.GetGroups() {
		g := GroupStatus{Group: ident.SwarmID(m.GetGroup()), Leads: m.GetLeader(), Applied: m.GetApplied(),
			Committed: m.GetCommitted()}
		switch len(m.GetLeaderNode()) {
		case 0:
		case len(g.Leader):
			copy(g.Leader[:], m.GetLeaderNode())
		default:
			return nil, bad("status names a leader of the wrong size")
		}
		s.Groups = append(s.Groups, g)
	}
	return s, nil
}
