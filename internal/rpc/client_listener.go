package rpc

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/starling-swarm/starling/internal/fault"
)

// maxClientStreams bounds the streams of one connection: the circuits that the directory's parameters allow a
// client, and a few calls.
const maxClientStreams = 100

// ClientListener serves clients: TLS 1.3 with the node's certificate, which the client compares with its pin;
// the client has none.
type ClientListener struct {
	inner  net.Listener
	server *grpc.Server
}

// ClientConfig configures a ClientListener.
type ClientConfig struct {
	Identity *Identity
	Logger   *slog.Logger // nil discards
}

// NewClientListener takes over l and starts nothing. Register services on Server before Serve.
func NewClientListener(l net.Listener, cfg ClientConfig) *ClientListener {
	creds := credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cfg.Identity.cert},
		NextProtos:   []string{protoGRPC},
	})
	opts := append(serverOptions(clientGate(orDiscard(cfg.Logger))), grpc.Creds(creds),
		grpc.MaxRecvMsgSize(maxFromClient),
		grpc.MaxConcurrentStreams(maxClientStreams), grpc.ConnectionTimeout(handshakeTimeout))
	return &ClientListener{inner: l, server: grpc.NewServer(opts...)}
}

// Server is where the services of clients are registered.
func (c *ClientListener) Server() *grpc.Server { return c.server }

// Addr returns the address that the listener is bound to.
func (c *ClientListener) Addr() net.Addr { return c.inner.Addr() }

// Serve accepts until ctx ends, gives open calls a moment to end, closes all connections, and returns nil.
func (c *ClientListener) Serve(ctx context.Context) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		timer := time.AfterFunc(stopTimeout, c.server.Stop)
		defer timer.Stop()
		c.server.GracefulStop()
	})
	err := c.server.Serve(c.inner)
	if stop() { // Serve ended by itself
		c.server.Stop()
		return fault.Wrap(fault.Unavailable, "serve clients", err)
	}
	<-stopped
	return nil
}

// Close ends the listener and every connection at once.
func (c *ClientListener) Close() { c.server.Stop() }
