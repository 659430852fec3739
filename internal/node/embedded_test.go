package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

func TestClusterSurvivesACrashAndTakesTheNodeBack(t *testing.T) {
	c := swarmtest.Start(t, node.EmbeddedConfig{Nodes: 3})
	before := c.Nodes()[1]
	c.Crash(t, 1)
	if c.Nodes()[1].Running {
		t.Error("node 1 still runs after its crash")
	}
	if err := c.Embedded.Crash(1); !errors.Is(err, fault.NotFound) {
		t.Errorf("second crash: got %v, want NotFound", err)
	}
	c.WaitReady(t)
	c.Restart(t, 1)
	if after := c.Nodes()[1]; after != before {
		t.Errorf("after restart: got %+v, want %+v", after, before)
	}
	if err := c.Embedded.Restart(t.Context(), 1); !errors.Is(err, fault.Exists) {
		t.Errorf("restart of a node that runs: got %v, want Exists", err)
	}
	if i, ok := c.Index(before.ID); !ok || i != 1 {
		t.Errorf("index of node 1: got %d, %v", i, ok)
	}
}

func TestClusterGoesOnFromItsDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("starts more clusters")
	}
	dir := t.TempDir()
	start := func() *node.Embedded {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		e, err := node.StartEmbedded(ctx, node.EmbeddedConfig{Nodes: 3, Dir: dir, NoOps: true})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	first := start()
	s, err := first.Status(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start()
	defer second.Close()
	if got, want := second.ClusterFile().ID, first.ClusterFile().ID; got != want {
		t.Errorf("got cluster %s, want %s", got, want)
	}
	again, err := second.Status(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if again.DirectoryVersion < s.DirectoryVersion || len(again.Swarms) != len(s.Swarms) {
		t.Errorf("got directory version %d with %d swarms, want at least %d with %d", again.DirectoryVersion,
			len(again.Swarms), s.DirectoryVersion, len(s.Swarms))
	}
}

func TestTemporaryClusterLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := node.StartEmbedded(ctx, node.EmbeddedConfig{Nodes: 3, NoOps: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func get(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	res, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestOpsListenerTellsTheStateOfTheNode(t *testing.T) {
	c := swarmtest.Start(t, node.EmbeddedConfig{Nodes: 3, Name: "ops <test>"})
	self := c.Nodes()[0]
	for _, tt := range []struct {
		path  string
		wants []string
	}{
		{"/livez", []string{"ok"}},
		{"/readyz", []string{"ok"}},
		{"/readyz?verbose", []string{"[+] running ok", "[+] directory ok", "[+] cluster ok"}},
		{"/metrics", []string{"swarmd_ready 1", `swarmd_nodes{reachable="yes",state="alive"} 3`,
			`swarmd_swarm_has_leader{swarm="0"} 1`, "swarmd_build_info{", "go_goroutines"}},
		{"/", []string{"ops &lt;test&gt;", "✓ ready", self.ID.Short(), self.ClientAddr, "directory",
			"swarm 1", `http-equiv="refresh"`}},
	} {
		code, body := get(t, self.OpsAddr, tt.path)
		if code != http.StatusOK {
			t.Errorf("%s: got status %d", tt.path, code)
		}
		for _, want := range tt.wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q:\n%s", tt.path, want, body)
			}
		}
		if strings.Contains(body, "<script") {
			t.Errorf("%s holds a script", tt.path)
		}
	}
	if code, _ := get(t, self.OpsAddr, "/etc"); code != http.StatusNotFound {
		t.Errorf("unknown path: got status %d, want 404", code)
	}

	var s node.Status
	_, body := get(t, self.OpsAddr, "/status.json")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Nodes) != 3 || s.Node != self.ID.String() || !s.Ready {
		t.Errorf("got %d nodes, self %s, ready %v; want 3, %s, true", len(s.Nodes), s.Node, s.Ready, self.ID)
	}

	// Two of three are gone: alive still, ready no more.
	c.Crash(t, 1)
	c.Crash(t, 2)
	if code, _ := get(t, self.OpsAddr, "/livez"); code != http.StatusOK {
		t.Errorf("/livez without a quorum: got status %d, want 200", code)
	}
	for code := 0; code != http.StatusServiceUnavailable; {
		code, body = get(t, self.OpsAddr, "/readyz?verbose")
		if t.Context().Err() != nil {
			t.Fatal("still ready without a quorum")
		}
	}
	if !strings.Contains(body, "[-] cluster: ") {
		t.Errorf("/readyz?verbose does not say what is missing:\n%s", body)
	}
}

// process starts the nodes of a provisioned cluster one by one, as swarmd run does.
func process(t *testing.T, change func(*node.Config)) (nodes []*node.Node, stop func()) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "c")
	base := 0
	for base == 0 { // any free block will do
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if p := l.Addr().(*net.TCPAddr).Port; p < 65_000 {
			base = p + 1
		}
		l.Close()
	}
	plan := node.Plan{Name: "p", Nodes: 3, Out: out, Shape: node.Procs, BasePort: base}
	if _, _, err := node.Provision(plan); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 3)
	for i := 1; i <= 3; i++ {
		l, err := node.Load(node.Layers{File: filepath.Join(plan.NodeDir(i), "swarmd.yaml")})
		if err != nil {
			t.Fatal(err)
		}
		change(&l.Config)
		n, err := node.New(l.Config, node.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
		go func() { done <- n.Run(ctx) }()
	}
	for _, n := range nodes {
		wait, stopWait := context.WithTimeout(t.Context(), time.Minute)
		defer stopWait()
		if err := n.WaitReady(wait); err != nil {
			cancel()
			t.Fatal(err)
		}
	}
	return nodes, func() {
		cancel()
		for range nodes {
			if err := <-done; err != nil {
				t.Errorf("node ended with %v, want nil after it was told to stop", err)
			}
		}
	}
}

