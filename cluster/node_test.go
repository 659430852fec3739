package cluster

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
)

func TestOnionKeysReachEveryDirectory(t *testing.T) {
	t.Parallel()
	c := prepareCluster(t, 4, 3, nil)
	keys := []directory.OnionKey{{Period: 7, Key: [directory.OnionKeySize]byte{1}}, {Period: 8}}
	for _, n := range c.nodes {
		n.start()
		if err := n.node.PublishOnionKeys(t.Context(), keys[:1]); err != nil &&
			!errors.Is(err, fault.Unavailable) {
			t.Fatal(err)
		}
	}
	c.waitReady()
	if err := c.nodes[3].node.PublishOnionKeys(t.Context(), keys); err != nil { // not a signer
		t.Fatal(err)
	}
	for i, n := range c.nodes {
		waitFor(t, n.node, func(d *directory.Directory) bool {
			e, ok := d.Node(c.nodes[3].node.ID())
			return ok && len(e.OnionKeys) == 2 && e.OnionKeys[0].Key[0] == 1
		}, "node %d: keys of node 3", i)
	}
	if err := c.nodes[0].node.PublishOnionKeys(t.Context(), []directory.OnionKey{{Period: 2},
		{Period: 1}}); !errors.Is(err, fault.Invalid) {
		t.Errorf("periods that fall: got %v, want invalid", err)
	}
}

func waitFor(t *testing.T, n *Node, ok func(*directory.Directory) bool, format string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for after := uint64(0); ; {
		d, _, err := n.WatchDirectory(ctx, after)
		if err != nil {
			t.Fatalf(format+": %v", append(args, err)...)
		}
		if ok(d) {
			return
		}
		after = d.Version
	}
}

func TestClientsFetchTheDirectoryFromALink(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 3)
	n := c.nodes[0].node
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cl := rpc.NewClientListener(l, rpc.ClientConfig{Identity: n.Identity()})
	n.RegisterClient(cl.Server())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cl.Serve(ctx) }()
	defer func() { cancel(); <-done }()
	conn, err := rpc.DialNode(n.ID(), []string{l.Addr().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	file, err := rpc.FetchClusterFile(t.Context(), conn)
	if err != nil || file.ID != c.file.ID {
		t.Fatalf("cluster file: got %v, %v", file, err)
	}
	signed, at, err := rpc.FetchDirectory(t.Context(), conn, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := file.Verify(signed)
	if err != nil || len(d.Swarms) != 3 {
		t.Errorf("directory: got %v, %v; want 3 swarms", d, err)
	}
	if stale, err := d.CheckTime(at); stale || err != nil {
		t.Errorf("node time %s is not within the directory's validity: %v", at, err)
	}
	if again, _, err := rpc.FetchDirectory(t.Context(), conn, d.Version); again != nil || err != nil {
		t.Errorf("nothing newer: got %v, %v", again, err)
	}
	h, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || h.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: got %v, %v; want serving", h, err)
	}
}

func TestStatusShowsEveryNodeAndSwarm(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 3)
	s := c.nodes[1].node.Status(t.Context())
	if len(s.Nodes) != 3 || len(s.Swarms) != 4 || s.DiskBytes == 0 || s.DirectoryVersion == 0 {
		t.Fatalf("got %d nodes, %d groups, %d bytes, version %d", len(s.Nodes), len(s.Swarms), s.DiskBytes,
			s.DirectoryVersion)
	}
	slots := 0
	for _, w := range s.Swarms {
		slots += w.Slots
		if w.Leader.IsZero() || len(w.Replicas) != 3 {
			t.Errorf("group %s: got leader %v and %d replicas, want one and 3", w.ID, w.Leader.Short(),
				len(w.Replicas))
		}
	}
	if slots != 4096 || len(s.Problems) != 0 {
		t.Errorf("got %d slots and problems %v, want 4096 and none", slots, s.Problems)
	}
	dead := c.nodes[2].node.ID()
	c.nodes[2].crash()
	s = c.nodes[1].node.Status(t.Context())
	if len(s.Problems) == 0 || s.Problems[0].Try == "" {
		t.Errorf("got problems %v, want the node that does not answer, with what to type", s.Problems)
	}
	for _, n := range s.Nodes {
		if n.Reachable == (n.ID == dead) {
			t.Errorf("node %s: got reachable %v", n.ID.Short(), n.Reachable)
		}
	}
}

