package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// procs is a cluster of separate swarmd processes on loopback. Crash is kill -9; Cut is the node's fault
// switch, thrown over its admin socket.
type procs struct {
	swarmd string
	dir    string
	node   [nodes]*exec.Cmd
}

// portsPerNode is what `swarmd init --for procs` takes for each node.
const portsPerNode = 4

func (p *procs) Start(t *testing.T) {
	p.swarmd = binary(t, "swarmd")
	// Unix sockets have short paths: the node directories lie right below the temporary directory.
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p.dir = filepath.Join(dir, "c")
	mustRun(t, dir, nil, p.swarmd, "init", "--cluster", "e2e", "--nodes", fmt.Sprint(nodes), "--out", p.dir,
		"--for", "procs", "--base-port", fmt.Sprint(freePorts(t, nodes*portsPerNode)), "--test-faults")
	for i := range nodes {
		p.run(t, i)
	}
	t.Cleanup(func() {
		for i := range p.node {
			p.stop(t, i)
		}
	})
	for i := range nodes {
		p.ready(t, i)
	}
}

func (p *procs) config(i int) string {
	return filepath.Join(p.dir, fmt.Sprintf("node-%d", i+1), "swarmd.yaml")
}

func (p *procs) run(t *testing.T, i int) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, fmt.Sprintf("node-%d.log", i+1)),
		os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.swarmd, "run", "--config", p.config(i))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.node[i] = cmd
}

// stop ends a node in order; what it says about its end is part of the test.
func (p *procs) stop(t *testing.T, i int) {
	cmd := p.node[i]
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(os.Interrupt)
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("node %d ended with %v; its log: %s", i, err, p.log(i))
	}
	p.node[i] = nil
}

func (p *procs) log(i int) string {
	body, _ := os.ReadFile(filepath.Join(p.dir, fmt.Sprintf("node-%d.log", i+1)))
	return string(body[max(0, len(body)-4096):])
}

// ready asks the node until it says that it serves.
func (p *procs) ready(t *testing.T, i int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("node %d to be ready", i), func() error {
		out, err := exec.Command(p.swarmd, "health", "--ready", "--config", p.config(i)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s; its log: %s", err, out, p.log(i))
		}
		return nil
	})
}

func (p *procs) ClusterFile() string { return filepath.Join(p.dir, "cluster.json") }

func (p *procs) Crash(t *testing.T, i int) {
	t.Helper()
	if err := p.node[i].Process.Kill(); err != nil {
		t.Fatalf("kill node %d: %v", i, err)
	}
	_ = p.node[i].Wait()
	p.node[i] = nil
}

func (p *procs) Restart(t *testing.T, i int) {
	t.Helper()
	p.run(t, i)
	p.ready(t, i)
}

func (p *procs) Cut(t *testing.T, i int) {
	t.Helper()
	mustRun(t, p.dir, nil, p.swarmd, "fault", "cut", "--config", p.config(i))
}

func (p *procs) Heal(t *testing.T, i int) {
	t.Helper()
	mustRun(t, p.dir, nil, p.swarmd, "fault", "heal", "--config", p.config(i))
	p.ready(t, i)
}

// nextPort keeps the ranges of tests that run side by side apart.
var nextPort atomic.Int32

func init() { nextPort.Store(rand.Int32N(10_000)) }

// freePorts finds n ports in a row that nobody listens on, and that no other test gets.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		base := 20_000 + int(nextPort.Add(int32(n)))%10_000
		if allFree(base, n) {
			return base
		}
	}
	t.Fatalf("found no %d free ports in a row", n)
	return 0
}

func allFree(base, n int) bool {
	for port := base; port < base+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		defer l.Close()
	}
	return true
}
