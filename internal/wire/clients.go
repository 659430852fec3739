package wire

import (
	"context"

	"google.golang.org/grpc"

	"github.com/starling-swarm/starling/internal/directory"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

// Peer calls the services of another node's peer listener. Errors are those of the connection, which
// internal/rpc classifies.
type Peer struct{ Conn grpc.ClientConnInterface }

// Submit brings a directory command to the directory's leader and returns the version after it.
func (p Peer) Submit(ctx context.Context, command []byte, expect int, forwarded bool) (uint64, error) {
	resp, err := pb.NewDirectoriesClient(p.Conn).Submit(ctx, &pb.SubmitRequest{Command: command,
		BootstrapExpect: uint32(expect), Forwarded: forwarded})
	return resp.GetVersion(), err
}

// Watch gives receive each signed directory newer than a version until ctx ends, the stream breaks or receive
// fails.
func (p Peer) Watch(ctx context.Context, newerThan uint64, receive func(*directory.Signed) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := pb.NewDirectoriesClient(p.Conn).Watch(ctx, &pb.WatchRequest{NewerThan: newerThan})
	if err != nil {
		return err
	}
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		signed, err := directory.DecodeSigned(m.GetSignedDirectory())
		if err != nil {
			return err
		}
		if err := receive(signed); err != nil {
			return err
		}
	}
}

// Status asks a node what it hosts; brief leaves out what takes long to find out.
func (p Peer) Status(ctx context.Context, brief bool) (*NodeStatus, error) {
	resp, err := pb.NewNodesClient(p.Conn).Status(ctx, &pb.StatusRequest{Brief: brief})
	if err != nil {
		return nil, err
	}
	return ReadStatus(resp)
}

// ForwardStream carries requests to a leader. Send and Recv may run beside each other, each from one
// goroutine.
type ForwardStream struct {
	s grpc.BidiStreamingClient[pb.ForwardRequest, pb.ForwardResponse]
}

// Forward opens a stream that lives until ctx ends.
func (p Peer) Forward(ctx context.Context) (*ForwardStream, error) {
	s, err := pb.NewSwarmsClient(p.Conn).Forward(ctx)
	return &ForwardStream{s}, err
}

// Send sends one request.
func (f *ForwardStream) Send(r *Request) error { return f.s.Send(RequestProto(r)) }

// Recv returns the next answer.
func (f *ForwardStream) Recv() (*Answer, error) {
	m, err := f.s.Recv()
	if err != nil {
		return nil, err
	}
	return ReadAnswer(m)
}

// FollowStream carries subscriptions to a leader. Send and Recv may run beside each other, each from one
// goroutine.
type FollowStream struct {
	s grpc.BidiStreamingClient[pb.FollowRequest, pb.FollowResponse]
}

// Follow opens a stream that lives until ctx ends.
func (p Peer) Follow(ctx context.Context) (*FollowStream, error) {
	s, err := pb.NewSwarmsClient(p.Conn).Follow(ctx)
	return &FollowStream{s}, err
}

// Send sends one message.
func (f *FollowStream) Send(m *Follow) error { return f.s.Send(FollowProto(m)) }

// Recv returns the next push.
func (f *FollowStream) Recv() (*Push, error) {
	m, err := f.s.Recv()
	if err != nil {
		return nil, err
	}
	return ReadPush(m)
}
