package rpc

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/wire"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

// codeOf is the one table between fault kinds and gRPC codes. The kind itself travels in the status detail,
// so the code only has to make sense to generic tools.
var codeOf = map[fault.Kind]codes.Code{
	fault.Invalid:         codes.InvalidArgument,
	fault.Unauthenticated: codes.Unauthenticated,
	fault.Denied:          codes.PermissionDenied,
	fault.NotFound:        codes.NotFound,
	fault.Exists:          codes.AlreadyExists,
	fault.Stale:           codes.Aborted,
	fault.WrongSwarm:      codes.FailedPrecondition,
	fault.Limited:         codes.ResourceExhausted,
	fault.Unavailable:     codes.Unavailable,
	fault.Corrupt:         codes.DataLoss,
	fault.Internal:        codes.Internal,
}

// kindOf is used for statuses without our detail: what gRPC itself says.
func kindOf(c codes.Code) fault.Kind {
	switch c {
	case codes.Canceled, codes.DeadlineExceeded:
		return fault.Unavailable
	case codes.Unimplemented, codes.OutOfRange:
		return fault.Invalid
	}
	for k, v := range codeOf {
		if v == c {
			return k
		}
	}
	return fault.Internal
}

// ToStatus turns an error of a handler into what leaves the node: nil and errors that are gRPC statuses
// already pass; a *fault.Error travels whole but for its Op and Cause; anything else is Internal without
// text.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	var e *fault.Error
	if !errors.As(err, &e) {
		if _, ok := status.FromError(err); ok {
			return err
		}
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err,
			io.EOF):
			e = fault.New(fault.Unavailable, "", "the call ended early")
		default:
			e = fault.New(fault.Internal, "", "internal error")
		}
	}
	code, ok := codeOf[e.Kind]
	if !ok {
		code = codes.Internal
	}
	st := status.New(code, e.Kind.String())
	if with, err := st.WithDetails(wire.FaultProto(e)); err == nil {
		st = with
	}
	return st.Err()
}

// FromStatus turns an error of a call into a *fault.Error. nil and io.EOF, which ends a stream, pass.
func FromStatus(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var e *fault.Error
	if errors.As(err, &e) {
		return err
	}
	st, _ := status.FromError(err)
	for _, d := range st.Details() {
		if p, ok := d.(*pb.Fault); ok {
			e := wire.Fault(p)
			e.Op = op
			return e
		}
	}
	return fault.Wrap(kindOf(st.Code()), op, errors.New(st.Message()))
}

func unaryFaults(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return FromStatus("call "+method, invoke(ctx, method, req, reply, cc, opts...))
}

func streamFaults(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
	open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, FromStatus("call "+method, err)
	}
	return &faultStream{ClientStream: s, op: "call " + method}, nil
}

// faultStream classifies the errors of a client's stream.
type faultStream struct {
	grpc.ClientStream
	op string
}

func (s *faultStream) RecvMsg(m any) error { return FromStatus(s.op, s.ClientStream.RecvMsg(m)) }
func (s *faultStream) SendMsg(m any) error { return FromStatus(s.op, s.ClientStream.SendMsg(m)) }
