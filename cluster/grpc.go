package cluster

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
	"github.com/starling-swarm/starling/internal/wire"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

// RegisterPeer registers the node's services on the server of the peer listener. Call it before the listener
// serves.
func (n *Node) RegisterPeer(s grpc.ServiceRegistrar) {
	pb.RegisterDirectoriesServer(s, directoryServer{n: n})
	pb.RegisterSwarmsServer(s, swarmServer{n: n})
	pb.RegisterNodesServer(s, nodeServer{n: n})
	grpc_health_v1.RegisterHealthServer(s, n.health)
}

// RegisterClient registers the node's services on the server of the client listener. Call it before the
// listener serves.
func (n *Node) RegisterClient(s grpc.ServiceRegistrar) {
	pb.RegisterClientsServer(s, clientServer{n: n})
	grpc_health_v1.RegisterHealthServer(s, n.health)
}

// newHealth returns a health service that says "not serving" until setHealth.
func newHealth() *health.Server {
	h := health.NewServer()
	h.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	return h
}

func (n *Node) setHealth(ready bool) {
	status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if ready {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	n.health.SetServingStatus("", status)
}

type clientServer struct {
	pb.UnimplementedClientsServer
	n *Node
}

func (s clientServer) Directory(_ context.Context, q *pb.DirectoryRequest) (*pb.DirectoryResponse, error) {
	resp := &pb.DirectoryResponse{NodeTimeMs: s.n.now().UnixMilli()}
	d, signed := s.n.view.current()
	if d == nil {
		return resp, nil
	}
	resp.Version = d.Version
	if d.Version > q.GetNewerThan() {
		resp.SignedDirectory = signed.Encode()
	}
	return resp, nil
}

func (s clientServer) ClusterFile(context.Context, *pb.ClusterFileRequest) (*pb.ClusterFileResponse, error) {
	b, err := s.n.cfg.ClusterFile.Encode()
	return &pb.ClusterFileResponse{ClusterFile: b}, err
}

type directoryServer struct {
	pb.UnimplementedDirectoriesServer
	n *Node
}

func (s directoryServer) Submit(ctx context.Context, q *pb.SubmitRequest) (*pb.SubmitResponse, error) {
	from, _ := rpc.PeerOf(ctx)
	ctx, cancel, err := s.n.working(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	v, err := s.n.accept(ctx, from, q.GetCommand(), int(q.GetBootstrapExpect()), q.GetForwarded())
	return &pb.SubmitResponse{Version: v}, spelled(err)
}

func (s directoryServer) Watch(q *pb.WatchRequest, out grpc.ServerStreamingServer[pb.WatchResponse]) error {
	ctx, cancel, err := s.n.working(out.Context())
	if err != nil {
		return err
	}
	defer cancel()
	have := q.GetNewerThan()
	for {
		d, signed, err := s.n.view.wait(ctx, have)
		if err != nil {
			return err
		}
		if err := out.Send(&pb.WatchResponse{SignedDirectory: signed.Encode()}); err != nil {
			return err
		}
		have = d.Version
	}
}

type nodeServer struct {
	pb.UnimplementedNodesServer
	n *Node
}

func (s nodeServer) Status(_ context.Context, q *pb.StatusRequest) (*pb.StatusResponse, error) {
	return wire.StatusProto(s.n.ownStatus(q.GetBrief())), nil
}

type swarmServer struct {
	pb.UnimplementedSwarmsServer
	n *Node
}

// maxForwards bounds the requests of one peer that are worked on at a time; beyond it the stream is not read.
const maxForwards = 1024

// Forward answers the requests of one peer as they are done.
func (s swarmServer) Forward(stream grpc.BidiStreamingServer[pb.ForwardRequest, pb.ForwardResponse]) error {
	from, _ := rpc.PeerOf(stream.Context())
	ctx, cancel, err := s.n.working(stream.Context())
	if err != nil {
		return err
	}
	var send sync.Mutex
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	slots := make(chan struct{}, maxForwards)
	for {
		m, err := stream.Recv()
		if err != nil {
			return ended(err)
		}
		q, err := wire.ReadRequest(m)
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		wg.Go(func() {
			defer func() { <-slots }()
			a := wire.AnswerProto(s.n.handleForwarded(ctx, from, q))
			send.Lock()
			defer send.Unlock()
			if stream.Send(a) != nil {
				cancel()
			}
		})
	}
}

// forwardedSub is one subscription on a Follow stream.
type forwardedSub struct {
	cancel context.CancelFunc
	credit chan uint32
}

// maxFollows bounds the subscriptions on one Follow stream.
const maxFollows = 100_000

// Follow serves the subscriptions of one peer.
func (s swarmServer) Follow(stream grpc.BidiStreamingServer[pb.FollowRequest, pb.FollowResponse]) error {
	from, _ := rpc.PeerOf(stream.Context())
	ctx, cancel, err := s.n.working(stream.Context())
	if err != nil {
		return err
	}
	f := &followed{n: s.n, from: from, stream: stream, subs: make(map[uint64]*forwardedSub)}
	defer f.group.Wait()
	defer cancel()
	for {
		m, err := stream.Recv()
		if err != nil {
			return ended(err)
		}
		q, err := wire.ReadFollow(m)
		if err != nil {
			return err
		}
		if err := f.take(ctx, q); err != nil {
			return err
		}
	}
}

// followed is the leader's end of a Follow stream.
type followed struct {
	n      *Node
	from   ident.NodeID
	stream grpc.BidiStreamingServer[pb.FollowRequest, pb.FollowResponse]
	group  sync.WaitGroup
	send   sync.Mutex

	mu   sync.Mutex
	subs map[uint64]*forwardedSub
}

// take does what one message of the follower asks for.
func (f *followed) take(ctx context.Context, q *wire.Follow) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	sub := f.subs[q.ID]
	switch {
	case q.Open != nil && (sub != nil || len(f.subs) >= maxFollows):
		return fault.New(fault.Invalid, "follow", "subscription %d is open already, or too many are", q.ID)
	case q.Open != nil:
		ctx, cancel := context.WithCancel(ctx)
		sub = &forwardedSub{cancel: cancel, credit: make(chan uint32, window)}
		f.subs[q.ID] = sub
		f.group.Go(func() { f.serve(ctx, q.ID, sub, q.Open) })
	case sub == nil: // ended meanwhile
	case q.Close:
		sub.cancel()
	default:
		select {
		case sub.credit <- q.Credit:
		default: // more credits than envelopes: nonsense
			sub.cancel()
		}
	}
	return nil
}

// serve runs one subscription within the follower's credit, and says why it ended.
func (f *followed) serve(ctx context.Context, id uint64, sub *forwardedSub, w *wire.Subscription) {
	defer sub.cancel()
	left := uint32(window)
	s := &subscription{in: statemachine.Ingress{Node: f.from, Tag: w.Tag},
		handle: func(e envelope.Envelope) error {
			for left == 0 {
				select {
				case c := <-sub.credit:
					left = min(c, window)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			for more := true; more && left < window; { // take what credit has come meanwhile
				select {
				case c := <-sub.credit:
					left = min(left+min(c, window), window)
				default:
					more = false
				}
			}
			left--
			return f.push(&wire.Push{ID: id, Envelope: e.Encode()})
		}}
	err := f.n.serveForwarded(ctx, s, w)
	f.mu.Lock()
	delete(f.subs, id)
	f.mu.Unlock()
	if ctx.Err() != nil {
		return // closed by the follower, or the stream ends
	}
	f.end(id, err)
}

// end tells the follower why a subscription ended.
func (f *followed) end(id uint64, err error) {
	_ = f.push(&wire.Push{ID: id, End: f.n.told("follow", err)})
}

func (f *followed) push(m *wire.Push) error {
	f.send.Lock()
	defer f.send.Unlock()
	return f.stream.Send(wire.PushProto(m))
}

// ended is nil for a stream that its client closed.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// spelled returns err with its causes in Detail, which is what travels.
func spelled(err error) error {
	if e := asFault(err); e != nil {
		return e
	}
	return err
}