func TestDoRefuses(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 5, 3)
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	m.genesis(t, replicas[0].node)
	n := replicas[1].node
	read := (&envelope.Request{Mailbox: m.id, Authority: publicOf(m.own),
		Ops: []envelope.Op{envelope.Info{}}}).Encode()
	ask := func(n *Node, tag [32]byte, signed []byte) *fault.Error {
		resp, err := envelope.DecodeResponse(n.Do(t.Context(), tag, signed))
		if err != nil {
			t.Fatal(err)
		}
		e, _ := resp.Err().(*fault.Error)
		return e
	}
	late := envelope.Signed{TimeMS: time.Now().Add(-2 * time.Minute).UnixMilli(), Bytes: read}
	for name, c := range map[string]struct {
		signed []byte
		tag    [32]byte
		kind   fault.Kind
	}{
		"garbage":       {[]byte("x"), m.tag, fault.Invalid},
		"empty request": {m.sign(n.ID(), m.own, envelope.LabelRequest, nil), m.tag, fault.Invalid},
		"time off":      {late.Encode(), m.tag, fault.Unauthenticated},
		"other circuit": {m.sign(n.ID(), m.own, envelope.LabelRequest, read), [32]byte{},
			fault.Unauthenticated},
		"for other node": {m.sign(replicas[0].node.ID(), m.own, envelope.LabelRequest, read), m.tag,
			fault.Unauthenticated},
		"by a stranger": {m.sign(n.ID(), keyOf("stranger"), envelope.LabelRequest, read), m.tag,
			fault.Unauthenticated},
		"wrong label": {m.sign(n.ID(), m.own, envelope.LabelSubscribe, read), m.tag,
			fault.Unauthenticated},
		"as it should be": {m.sign(n.ID(), m.own, envelope.LabelRequest, read), m.tag, 0},
	} {
		if e := ask(n, c.tag, c.signed); e == nil && c.kind != 0 || e != nil && e.Kind != c.kind {
			t.Errorf("%s: got %v, want kind %v", name, e, c.kind)
		}
	}
	for _, other := range c.nodes {
		if contains(nodeIDs(replicas), other.node.ID()) {
			continue
		}
		e := ask(other.node, m.tag, m.sign(other.node.ID(), m.own, envelope.LabelRequest, read))
		if e == nil || e.Kind != fault.WrongSwarm || e.Version == 0 {
			t.Errorf("node without a replica: got %v, want wrong swarm with a version", e)
		}
	}
}

func nodeIDs(nodes []*testNode) (ids []ident.NodeID) {
	for _, n := range nodes {
		ids = append(ids, n.node.ID())
	}
	return ids
}

func TestNodeThatDoesNotRunAnswersUnavailable(t *testing.T) {
	t.Parallel()
	c := prepareCluster(t, 1, 1, nil)
	n, err := New(c.nodes[0].cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := newMailbox("alice")
	if err := m.do(t, n, m.own, 0, envelope.Info{}).Err(); !errors.Is(err, fault.Unavailable) {
		t.Errorf("do: got %v, want unavailable", err)
	}
	if err := n.Ready(); !errors.Is(err, fault.Unavailable) {
		t.Errorf("ready: got %v, want unavailable", err)
	}
}

func TestOneNodeIsACluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1)
	m := newMailbox("alice")
	m.genesis(t, c.nodes[0].node)
	m.send(t, c.nodes[0].node, 1)
	if got := m.fetch(t, c.nodes[0].node, 0); len(got) != 1 {
		t.Errorf("got %d messages, want 1", len(got))
	}
}

func TestConfigReportsEveryProblemAtOnce(t *testing.T) {
	_, err := New(Config{})
	for _, want := range []string{"identity", "cluster file", "secret", "data directory", "bootstrap_expect",
		"peer address"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name the %s", err, want)
		}
	}
}
