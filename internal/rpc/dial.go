package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

// DialFunc opens a raw connection; net.Dialer.DialContext is one, a fault switch another.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// PeerDialer opens connections to the peer listeners of other nodes.
type PeerDialer struct {
	id   *Identity
	dial DialFunc
}

// NewPeerDialer returns a dialer that presents id. A nil dial is the plain network.
func NewPeerDialer(id *Identity, dial DialFunc) *PeerDialer {
	return &PeerDialer{id: id, dial: orNet(dial)}
}

func orNet(dial DialFunc) DialFunc {
	if dial == nil {
		return (&net.Dialer{}).DialContext
	}
	return dial
}

// Raft opens a Raft connection to the node want at addr. It gives up when ctx ends, and after 5 s. Errors:
// Unavailable, Denied (another node answers there).
func (d *PeerDialer) Raft(ctx context.Context, addr string, want ident.NodeID) (net.Conn, error) {
	return dialPinned(ctx, d.dial, addr, dialTLS(d.id, want, protoRaft))
}

// GRPC returns a connection to the node want. It connects when it is first used, and again by itself; resolve
// gives the address at each attempt. Calls on it return *fault.Error.
func (d *PeerDialer) GRPC(want ident.NodeID, resolve func() (addr string,
	err error)) (*grpc.ClientConn, error) {
	return newConn(want, func(ctx context.Context) (net.Conn, error) {
		addr, err := resolve()
		if err != nil {
			return nil, err
		}
		return dialPinned(ctx, d.dial, addr, dialTLS(d.id, want, protoGRPC))
	})
}

// DialNode returns a client's connection to the client listener of the node want. All addresses are tried in
// parallel and the first that proves to be the node is used. Nothing is sent before the first call. Errors:
// Unavailable (no address), Internal.
func DialNode(want ident.NodeID, addrs []string, dial DialFunc) (*grpc.ClientConn, error) {
	if len(addrs) == 0 {
		return nil, fault.New(fault.Unavailable, "dial node "+want.Short(), "has no client address")
	}
	return newConn(want, func(ctx context.Context) (net.Conn, error) {
		return race(ctx, orNet(dial), addrs, dialTLS(nil, want, protoGRPC))
	})
}

func newConn(want ident.NodeID, dial func(context.Context) (net.Conn, error)) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+want.String(),
		grpc.WithTransportCredentials(established{}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout,
			PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: 2 * time.Second},
			MinConnectTimeout: handshakeTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithUnaryInterceptor(unaryFaults),
		grpc.WithStreamInterceptor(streamFaults),
	)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "dial node "+want.Short(), err)
	}
	return conn, nil
}

func dialPinned(ctx context.Context, dial DialFunc, addr string, cfg *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "dial "+addr, err)
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		kind := fault.Unavailable
		if errors.Is(err, fault.Denied) { // another node answers there
			kind = fault.Denied
		}
		return nil, fault.Wrap(kind, "dial "+addr, err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != cfg.NextProtos[0] {
		_ = conn.Close()
		return nil, fault.New(fault.Unavailable, "dial "+addr, "speaks %q, want %q", got, cfg.NextProtos[0])
	}
	return conn, nil
}

// race dials all addresses at once and returns the first connection that passes the pin.
func race(ctx context.Context, dial DialFunc, addrs []string, cfg *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(addrs))
	for _, addr := range addrs {
		go func() {
			conn, err := dialPinned(ctx, dial, addr, cfg)
			results <- result{conn, err}
		}()
	}
	var errs []error
	for i := range addrs {
		r := <-results
		if r.err != nil {
			errs = append(errs, r.err)
			continue
		}
		cancel()
		go func() { // the losers
			for range len(addrs) - i - 1 {
				if r := <-results; r.conn != nil {
					_ = r.conn.Close()
				}
			}
		}()
		return r.conn, nil
	}
	return nil, errors.Join(errs...)
}

// FetchDirectory asks a node on its client listener for a directory newer than the version given. The signed
// directory is nil if the node has none; it is not verified here. nodeTime is the node's clock. Errors:
// Unavailable (also when ctx ended), what the node answers, and what decoding says of it.
func FetchDirectory(ctx context.Context, conn grpc.ClientConnInterface,
	newerThan uint64) (signed *directory.Signed, nodeTime time.Time, err error) {
	resp, err := pb.NewClientsClient(conn).Directory(ctx, &pb.DirectoryRequest{NewerThan: newerThan})
	if err != nil {
		return nil, time.Time{}, FromStatus("fetch directory", err)
	}
	nodeTime = time.UnixMilli(resp.GetNodeTimeMs())
	if len(resp.GetSignedDirectory()) == 0 {
		return nil, nodeTime, nil
	}
	signed, err = directory.DecodeSigned(resp.GetSignedDirectory())
	return signed, nodeTime, err
}

// FetchClusterFile asks a node for its cluster file, for a client that has only a link; the caller checks it
// with Link.Accept. Errors: as FetchDirectory.
func FetchClusterFile(ctx context.Context, conn grpc.ClientConnInterface) (*directory.ClusterFile, error) {
	resp, err := pb.NewClientsClient(conn).ClusterFile(ctx, &pb.ClusterFileRequest{})
	if err != nil {
		return nil, FromStatus("fetch cluster file", err)
	}
	return directory.ParseClusterFile(resp.GetClusterFile())
}
