// Package e2e plays whole stories with the real commands: several devices of one account and somebody else,
// against a cluster whose nodes die and lose their network.
//
// A story is written once, over Shape, and runs against a cluster in this process, against separate processes
// on loopback, and against containers. It waits on events and acknowledgements, never on time.
package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/swarmtest"
)

// nodes is the size of every cluster here.
const nodes = 5

// patience bounds every single wait. No test asserts how long something takes.
const patience = 2 * time.Minute

// Shape is one way to run a cluster of five nodes, numbered from 0 in the order of the cluster file.
type Shape interface {
	// Start brings the cluster up and arranges for its end. It skips the test, loudly, where this shape
	// cannot run.
	Start(t *testing.T)
	// ClusterFile is the path of the file that clients are given.
	ClusterFile() string
	// Crash ends a node as a power switch would.
	Crash(t *testing.T, i int)
	// Restart starts a crashed node from its disk and returns when it is ready.
	Restart(t *testing.T, i int)
	// Cut takes a node's network to the other nodes away; Heal gives it back and returns when it is ready
	// again.
	Cut(t *testing.T, i int)
	Heal(t *testing.T, i int)
}

// binaries builds both commands once.
var binaries struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	swarmtest.SideBySide(2)
	code := m.Run()
	if binaries.dir != "" {
		_ = os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// binary returns the path of a command of this module.
func binary(t *testing.T, name string) string {
	t.Helper()
	binaries.once.Do(func() {
		if binaries.dir, binaries.err = os.MkdirTemp("", "starling-e2e-bin-"); binaries.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", binaries.dir, "./cmd/swarmd", "./cmd/sessionctl")
		cmd.Dir = root(t)
		var out []byte
		if out, binaries.err = cmd.CombinedOutput(); binaries.err != nil {
			t.Logf("go build: %s", out)
		}
	})
	if binaries.err != nil {
		t.Fatalf("build commands: %v", binaries.err)
	}
	return filepath.Join(binaries.dir, name)
}

// root is the module's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// clusterNodes reads the node IDs of a cluster file, in order.
func clusterNodes(t *testing.T, path string) []string {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cf struct {
		Bootstrap []struct {
			NodeID string `json:"node_id"`
		} `json:"bootstrap"`
	}
	if err := json.Unmarshal(body, &cf); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, b := range cf.Bootstrap {
		ids = append(ids, b.NodeID)
	}
	if len(ids) != nodes {
		t.Fatalf("cluster file names %d nodes, want %d", len(ids), nodes)
	}
	return ids
}

// mustRun runs a helper command to its end.
func mustRun(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// waitFor asks until the answer is good. What it asks about has no event that another process could wait for.
func waitFor(t *testing.T, what string, ask func() error) {
	t.Helper()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); ; <-poll.C {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s: %v", patience, what, err)
		}
	}
}
