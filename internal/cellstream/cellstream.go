// Package cellstream carries the frames of a circuit over gRPC: one bidirectional stream per circuit and
// link, method /starling.v1.Onion/Circuit, whose messages are raw bytes without any encoding around them.
//
// Frames live in pooled buffers of the sizes that circuits use. Recv hands a buffer to its caller; Send takes
// one over, also when it fails. One goroutine may send while another receives. A blocking Send is the only
// back-pressure.
package cellstream

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// Frame sizes: a MSG cell, a create packet, a BULK cell.
const (
	msgSize    = 2_048
	createSize = 6_144
	MaxFrame   = 16_384
)

const (
	service   = "starling.v1.Onion"
	method    = "/starling.v1.Onion/Circuit"
	codecName = "starling-cell"
)

// Frame is a pooled buffer. It has one owner at a time.
type Frame = *[]byte

var pool = mem.NewTieredBufferPool(msgSize, createSize, MaxFrame)

// Get returns a frame of n bytes, whose content is undefined.
func Get(n int) Frame { return pool.Get(n) }

// Put gives a frame back.
func Put(f Frame) {
	if f != nil {
		pool.Put(f)
	}
}

// Stream is one end of a circuit's stream on one link.
type Stream interface {
	Send(f Frame) error
	Recv() (Frame, error)
}

// message is what gRPC marshals: a holder that the codec fills or empties.
type message struct{ frame Frame }

// codec moves frames in and out of gRPC without copying on the way out.
type codec struct{}

func (codec) Name() string { return codecName }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("marshal cell: got %T", v)
	}
	f := m.frame
	m.frame = nil
	return mem.BufferSlice{mem.NewBuffer(f, pool)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("unmarshal cell: got %T", v)
	}
	n := data.Len()
	if n > MaxFrame {
		return fmt.Errorf("unmarshal cell: frame has %d bytes, want at most %d", n, MaxFrame)
	}
	m.frame = pool.Get(n)
	data.CopyTo(*m.frame)
	return nil
}

// gRPC looks a server's codec up by the content subtype of the call; registering is the only way to serve two
// codecs on one server.
func init() { encoding.RegisterCodecV2(codec{}) }

// rpcStream is what client and server streams of gRPC have in common.
type rpcStream interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

type stream struct {
	rpc      rpcStream
	out, inc message // one sender and one receiver at a time, so that these are reused
}

func (s *stream) Send(f Frame) error {
	s.out.frame = f
	err := s.rpc.SendMsg(&s.out)
	if s.out.frame != nil { // gRPC failed before it marshalled
		Put(s.out.frame)
		s.out.frame = nil
	}
	return err
}

func (s *stream) Recv() (Frame, error) {
	if err := s.rpc.RecvMsg(&s.inc); err != nil {
		return nil, err
	}
	f := s.inc.frame
	s.inc.frame = nil
	return f, nil
}

// Open starts a circuit's stream to the node behind cc. Cancelling ctx ends it.
func Open(ctx context.Context, cc grpc.ClientConnInterface) (Stream, error) {
	desc := &grpc.StreamDesc{StreamName: "Circuit", ServerStreams: true, ClientStreams: true}
	cs, err := cc.NewStream(ctx, desc, method, grpc.CallContentSubtype(codecName),
		grpc.MaxCallRecvMsgSize(MaxFrame))
	if err != nil {
		return nil, err
	}
	return &stream{rpc: cs}, nil
}

// Handler serves one circuit's stream; its return ends the stream.
type Handler func(ctx context.Context, s Stream) error

// Register puts the method on a gRPC server.
func Register(r grpc.ServiceRegistrar, h Handler) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "Circuit", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, ss grpc.ServerStream) error { return h(ss.Context(), &stream{rpc: ss}) },
		}},
	}, nil)
}
