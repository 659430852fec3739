package rpc

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Windows and sizes of every connection. Static windows keep a stalled stream at 128 KiB instead of
// megabytes.
const (
	streamWindow  = 64 << 10
	connWindow    = 4 << 20
	maxMessage    = directory.MaxSize + 1<<10
	maxFromClient = 64 << 10 // the largest thing a client sends is one BULK cell
)

// Timers of connections.
const (
	handshakeTimeout = 5 * time.Second
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
	stopTimeout      = time.Second
)

// Trust is what a node is to another.
type Trust uint8

const (
	Stranger  Trust = iota // refused in the handshake
	Applicant              // vouched for by the cluster secret during bootstrap: may make the bootstrap calls
	Member                 // in the directory, or a signer of the cluster file
)

// PeerConfig configures a PeerListener.
type PeerConfig struct {
	Identity *Identity
	Trust    func(ident.NodeID) Trust // asked in each handshake and for each call; must not block
	Logger   *slog.Logger             // nil discards
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// PeerListener accepts connections of other nodes and sorts them by protocol.
type PeerListener struct {
	cfg    PeerConfig
	inner  net.Listener
	server *grpc.Server
	grpc   *connQueue
	raft   *connQueue

	mu    sync.Mutex
	conns map[*peerConn]struct{}
}

// NewPeerListener takes over l and starts nothing. Register services on Server before Serve.
func NewPeerListener(l net.Listener, cfg PeerConfig) *PeerListener {
	p := &PeerListener{cfg: cfg, inner: l, conns: make(map[*peerConn]struct{})}
	p.grpc, p.raft = newConnQueue(l.Addr()), newConnQueue(l.Addr())
	opts := append(serverOptions(peerGate(orDiscard(cfg.Logger), cfg.Trust)), grpc.Creds(established{}),
		grpc.MaxRecvMsgSize(maxMessage))
	p.server = grpc.NewServer(opts...)
	return p
}

// Server is where the services of peers are registered.
func (p *PeerListener) Server() *grpc.Server { return p.server }

// Raft returns the listener of the connections that asked for Raft; all are of Members.
func (p *PeerListener) Raft() net.Listener { return p.raft }

// Addr returns the address that the listener is bound to.
func (p *PeerListener) Addr() net.Addr { return p.inner.Addr() }

// Serve accepts until ctx ends, then closes the listener and all connections, and returns nil.
func (p *PeerListener) Serve(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.server.Serve(p.grpc) }) // ends when the queue closes
	stop := context.AfterFunc(ctx, func() { p.Close() })
	defer stop()
	for {
		c, err := p.inner.Accept()
		if err != nil {
			if ctx.Err() == nil && !p.grpc.isClosed() {
				p.Close()
				wg.Wait()
				return fault.Wrap(fault.Unavailable, "accept peer", err)
			}
			p.Close()
			wg.Wait()
			return nil
		}
		wg.Go(func() { p.handshake(ctx, c) })
	}
}

// Close ends the listener and every connection at once.
func (p *PeerListener) Close() {
	_ = p.inner.Close()
	p.grpc.close()
	p.raft.close()
	p.server.Stop()
	p.mu.Lock()
	conns := p.conns
	p.conns = make(map[*peerConn]struct{})
	p.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}

// Recheck closes the connections of nodes that are not trusted any more. Call it when the membership changed.
func (p *PeerListener) Recheck() {
	p.mu.Lock()
	var gone []*peerConn
	for c := range p.conns {
		if p.cfg.Trust(c.id) == Stranger {
			gone = append(gone, c)
		}
	}
	p.mu.Unlock()
	for _, c := range gone {
		_ = c.Close()
	}
}

func (p *PeerListener) handshake(ctx context.Context, raw net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Server(raw, &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{p.cfg.Identity.cert},
		ClientAuth:   tls.RequireAnyClientCert,
		NextProtos:   []string{protoGRPC, protoRaft},
		VerifyConnection: func(s tls.ConnectionState) error {
			id, err := peerID(&s)
			if err != nil {
				return err
			}
			switch trust := p.cfg.Trust(id); {
			case trust == Stranger:
				return fault.New(fault.Denied, "accept peer", "node %s is not of the cluster", id.Short())
			case trust != Member && s.NegotiatedProtocol == protoRaft:
				return fault.New(fault.Denied, "accept peer", "node %s is not a member yet", id.Short())
			}
			return nil
		},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return
	}
	state := conn.ConnectionState()
	id, err := peerID(&state)
	if err != nil {
		_ = conn.Close()
		return
	}
	pc := &peerConn{Conn: conn, id: id, owner: p}
	p.mu.Lock()
	p.conns[pc] = struct{}{}
	p.mu.Unlock()
	queue := p.grpc
	if state.NegotiatedProtocol == protoRaft {
		queue = p.raft
	}
	if !queue.put(pc) {
		_ = pc.Close()
	}
}

// peerConn is an authenticated connection of a peer.
type peerConn struct {
	*tls.Conn
	id    ident.NodeID
	owner *PeerListener
}

// Peer returns the node at the other end.
func (c *peerConn) Peer() ident.NodeID { return c.id }

func (c *peerConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.conns, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

// PeerOf returns the node that made the call whose handler runs under ctx. It is false on the client
// listener.
func PeerOf(ctx context.Context) (ident.NodeID, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ident.NodeID{}, false
	}
	info, ok := p.AuthInfo.(authInfo)
	return info.id, ok && !info.id.IsZero()
}

// authInfo is what gRPC knows of an authenticated connection.
type authInfo struct {
	credentials.CommonAuthInfo
	id ident.NodeID // zero: a client
}

func (authInfo) AuthType() string { return "starling-pin" }

// established is the credential of connections whose TLS handshake is over before gRPC sees them.
type established struct{}

func (established) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, infoOf(c), nil
}

func (established) ClientHandshake(_ context.Context, _ string,
	c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, infoOf(c), nil
}

func infoOf(c net.Conn) authInfo {
	info := authInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	if pc, ok := c.(*peerConn); ok {
		info.id = pc.id
	}
	return info
}

func (established) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}
func (e established) Clone() credentials.TransportCredentials { return e }
func (established) OverrideServerName(string) error           { return nil }

func serverOptions(g gate) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 3 * keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2,
			PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(g.unary),
		grpc.ChainStreamInterceptor(g.stream),
	}
}

// connQueue is a net.Listener that is fed with connections.
type connQueue struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newConnQueue(addr net.Addr) *connQueue {
	return &connQueue{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (q *connQueue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.closed:
		return false
	}
}

func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *connQueue) close()         { q.once.Do(func() { close(q.closed) }) }
func (q *connQueue) Close() error   { q.close(); return nil }
func (q *connQueue) Addr() net.Addr { return q.addr }
func (q *connQueue) isClosed() bool {
	select {
	case <-q.closed:
		return true
	default:
		return false
	}
}