func TestAdminSocketCutsAndHealsOnlyWhereTestsMay(t *testing.T) {
	sockets := t.TempDir()
	next := 0
	nodes, stop := process(t, func(c *node.Config) {
		next++
		c.TestFaults = next == 1
		c.AdminSocket = filepath.Join(sockets, fmt.Sprintf("%d.sock", next))
	})
	defer stop()
	may, mayNot := node.DialAdmin(nodes[0].Config().AdminSocket),
		node.DialAdmin(nodes[1].Config().AdminSocket)
	if err := mayNot.SetFault(t.Context(), node.Fault{Cut: true}); !errors.Is(err, fault.Denied) {
		t.Errorf("without test_faults: got %v, want Denied", err)
	}
	if err := may.SetFault(t.Context(), node.Fault{Loss: 2}); !errors.Is(err, fault.Invalid) {
		t.Errorf("loss of 200 %%: got %v, want Invalid", err)
	}
	for _, cut := range []bool{true, false} {
		if err := may.SetFault(t.Context(), node.Fault{Cut: cut}); err != nil {
			t.Fatal(err)
		}
		s, err := may.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Cut != cut {
			t.Errorf("got cut %v, want %v", s.Cut, cut)
		}
	}
	info, err := os.Stat(nodes[0].Config().AdminSocket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin socket: got %v, %v; want mode 0600", info.Mode(), err)
	}
	wait, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := nodes[0].WaitReady(wait); err != nil {
		t.Errorf("after healing: %v", err)
	}
}

func TestStoppedNodeIsNotReady(t *testing.T) {
	if testing.Short() {
		t.Skip("starts more clusters")
	}
	nodes, stop := process(t, func(c *node.Config) { c.AdminSocket = "" })
	stop()
	if err := nodes[0].Ready(); !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want Unavailable", err)
	}
	if _, err := node.DialAdmin("/nonexistent/admin.sock").Status(t.Context()); !errors.Is(err,
		fault.Unavailable) {
		t.Errorf("no socket: got %v, want Unavailable", err)
	}
}
