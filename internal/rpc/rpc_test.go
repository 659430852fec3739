package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

func identity(t *testing.T, seed string) *Identity {
	t.Helper()
	h := sha256.Sum256([]byte(seed))
	id, err := NewIdentity(private.KeyOf(h).Signing())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// failing answers every call with an error that the test sets.
type failing struct {
	pb.UnimplementedNodesServer
	pb.UnimplementedDirectoriesServer
	pb.UnimplementedClientsServer
	err  atomic.Pointer[error]
	from atomic.Pointer[ident.NodeID]
}

func (f *failing) fail(err error) { f.err.Store(&err) }

func (f *failing) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	id, _ := PeerOf(ctx)
	f.from.Store(&id)
	if e := f.err.Load(); e != nil {
		return nil, *e
	}
	return &pb.StatusResponse{}, nil
}

func (f *failing) Watch(_ *pb.WatchRequest, s grpc.ServerStreamingServer[pb.WatchResponse]) error {
	if err := s.Send(&pb.WatchResponse{}); err != nil {
		return err
	}
	return *f.err.Load()
}

type peerFixture struct {
	*failing
	server   *Identity
	listener *PeerListener
	trust    sync.Map // ident.NodeID -> Trust
	log      lines
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startPeer(t *testing.T) *peerFixture {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &peerFixture{failing: new(failing), server: identity(t, "server")}
	f.listener = NewPeerListener(l, PeerConfig{Identity: f.server, Trust: func(id ident.NodeID) Trust {
		v, _ := f.trust.LoadOrStore(id, Stranger)
		return v.(Trust)
	}, Logger: slog.New(slog.NewTextHandler(&f.log, nil))})
	pb.RegisterNodesServer(f.listener.Server(), f.failing)
	pb.RegisterDirectoriesServer(f.listener.Server(), f.failing)
	pb.RegisterClientsServer(f.listener.Server(), f.failing) // on no list of this listener
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.listener.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return f
}

func (f *peerFixture) dial(t *testing.T, as *Identity, want ident.NodeID) *grpc.ClientConn {
	t.Helper()
	c, err := NewPeerDialer(as, nil).GRPC(want, func() (string, error) {
		return f.listener.Addr().String(),
			nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func callStatus(t *testing.T, c *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := pb.NewNodesClient(c).Status(ctx, &pb.StatusRequest{})
	return err
}

func TestEveryFaultKindCrossesACallAndAStream(t *testing.T) {
	f := startPeer(t)
	me := identity(t, "client")
	f.trust.Store(me.ID, Member)
	conn := f.dial(t, me, f.server.ID)
	for kind := fault.Invalid; kind <= fault.Internal; kind++ {
		want := &fault.Error{
			Kind: kind, Op: "secret operation", Detail: "got 1, want 2", Cause: errors.New("secret cause"),
			RetryAfter: 1500 * time.Millisecond, Head: 7, Version: 9,
		}
		f.fail(want)
		check := func(how string, err error) {
			var got *fault.Error
			if !errors.As(err, &got) {
				t.Fatalf("%s, %v: got %T %v, want a fault", how, kind, err, err)
			}
			if got.Kind != kind || got.Detail != want.Detail || got.RetryAfter != want.RetryAfter ||
				got.Head != 7 || got.Version != 9 {
				t.Errorf("%s: got %+v, want %+v", how, got, want)
			}
			if got.Cause != nil || got.Op == want.Op {
				t.Errorf("%s, %v: operation or cause left the node: %+v", how, kind, got)
			}
		}
		check("call", callStatus(t, conn))
		s, err := pb.NewDirectoriesClient(conn).Watch(t.Context(), &pb.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		_, err = s.Recv()
		check("stream", err)
	}
}

func TestUnclassifiedErrorsAreLoggedAndNotTold(t *testing.T) {
	f := startPeer(t)
	me := identity(t, "client")
	f.trust.Store(me.ID, Member)
	conn := f.dial(t, me, f.server.ID)
	for _, err := range []error{
		fault.New(fault.Corrupt, "read", "classified"), context.Canceled, status.Error(codes.Internal,
			"says gRPC"),
	} {
		f.fail(err)
		_ = callStatus(t, conn)
	}
	if log := f.log.String(); log != "" {
		t.Errorf("what the caller is told was logged too: %s", log)
	}
	f.fail(errors.New("disk 7 is on fire"))
	if err := callStatus(t, conn); !errors.Is(err, fault.Internal) ||
		err.(*fault.Error).Detail != "internal error" {
		t.Errorf("call: got %v, want internal error without text", err)
	}
	s, err := pb.NewDirectoriesClient(conn).Watch(t.Context(), &pb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, fault.Internal) || err.(*fault.Error).Detail != "internal error" {
		t.Errorf("stream: got %v, want internal error without text", err)
	}
	log := f.log.String()
	for _, method := range []string{pb.Nodes_Status_FullMethodName, pb.Directories_Watch_FullMethodName} {
		if !strings.Contains(log, `method=`+method+` err="disk 7 is on fire"`) {
			t.Errorf("the log does not say how %s failed: %s", method, log)
		}
	}
}

func TestEveryFaultKindHasItsOwnCode(t *testing.T) {
	seen := make(map[codes.Code]fault.Kind)
	for kind := fault.Invalid; kind <= fault.Internal; kind++ {
		code := status.Code(ToStatus(fault.New(kind, "", "")))
		if other, twice := seen[code]; twice || code == codes.Unknown || code == codes.OK {
			t.Errorf("%v: got code %v, which is %v's", kind, code, other)
		}
		seen[code] = kind
		if back := kindOf(code); back != kind {
			t.Errorf("%v without detail: got %v back", kind, back)
		}
	}
	if got := fault.KindOf(FromStatus("x", status.Error(codes.DeadlineExceeded,
		""))); got != fault.Unavailable {
		t.Errorf("deadline: got %v, want unavailable", got)
	}
}

func TestPeersAreKnownByTheirPin(t *testing.T) {
	f := startPeer(t)
	me := identity(t, "client")
	if err := callStatus(t, f.dial(t, me, f.server.ID)); !errors.Is(err, fault.Unavailable) {
		t.Errorf("stranger: got %v, want unavailable: the handshake fails", err)
	}
	f.trust.Store(me.ID, Applicant)
	c := f.dial(t, me, f.server.ID)
	if err := callStatus(t, c); !errors.Is(err, fault.Denied) {
		t.Errorf("applicant beyond the bootstrap calls: got %v, want denied", err)
	}
	f.trust.Store(me.ID, Member)
	if err := callStatus(t, c); err != nil {
		t.Errorf("member: %v", err)
	}
	if got := f.from.Load(); got == nil || *got != me.ID {
		t.Errorf("handler saw caller %v, want %v", got, me.ID)
	}
	if err := callStatus(t, f.dial(t, me, identity(t, "other").ID)); !errors.Is(err, fault.Unavailable) {
		t.Errorf("server with another key than pinned: got %v, want unavailable", err)
	}
}

func TestMethodsThatAreNotListedAreRefused(t *testing.T) {
	f := startPeer(t)
	me := identity(t, "client")
	f.trust.Store(me.ID, Member)
	_, err := pb.NewClientsClient(f.dial(t, me, f.server.ID)).ClusterFile(t.Context(),
		&pb.ClusterFileRequest{})
	if !errors.Is(err, fault.Denied) {
		t.Errorf("client method on the peer listener: got %v, want denied", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cl := NewClientListener(l, ClientConfig{Identity: f.server})
	pb.RegisterNodesServer(cl.Server(), f.failing)
	pb.RegisterSwarmsServer(cl.Server(), pb.UnimplementedSwarmsServer{})
	h := health.NewServer()
	grpc_health_v1.RegisterHealthServer(cl.Server(), h)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cl.Serve(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	conn, err := DialNode(f.server.ID, []string{"127.0.0.1:1", l.Addr().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := callStatus(t, conn); !errors.Is(err, fault.Denied) {
		t.Errorf("peer method on the client listener: got %v, want denied", err)
	}
	stream, err := pb.NewSwarmsClient(conn).Forward(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(err, fault.Denied) {
		t.Errorf("node's request on the client listener: got %v, want denied", err)
	}
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(),
		&grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("health: %v", err)
	}
	wrong, err := DialNode(identity(t, "other").ID, []string{l.Addr().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if err := callStatus(t, wrong); !errors.Is(err, fault.Unavailable) {
		t.Errorf("client with another pin: got %v, want unavailable", err)
	}
}

func TestRaftConnectionsAreForMembers(t *testing.T) {
	f := startPeer(t)
	me := identity(t, "client")
	d := NewPeerDialer(me, nil)
	dial := func() error {
		c, err := d.Raft(t.Context(), f.listener.Addr().String(), f.server.ID)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Read(make([]byte, 1)) // TLS 1.3 tells a client of its refusal in the first read
		return err
	}
	f.trust.Store(me.ID, Applicant)
	if err := dial(); err == nil {
		t.Error("an applicant got a raft connection")
	}
	f.trust.Store(me.ID, Member)
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := f.listener.Raft().Accept()
		if err == nil {
			accepted <- c
		}
	}()
	c, err := d.Raft(t.Context(), f.listener.Addr().String(), f.server.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := <-accepted
	if p, ok := got.(interface{ Peer() ident.NodeID }); !ok || p.Peer() != me.ID {
		t.Errorf("accepted connection does not name its peer")
	}
	f.trust.Store(me.ID, Stranger)
	f.listener.Recheck()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection of a removed node stays open")
	}
}
