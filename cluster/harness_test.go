package cluster

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/netfault"
	"github.com/starling-swarm/starling/internal/private"
	"github.com/starling-swarm/starling/internal/rpc"
)

// patience bounds every wait of a test; nothing depends on how long things take below it.
const patience = 30 * time.Second

// testCluster is a real cluster on loopback, in one process.
type testCluster struct {
	t      testing.TB
	file   *directory.ClusterFile
	secret [32]byte
	nodes  []*testNode
}

// testNode is one node of it, over its crashes and restarts.
type testNode struct {
	c      *testCluster
	cfg    Config
	gossip string
	faults *netfault.Switch

	node *Node
	peer *rpc.PeerListener
	stop context.CancelFunc
	done chan error
	all  sync.WaitGroup
}

func keyOf(seed string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(h[:])
}

// signingKeyOf is keyOf as a node takes it.
func signingKeyOf(seed string) private.SigningKey {
	return private.KeyOf(sha256.Sum256([]byte(seed))).Signing()
}

func publicOf(key ed25519.PrivateKey) (p [32]byte) {
	copy(p[:], key.Public().(ed25519.PublicKey))
	return p
}

// prepareCluster prepares n nodes, the first signers of which sign the directory. change may alter a node's
// Config.
func prepareCluster(t testing.TB, n, signers int, change func(i int, c *Config)) *testCluster {
	t.Helper()
	c := &testCluster{t: t, secret: sha256.Sum256([]byte("secret"))}
	var keys [][32]byte
	for i := range signers {
		keys = append(keys, publicOf(keyOf(fmt.Sprint("node", i))))
	}
	var err error
	c.file, err = directory.NewClusterFile("test", publicOf(keyOf("admin")), keys, 0,
		sha256.Sum256([]byte(t.Name())), nil)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	if os.Getenv("STARLING_TEST_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var gossips, peers []string
	for range n {
		gossips, peers = append(gossips, freePort(t)), append(peers, freePort(t))
	}
	for i := range n {
		tn := &testNode{c: c, gossip: gossips[i], faults: new(netfault.Switch)}
		tn.cfg = Config{
			Identity: signingKeyOf(fmt.Sprint("node", i)), ClusterFile: c.file, Secret: private.KeyOf(
				c.secret), BootstrapExpect: n,
			Dir: filepath.Join(t.TempDir(), fmt.Sprint("node", i)), PeerAddr: peers[i],
			ClientAddrs: []string{"127.0.0.1:1"},
			GossipBind:  gossips[i], Join: gossips, WALSegmentBytes: 1 << 20, Faults: tn.faults,
			Logger: logger.With("n", i),
		}
		if change != nil {
			change(i, &tn.cfg)
		}
		c.nodes = append(c.nodes, tn)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.crash()
		}
	})
	return c
}

// startCluster starts all nodes and waits until each is ready.
func startCluster(t testing.TB, n, signers int) *testCluster {
	t.Helper()
	c := prepareCluster(t, n, signers, nil)
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady()
	return c
}

func (c *testCluster) waitReady() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, n := range c.nodes {
		if n.node == nil {
			continue
		}
		if err := n.node.WaitReady(ctx); err != nil {
			select {
			case ended := <-n.done:
				err = errors.Join(err, ended)
			default:
			}
			c.t.Fatalf("node %d: %v", i, err)
		}
	}
}

// nextPort hands out ports below the range from which the kernel takes those of outgoing connections, so that
// no other test's connection sits on one before its node starts.
var nextPort atomic.Int32

func init() { nextPort.Store(10_000 + rand.Int32N(20_000)) }

// freePort returns a loopback address whose port is free for TCP and UDP.
func freePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+(nextPort.Add(1)-10_000)%22_000)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

func (n *testNode) start() {
	n.c.t.Helper()
	node, err := New(n.cfg)
	if err != nil {
		n.c.t.Fatal(err)
	}
	l, err := net.Listen("tcp", n.cfg.PeerAddr)
	if err != nil {
		n.c.t.Fatal(err)
	}
	n.node = node
	n.peer = rpc.NewPeerListener(n.faults.Listen(l), rpc.PeerConfig{Identity: node.Identity(),
		Trust: node.Trust})
	node.RegisterPeer(n.peer.Server())
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	done := make(chan error, 1)
	n.done = done
	serving, hangUp := context.WithCancel(context.Background())
	peer := n.peer
	n.all.Go(func() { _ = peer.Serve(serving) })
	n.all.Go(func() {
		defer hangUp()
		done <- node.Run(ctx, peer)
	})
}

