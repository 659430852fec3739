// Package swarmtest gives a test a whole cluster: five nodes in the test's process, on loopback, removed at
// its end. Bubble plays a story with nodes and clients on a network in memory, in fake time.
//
//	c := swarmtest.Start(t, node.EmbeddedConfig{})
//	c.Crash(t, 1)
//	...
//	c.Restart(t, 1)
//
// It is a thin layer over node.StartEmbedded that fails the test instead of returning errors, and shows the
// nodes' logs when the test has failed. Only tests import it.
//
// # Stories in a bubble
//
// In a testing/synctest bubble the clock stands still while any goroutine has something to do, and jumps to
// the next timer when none has. Elections, retries and the delays that clients take on purpose cost no real
// time, so a story shortens no delay, may sleep, and never polls:
//
//	swarmtest.Bubble(t, node.EmbeddedConfig{Nodes: 3}, func(t *testing.T, w *swarmtest.World) {
//		c, words, err := client.Create(ctx, client.Config{
//			Dir: t.TempDir(), Cluster: w.ClusterFile(), Dial: w.Dialer("alice"),
//		}, "alice")
//		...
//		w.Net.Partition(w.NodeHost(0), "alice") // these two on one side, the others on the other
//		time.Sleep(time.Minute)
//		w.Net.Heal()
//	})
//
// What to know:
//
//   - Everything of a story is made inside its bubble: clients, contexts, channels. It uses the t that it
//     gets, which has no Run, and cannot share a cluster with another test. It listens and dials through
//     w.Net only.
//   - The clock starts at midnight UTC, 1 January 2000. Running nodes exchange heartbeats: an hour of three
//     nodes with one swarm costs some ten seconds of real time. In World.Off days cost nothing.
//   - A goroutine that waits for a mutex stops the clock. Nobody may hold one while it waits for time or for
//     the network; where somebody does, the story hangs, and the stacks of its goroutines show the place.
//   - The same in every run: the clock, delays, and, by the network's seed, what is lost between two hosts
//     that send the same. Not the same: keys and paths, which come from the system's randomness, and the
//     order of goroutines that run at the same instant. A story must hold for all of these.
package swarmtest

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/node"
)

// SideBySide lets a package run n parallel tests for each processor, unless -parallel says how many run at a
// time: tests on a cluster wait most of their time. Under the race detector they do not, and it is one for
// each: what takes so long that it is given up and tried again costs more than it saves. TestMain calls it
// before it runs the tests.
func SideBySide(n int) {
	if slowed {
		n = 1
	}
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", strconv.Itoa(n*runtime.GOMAXPROCS(0))) // fails for no number
	}
}

// patience bounds every wait of this package. It is long because machines stall, not because clusters do.
const patience = time.Minute

// Cluster is a running cluster.
type Cluster struct {
	*node.Embedded
}

// Start starts a cluster and ends it with the test.
func Start(t testing.TB, cfg node.EmbeddedConfig) *Cluster {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Logger == nil {
		logs := new(buffer)
		cfg.Logger = slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("logs of the nodes:\n%s", logs.tail())
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := node.StartEmbedded(ctx, cfg)
	if err != nil {
		t.Fatalf("start cluster: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close cluster: %v", err)
		}
	})
	return &Cluster{e}
}

// Crash stops node i as kill -9 would.
func (c *Cluster) Crash(t testing.TB, i int) {
	t.Helper()
	if err := c.Embedded.Crash(i); err != nil {
		t.Fatalf("crash node %d: %v", i, err)
	}
}

// Stop stops node i as SIGTERM would.
func (c *Cluster) Stop(t testing.TB, i int) {
	t.Helper()
	if err := c.Embedded.Stop(i); err != nil {
		t.Fatalf("stop node %d: %v", i, err)
	}
}

// Restart starts node i again and waits until it is ready.
func (c *Cluster) Restart(t testing.TB, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Embedded.Restart(ctx, i); err != nil {
		t.Fatalf("restart node %d: %v", i, err)
	}
}

// WaitReady waits until every node that runs and is not cut is ready.
func (c *Cluster) WaitReady(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Embedded.WaitReady(ctx); err != nil {
		t.Fatalf("wait for the cluster: %v", err)
	}
}

// buffer keeps the end of what is logged.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// keep is how much of the logs a failed test shows.
const keep = 64 << 10

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len() > 8*keep {
		b.buf.Next(b.buf.Len() - keep)
	}
	return b.buf.Write(p)
}

func (b *buffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	body := b.buf.Bytes()
	return string(body[max(0, len(body)-keep):])
}
