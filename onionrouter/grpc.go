package onionrouter

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/starling-swarm/starling/internal/cellstream"
)

// errEnded is how every circuit ends for its neighbours, whatever the reason: a bad key, a replay, a limit,
// an unknown next hop or an orderly end must look the same.
var errEnded = status.Error(codes.Unavailable, "circuit ended")

// RegisterClient serves guards' circuits on the client listener: only hop 1 is accepted there.
func (r *Router) RegisterClient(s grpc.ServiceRegistrar) {
	cellstream.Register(s, func(ctx context.Context, st cellstream.Stream) error {
		conn := "unknown"
		if p, ok := peer.FromContext(ctx); ok {
			conn = p.Addr.String()
		}
		r.serve(ctx, st, entry{client: true, conn: conn})
		return errEnded
	})
}

// RegisterPeer serves circuits on the peer listener: hops 2 to 4.
func (r *Router) RegisterPeer(s grpc.ServiceRegistrar) {
	cellstream.Register(s, func(ctx context.Context, st cellstream.Stream) error {
		r.serve(ctx, st, entry{})
		return errEnded
	})
}