// crash kills the node; start brings it back from its disk.
func (n *testNode) crash() {
	if n.node == nil {
		return
	}
	n.node.Crash()
	n.all.Wait()
	n.stop()
	n.node = nil
}

// leave stops the node in good order.
func (n *testNode) leave() error {
	n.stop()
	err := <-n.done
	n.all.Wait()
	n.node = nil
	return err
}

// mailbox is an account's mailbox in a test: the mailbox key and the authority.
type mailbox struct {
	id        ident.MailboxID
	root, own ed25519.PrivateKey
	tag       [32]byte
}

func newMailbox(name string) *mailbox {
	m := &mailbox{root: keyOf(name + " root"), own: keyOf(name + " authority")}
	m.id = publicOf(m.root)
	m.tag = sha256.Sum256([]byte(name))
	return m
}

// sign makes the bytes that Do takes at a node.
func (m *mailbox) sign(node ident.NodeID, key ed25519.PrivateKey, label string, b []byte) []byte {
	s := envelope.Signed{TimeMS: time.Now().UnixMilli(), Bytes: b}
	if key != nil {
		copy(s.Signature[:], ed25519.Sign(key, envelope.SignedBytes(label, node, m.tag, s.TimeMS, b)))
	}
	return s.Encode()
}

// do runs operations at a node, signed by key (nil: unsigned).
func (m *mailbox) do(t testing.TB, n *Node, key ed25519.PrivateKey, minSeq uint64,
	ops ...envelope.Op) *envelope.Response {
	t.Helper()
	r := &envelope.Request{Mailbox: m.id, MinSeq: minSeq, Ops: ops}
	if key != nil {
		r.Authority = publicOf(key)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := envelope.DecodeResponse(n.Do(ctx, m.tag, m.sign(n.ID(), key, envelope.LabelRequest,
		r.Encode())))
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// genesis makes the mailbox.
func (m *mailbox) genesis(t testing.TB, n *Node) {
	t.Helper()
	resp := m.do(t, n, m.root, 0, envelope.SetAuthority{Change: envelope.Genesis, Key: publicOf(m.own)},
		envelope.Store{Namespace: envelope.Certs, IfHead: new(uint64), Body: []byte("certificate")})
	if err := resp.Err(); err != nil {
		t.Fatalf("genesis: %v", err)
	}
}

// body makes the i-th message of a test.
func body(i int) []byte { return binary.BigEndian.AppendUint32([]byte("message "), uint32(i)) }

// send stores a message from anybody and returns its sequence number.
func (m *mailbox) send(t testing.TB, n *Node, i int) uint64 {
	t.Helper()
	resp := m.do(t, n, nil, 0, envelope.Store{Namespace: envelope.Inbox, TTL: 3600, Body: body(i)})
	if err := resp.Err(); err != nil {
		t.Fatalf("store %d: %v", i, err)
	}
	return resp.Results[0].Seq
}

// fetch reads the inbox at a node.
func (m *mailbox) fetch(t testing.TB, n *Node, minSeq uint64) []envelope.Envelope {
	t.Helper()
	resp := m.do(t, n, m.own, minSeq, envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.Inbox}})
	if err := resp.Err(); err != nil {
		t.Fatalf("retrieve: %v", err)
	}
	return resp.Results[0].Envelopes
}

// replicasOf returns the test nodes that host the mailbox, the leader first.
func (c *testCluster) replicasOf(m *mailbox) (out []*testNode) {
	c.t.Helper()
	var d *directory.Directory
	for _, n := range c.nodes {
		if n.node != nil {
			d, _ = n.node.Directory()
			break
		}
	}
	w, ok := d.SwarmOf(m.id)
	if !ok {
		c.t.Fatal("no swarm")
	}
	var leader ident.NodeID
	for _, n := range c.nodes {
		if n.node == nil {
			continue
		}
		if r := n.node.replica(w.ID); r != nil {
			leader, _ = r.group.Leader()
			break
		}
	}
	for _, n := range c.nodes {
		if n.node == nil || !contains(w.Replicas, n.node.ID()) {
			continue
		}
		if n.node.ID() == leader {
			out = append([]*testNode{n}, out...)
		} else {
			out = append(out, n)
		}
	}
	return out
}
