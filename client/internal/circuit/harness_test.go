package circuit

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
	"github.com/starling-swarm/starling/internal/rpc"
	"github.com/starling-swarm/starling/onionrouter"
	pb "github.com/starling-swarm/starling/proto/starling/v1"
)

// mailboxes is the storage behind all test nodes: what a swarm would keep, in memory.
type mailboxes struct {
	mu     sync.Mutex
	logs   map[ident.MailboxID][]envelope.Envelope
	grown  chan struct{} // closed and replaced with every store
	subs   int           // at work now
	pushed int           // envelopes handed to subscriptions
	answer func(node ident.NodeID, r *envelope.Request) *envelope.Response
	hold   chan struct{} // non-nil: requests wait for it
	served map[ident.NodeID]int
	stopAt error // non-nil: subscriptions end with it at once
}

func newMailboxes() *mailboxes {
	return &mailboxes{logs: map[ident.MailboxID][]envelope.Envelope{}, grown: make(chan struct{}),
		served: map[ident.NodeID]int{}}
}

// storage is mailboxes as one node serves them.
type storage struct {
	*mailboxes
	node ident.NodeID
}

func refusal(e *fault.Error) []byte {
	return (&envelope.Response{Failed: 0, Results: []envelope.Result{{Err: e}}}).Encode()
}

