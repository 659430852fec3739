package onionrouter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"

	"github.com/starling-swarm/starling/internal/cellstream"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/onionrouter/onion"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a storage that answers a request with its own bytes and pushes to subscriptions what push holds.
type echo struct {
	push  chan string
	ended chan struct{} // gets one value for every subscription that ends
}

func (e *echo) Do(_ context.Context, tag [32]byte, signed []byte) []byte {
	return append(tag[:], signed...)
}

func (e *echo) Subscribe(ctx context.Context, _ [32]byte, _ []byte, send func(uint64, []byte) error) error {
	defer func() { e.ended <- struct{}{} }()
	for seq := uint64(1); ; seq++ {
		select {
		case text := <-e.push:
			if text == "end" {
				return fault.New(fault.Denied, "secret", "the authority changed")
			}
			if text == "fail" {
				return errors.New("disk 7 is on fire")
			}
			if err := send(seq, []byte(text)); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// testNode is a router behind two plain gRPC servers on loopback.
type testNode struct {
	id           ident.NodeID
	dir          string
	router       *Router
	peer, client string
	stop         func()
}

// testNet is a line of nodes that know each other. It also sees the size of every frame on every link.
type testNet struct {
	t     testing.TB
	nodes []*testNode
	store *echo
	now   func() time.Time

	mu    sync.Mutex
	sizes map[int]int
}

func startNet(t testing.TB, n int, change func(i int, c *Config)) *testNet {
	t.Helper()
	net := &testNet{t: t, store: &echo{push: make(chan string), ended: make(chan struct{}, 100)},
		now: time.Now, sizes: map[int]int{}}
	for i := range n {
		node := &testNode{id: ident.NodeIDOf([]byte{byte(i)}), dir: t.TempDir()}
		net.nodes = append(net.nodes, node)
		net.start(i, change)
	}
	t.Cleanup(func() {
		for _, n := range net.nodes {
			n.stop()
		}
	})
	return net
}

func (n *testNet) start(i int, change func(int, *Config)) {
	n.t.Helper()
	node := n.nodes[i]
	var mu sync.Mutex
	conns := map[ident.NodeID]*grpc.ClientConn{}
	cfg := Config{
		Self: node.id, Dir: node.dir, Storage: n.store, Directory: noDirectory{},
		Now: func() time.Time { return n.now() },
		DialPeer: func(_ context.Context, id ident.NodeID) (grpc.ClientConnInterface, error) {
			mu.Lock()
			defer mu.Unlock()
			if conns[id] == nil {
				for _, m := range n.nodes {
					if m.id == id {
						conns[id] = n.dial(m.peer)
						return conns[id], nil
					}
				}
				return nil, errors.New("unknown node")
			}
			return conns[id], nil
		},
	}
	if change != nil {
		change(i, &cfg)
	}
	r, err := New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	node.router = r
	peer, client := grpc.NewServer(), grpc.NewServer()
	r.RegisterPeer(peer)
	r.RegisterClient(client)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			n.t.Error(err)
		}
	})
	for _, s := range []struct {
		server *grpc.Server
		addr   *string
	}{{peer, &node.peer}, {client, &node.client}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			n.t.Fatal(err)
		}
		*s.addr = l.Addr().String()
		wg.Go(func() { _ = s.server.Serve(l) })
	}
	node.stop = sync.OnceFunc(func() {
		cancel()
		peer.Stop()
		client.Stop()
		wg.Wait()
		for _, c := range conns {
			_ = c.Close()
		}
	})
}

func (n *testNet) dial(addr string) *grpc.ClientConn {
	cc, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(n))
	if err != nil {
		n.t.Fatal(err)
	}
	return cc
}

// The methods of stats.Handler count frames by size.
func (n *testNet) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (n *testNet) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (n *testNet) HandleConn(context.Context, stats.ConnStats)                       {}
func (n *testNet) HandleRPC(_ context.Context, s stats.RPCStats) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch p := s.(type) {
	case *stats.InPayload:
		n.sizes[p.Length]++
	case *stats.OutPayload:
		n.sizes[p.Length]++
	}
}

