package rpc

import (
	"context"
	"errors"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

// methodCircuit is the stream of cells, on both listeners. Its messages are raw bytes, so no generated name
// exists.
const methodCircuit = "/starling.v1.Onion/Circuit"

// peerMethods says what each method of the peer listener asks of its caller. What is not here is refused.
var peerMethods = map[string]Trust{
	pb.Directories_Submit_FullMethodName:       Applicant,
	pb.Directories_Watch_FullMethodName:        Applicant,
	pb.Swarms_Forward_FullMethodName:           Member,
	pb.Swarms_Follow_FullMethodName:            Member,
	pb.Nodes_Status_FullMethodName:             Member,
	methodCircuit:                              Member,
	grpc_health_v1.Health_Check_FullMethodName: Member,
}

// clientMethods are the methods that anyone may call on the client listener. Calls between nodes, whose
// requests are signed over a zero circuit tag or carry a caller's word for one, are not among them.
var clientMethods = map[string]bool{
	pb.Clients_Directory_FullMethodName:        true,
	pb.Clients_ClusterFile_FullMethodName:      true,
	methodCircuit:                              true,
	grpc_health_v1.Health_Check_FullMethodName: true,
}

// gate refuses calls by default and classifies what handlers return.
type gate struct {
	log   *slog.Logger
	allow func(ctx context.Context, method string) error
}

func peerGate(log *slog.Logger, trust func(ident.NodeID) Trust) gate {
	return gate{log: log, allow: func(ctx context.Context, method string) error {
		need, listed := peerMethods[method]
		id, ok := PeerOf(ctx)
		if !ok {
			return fault.New(fault.Unauthenticated, "call "+method, "caller has no certificate")
		}
		if !listed || trust(id) < need {
			return fault.New(fault.Denied, "call "+method, "not allowed to node %s", id.Short())
		}
		return nil
	}}
}

func clientGate(log *slog.Logger) gate {
	return gate{log: log, allow: func(_ context.Context, method string) error {
		if !clientMethods[method] {
			return fault.New(fault.Denied, "call "+method, "not served to clients")
		}
		return nil
	}}
}

func (g gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo,
	handle grpc.UnaryHandler) (any, error) {
	if err := g.allow(ctx, info.FullMethod); err != nil {
		return nil, ToStatus(err)
	}
	resp, err := handle(ctx, req)
	return resp, g.told(info.FullMethod, err)
}

func (g gate) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo,
	handle grpc.StreamHandler) error {
	if err := g.allow(ss.Context(), info.FullMethod); err != nil {
		return ToStatus(err)
	}
	return g.told(info.FullMethod, handle(srv, ss))
}

// told is what the caller is told of a handler's error. An unclassified one keeps its text on this node: in
// the log.
func (g gate) told(method string, err error) error {
	st := ToStatus(err)
	var f *fault.Error
	if _, isStatus := status.FromError(err); status.Code(st) == codes.Internal && !isStatus &&
		!errors.As(err, &f) {
		g.log.Error("call failed with an unclassified error", "method", method, "err", err)
	}
	return st
}