func (s storage) Do(ctx context.Context, tag [32]byte, signed []byte) []byte {
	s.mu.Lock()
	hold := s.hold
	s.served[s.node]++
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	sg, err := envelope.DecodeSigned(signed)
	if err != nil {
		return refusal(fault.New(fault.Invalid, "", "signed"))
	}
	r, err := envelope.DecodeRequest(sg.Bytes)
	if err != nil {
		return refusal(fault.New(fault.Invalid, "", "request"))
	}
	if r.Authority != [32]byte{} && !sg.Verify(envelope.LabelRequest, r.Authority, s.node, tag) {
		return refusal(fault.New(fault.Unauthenticated, "", "signature"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil {
		if resp := s.answer(s.node, r); resp != nil {
			return resp.Encode()
		}
	}
	out := envelope.Response{Failed: -1}
	for _, op := range r.Ops {
		out.Results = append(out.Results, s.apply(r.Mailbox, op))
	}
	return out.Encode()
}

func (s storage) apply(m ident.MailboxID, op envelope.Op) (res envelope.Result) {
	switch op := op.(type) {
	case envelope.Store:
		e := envelope.Envelope{Seq: uint64(len(s.logs[m]) + 1), Namespace: op.Namespace, Key: op.Key,
			Body: slices.Clone(op.Body)}
		for _, have := range s.logs[m] {
			if string(have.Body) == string(e.Body) {
				return envelope.Result{Seq: have.Seq, Existed: true}
			}
		}
		s.logs[m] = append(s.logs[m], e)
		close(s.grown)
		s.grown = make(chan struct{})
		res.Seq = e.Seq
	case envelope.Retrieve:
		for _, e := range s.logs[m] {
			if e.Seq > op.After {
				res.Envelopes, res.Seq = append(res.Envelopes, e), e.Seq
			}
		}
	default:
		res.Err = fault.New(fault.Invalid, "", "operation")
	}
	return res
}

func (s storage) Subscribe(ctx context.Context, tag [32]byte, signed []byte,
	send func(uint64, []byte) error) error {
	sg, err := envelope.DecodeSigned(signed)
	if err != nil {
		return err
	}
	sub, err := envelope.DecodeSubscribe(sg.Bytes)
	if err != nil {
		return err
	}
	if sub.Authority != [32]byte{} && !sg.Verify(envelope.LabelSubscribe, sub.Authority, s.node, tag) {
		return fault.New(fault.Denied, "", "signature")
	}
	s.mu.Lock()
	s.subs++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.subs--
		s.mu.Unlock()
	}()
	for next := sub.Cursor; ; {
		s.mu.Lock()
		log, grown, stop := s.logs[sub.Mailbox], s.grown, s.stopAt
		s.mu.Unlock()
		if stop != nil {
			return stop
		}
		for ; next < uint64(len(log)); next++ {
			e := log[next]
			if err := send(e.Seq, e.Encode()); err != nil {
				return err
			}
			s.mu.Lock()
			s.pushed++
			s.mu.Unlock()
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// testNode is one node of a test cluster: both listeners on loopback and a router.
type testNode struct {
	id     ident.NodeID
	key    private.SigningKey
	dir    string
	peer   string // addresses, kept over restarts
	client string

	router *onionrouter.Router
	refuse func(ident.NodeID) bool // the relay pretends that these nodes are out of reach
	mute   bool                    // the relay reaches nobody and only notices when its time is over
	stop   context.CancelFunc      // nil: not running
	done   chan struct{}
	peers  *rpc.PeerListener
	guests *rpc.ClientListener
}

// testCluster is a set of nodes with a signed directory and one in-memory storage.
type testCluster struct {
	t       testing.TB
	file    *directory.ClusterFile
	admin   private.SigningKey
	nodes   []*testNode
	boxes   *mailboxes
	fetches int

	mu     sync.Mutex
	dir    *directory.Directory
	signed *directory.Signed
	digest [32]byte
	serve  *directory.Signed // what clients are given; nil: signed
}

func newKey(t testing.TB) private.SigningKey {
	t.Helper()
	seed, err := private.Draw(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return seed.Signing()
}

// startCluster runs n nodes, of which every swarm has the given replicas (indexes).
func startCluster(t testing.TB, n int, swarms ...[]int) *testCluster {
	t.Helper()
	c := &testCluster{t: t, boxes: newMailboxes()}
	c.admin = newKey(t)
	var boot []directory.Bootstrap
	for range n {
		key := newKey(t)
		pub := key.Public()
		node := &testNode{id: ident.NodeIDOf(pub[:]), key: key, dir: t.TempDir(), peer: "127.0.0.1:0",
			client: "127.0.0.1:0"}
		c.nodes = append(c.nodes, node)
	}
	slices.SortFunc(c.nodes, func(a, b *testNode) int { return slices.Compare(a.id[:], b.id[:]) })
	for _, node := range c.nodes {
		c.start(node)
		boot = append(boot, directory.Bootstrap{NodeID: node.id, ClientAddrs: []string{node.client}})
	}
	pub := c.admin.Public()
	file, err := directory.NewClusterFile("test", pub, [][32]byte{pub}, 1, [32]byte{1}, boot)
	if err != nil {
		t.Fatal(err)
	}
	c.file = file
	c.publish(func(d *directory.Directory) {
		for i, replicas := range swarms {
			s := directory.Swarm{ID: ident.SwarmID(i + 1), Config: 1}
			for _, r := range replicas {
				s.Replicas = append(s.Replicas, c.nodes[r].id)
			}
			slices.SortFunc(s.Replicas, func(a, b ident.NodeID) int { return slices.Compare(a[:], b[:]) })
			d.Swarms = append(d.Swarms, s)
			d.Slots = append(d.Slots, directory.SlotRange{
				First: ident.Slot(i * ident.SlotCount / len(swarms)),
				Last:  ident.Slot((i+1)*ident.SlotCount/len(swarms) - 1),
				Swarm: s.ID, Config: 1,
			})
		}
	})
	t.Cleanup(func() {
		for _, node := range c.nodes {
			c.crash(node)
		}
	})
	return c
}

// start runs a node, on the addresses it had before if it ran before.
func (c *testCluster) start(n *testNode) {
	c.t.Helper()
	identity, err := rpc.NewIdentity(n.key)
	if err != nil {
		c.t.Fatal(err)
	}
	peer, client := listen(c.t, n.peer), listen(c.t, n.client)
	if n.peer != peer.Addr().String() { // not after a crash: it keeps its addresses, and others read them
		n.peer, n.client = peer.Addr().String(), client.Addr().String()
	}
	dialer := rpc.NewPeerDialer(identity, nil)
	var mu sync.Mutex
	conns := map[ident.NodeID]*grpc.ClientConn{}
	n.router, err = onionrouter.New(onionrouter.Config{
		Self: n.id, Dir: filepath.Join(n.dir, "onion"), Storage: storage{c.boxes, n.id}, Directory: c,
		DialPeer: func(ctx context.Context, id ident.NodeID) (grpc.ClientConnInterface, error) {
			c.mu.Lock()
			refuse, mute := n.refuse, n.mute
			c.mu.Unlock()
			if mute {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			if refuse != nil && refuse(id) {
				return nil, errors.New("no")
			}
			if cc := conns[id]; cc != nil {
				return cc, nil
			}
			cc, err := dialer.GRPC(id, func() (string, error) { return c.peerAddr(id) })
			conns[id] = cc
			return cc, err
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	n.peers = rpc.NewPeerListener(peer, rpc.PeerConfig{Identity: identity,
		Trust: func(ident.NodeID) rpc.Trust { return rpc.Member }})
	n.guests = rpc.NewClientListener(client, rpc.ClientConfig{Identity: identity})
	n.router.RegisterPeer(n.peers.Server())
	n.router.RegisterClient(n.guests.Server())
	pb.RegisterClientsServer(n.guests.Server(), guests{c: c})
	ctx, cancel := context.WithCancel(context.Background())
	n.stop, n.done = cancel, make(chan struct{})
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{n.router.Run, n.peers.Serve, n.guests.Serve} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				c.t.Errorf("node %s: %v", n.id.Short(), err)
			}
		})
	}
	go func() {
		wg.Wait()
		for _, cc := range conns {
			_ = cc.Close()
		}
		close(n.done)
	}()
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// crash ends a node and all its connections.
func (c *testCluster) crash(n *testNode) {
	if n.stop == nil {
		return
	}
	n.stop()
	n.guests.Close()
	n.peers.Close()
	<-n.done
	n.stop = nil
}

func (c *testCluster) node(id ident.NodeID) *testNode {
	for _, n := range c.nodes {
		if n.id == id {
			return n
		}
	}
	c.t.Fatalf("no node %s", id.Short())
	return nil
}

func (c *testCluster) peerAddr(id ident.NodeID) (string, error) {
	for _, n := range c.nodes {
		if n.id == id {
			return n.peer, nil
		}
	}
	return "", errors.New("unknown node")
}

// publish makes a new version of the directory.
func (c *testCluster) publish(change func(*directory.Directory)) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	d := directory.Directory{Version: 1, Cluster: c.file.ID}
	if c.dir != nil {
		d = *c.dir
		d.Version++
		d.Previous = c.digest
	}
	d.IssuedAt = time.Now().UnixMilli()
	d.ValidUntil = time.Now().Add(directory.Validity).UnixMilli()
	d.Nodes = nil
	for _, n := range c.nodes {
		d.Nodes = append(d.Nodes, directory.Node{
			ID: n.id, Key: n.key.Public(),
			Roles: directory.RoleStorage | directory.RoleRelay | directory.RoleDirectory,
			State: directory.Alive, Incarnation: 1, Weight: 100, PeerAddr: n.peer,
			ClientAddrs: []string{n.client}, OnionKeys: n.router.OnionKeys(),
		})
	}
	if change != nil {
		change(&d)
	}
	body, err := d.Encode()
	if err != nil {
		c.t.Fatal(err)
	}
	c.dir, c.digest = &d, directory.Digest(body)
	c.signed = &directory.Signed{Body: body,
		Signatures: []directory.Signature{{Sig: directory.Sign(c.admin, body)}}}
}

// Current is what the relays go by.
func (c *testCluster) Current() (*directory.Directory, [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dir, c.digest
}

// guests serves the directory to clients.
type guests struct {
	pb.UnimplementedClientsServer
	c *testCluster
}

func (g guests) Directory(_ context.Context, r *pb.DirectoryRequest) (*pb.DirectoryResponse, error) {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	g.c.fetches++
	s := g.c.signed
	if g.c.serve != nil {
		s = g.c.serve
	}
	d, err := directory.Decode(s.Body)
	if err != nil {
		return nil, err
	}
	resp := &pb.DirectoryResponse{NodeTimeMs: time.Now().UnixMilli(), Version: d.Version}
	if d.Version > r.GetNewerThan() || g.c.serve != nil {
		resp.SignedDirectory = s.Encode()
	}
	return resp, nil
}

// mailboxIn returns a mailbox that a swarm of the cluster stores.
func (c *testCluster) mailboxIn(swarm int, nth byte) ident.MailboxID {
	d, _ := c.Current()
	for i := range uint32(1 << 16) {
		m := ident.MailboxID{nth}
		binary.BigEndian.PutUint32(m[1:], i)
		if s, ok := d.SwarmOf(m); ok && s.ID == ident.SwarmID(swarm+1) {
			return m
		}
	}
	c.t.Fatal("no mailbox found")
	return ident.MailboxID{}
}

// connect runs a Network for a profile directory until the test ends or the returned function is called.
func (c *testCluster) connect(dir string, own ident.MailboxID, change func(*Config)) (*Network, func()) {
	c.t.Helper()
	cfg := Config{Cluster: c.file, Dir: dir, Mailbox: own}
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("network: %v", err)
		}
	})
	c.t.Cleanup(stop)
	return n, stop
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func unsigned(_ ident.NodeID, _ [32]byte, timeMS int64, _ string, b []byte) envelope.Signed {
	return envelope.Signed{TimeMS: timeMS, Bytes: b}
}

func storeOf(m ident.MailboxID, body string) []byte {
	return (&envelope.Request{Mailbox: m, Ops: []envelope.Op{envelope.Store{Namespace: envelope.Inbox,
		TTL: 60, Body: []byte(body)}}}).Encode()
}