type noDirectory struct{}

func (noDirectory) Current() (*directory.Directory, [32]byte) { return nil, [32]byte{7} }

// params returns a circuit through the nodes with the given indexes.
func (n *testNet) params(path ...int) onion.Params {
	n.t.Helper()
	p := onion.Params{Class: onion.MSG, Bucket: onion.BucketOf(n.now()), Lifetime: 3600}
	for j, i := range path {
		k := n.nodes[i].router.OnionKeys()[0]
		pub, err := onion.ParsePublic(k.Key[:])
		if err != nil {
			n.t.Fatal(err)
		}
		p.Hops[j] = onion.HopKey{Node: n.nodes[i].id, Period: k.Period, Key: pub}
	}
	return p
}

// rawClient is a client's end of one stream, with nothing done by itself.
type rawClient struct {
	t       testing.TB
	s       cellstream.Stream
	circuit *onion.Circuit
	cancel  context.CancelFunc
}

// open opens a stream to a node's client listener.
func (n *testNet) open(node int) *rawClient { return n.openAt(n.nodes[node].client) }

func (n *testNet) openAt(addr string) *rawClient {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cc := n.dial(addr)
	n.t.Cleanup(func() {
		cancel()
		_ = cc.Close()
	})
	s, err := cellstream.Open(ctx, cc)
	if err != nil {
		n.t.Fatal(err)
	}
	return &rawClient{t: n.t, s: s, cancel: cancel}
}

// create builds a circuit and returns what Finish says.
func (n *testNet) create(p onion.Params, guard int) (*rawClient, []onion.Answer, error) {
	n.t.Helper()
	pending, packet, err := onion.Build(rand.Reader, p)
	if err != nil {
		n.t.Fatal(err)
	}
	c := n.open(guard)
	c.send(packet)
	f, err := c.s.Recv()
	if err != nil {
		return c, nil, err
	}
	defer cellstream.Put(f)
	var answers []onion.Answer
	c.circuit, answers, err = pending.Finish(*f)
	return c, answers, err
}

func (n *testNet) mustCreate(path ...int) *rawClient {
	n.t.Helper()
	c, _, err := n.create(n.params(path...), path[0])
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (c *rawClient) send(b []byte) {
	f := cellstream.Get(len(b))
	copy(*f, b)
	_ = c.s.Send(f) // what came of it shows in Recv
}

func (c *rawClient) cell(hop int, p onion.Payload) []byte {
	b := make([]byte, onion.CellSize)
	p.Put(c.circuit.Payload(b, hop))
	c.circuit.Seal(b, hop)
	return b
}

func (c *rawClient) say(hop int, p onion.Payload) { c.send(c.cell(hop, p)) }

// hear returns the next payload and the hop that speaks.
func (c *rawClient) hear() (int, onion.Payload, error) {
	f, err := c.s.Recv()
	if err != nil {
		return 0, onion.Payload{}, err
	}
	hop, b, err := c.circuit.Open(*f)
	if err != nil {
		return hop, onion.Payload{}, fmt.Errorf("cell of hop %d: %w", hop, err)
	}
	p, err := onion.DecodePayload(b)
	return hop, p, err
}

// message sends a whole message.
func (c *rawClient) message(cmd onion.Command, stream uint16, body []byte) {
	c.t.Helper()
	m, err := onion.NewMessage(cmd, stream, false, body)
	if err != nil {
		c.t.Fatal(err)
	}
	for m.Left() > 0 {
		b := make([]byte, onion.CellSize)
		m.Next(c.circuit.Payload(b, onion.Hops))
		c.circuit.Seal(b, onion.Hops)
		c.send(b)
	}
}

// hearMessage returns the next message from the storage node.
func (c *rawClient) hearMessage() onion.Received {
	c.t.Helper()
	var asm onion.Reassembler
	for {
		hop, p, err := c.hear()
		if err != nil || hop != onion.Hops {
			c.t.Fatalf("hop %d: %v", hop, err)
		}
		m, done, err := asm.Add(p)
		if err != nil {
			c.t.Fatal(err)
		}
		if done {
			return m
		}
	}
}
