package swarmtest

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/internal/memnet"
	"github.com/starling-swarm/starling/internal/node"
)

// calm is how long the goroutines of a story have, in fake time, to end after it: libraries let probes and
// idle connections run out by themselves.
const calm = 5 * time.Minute

// World is a cluster in a bubble, with the network that its nodes and clients share. Net's methods are the
// faults between hosts; the cluster's crash and restart nodes.
type World struct {
	*Cluster
	Net *memnet.Network
}

// Bubble plays a story with a cluster of its own in a testing/synctest bubble; cfg is as for Start, but for
// Hosts and NoOps. The cluster ends with the story; the clients that a story opens must have ended by then,
// at the latest in its t.Cleanup.
func Bubble(t *testing.T, cfg node.EmbeddedConfig, story func(t *testing.T, w *World)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(calm) })
		w := &World{Net: memnet.New(1)}
		if cfg.Nodes == 0 {
			cfg.Nodes = 5
		}
		for i := range cfg.Nodes {
			cfg.Hosts = append(cfg.Hosts, w.Net.Host(w.NodeHost(i)))
		}
		cfg.NoOps = true
		w.Cluster = Start(t, cfg)
		story(t, w)
	})
}

// NodeHost returns the name of node i's host.
func (w *World) NodeHost(i int) string { return fmt.Sprintf("node-%d", i) }

// Off stops all nodes as SIGTERM would, lets d pass, and starts them again. Days without nodes pass in no
// real time; an hour with running ones costs seconds of heartbeats.
func (w *World) Off(t testing.TB, d time.Duration) {
	t.Helper()
	each := func(what string, do func(i int) error) {
		var g errgroup.Group
		for i := range w.Nodes() {
			g.Go(func() error { return do(i) })
		}
		if err := g.Wait(); err != nil {
			t.Fatalf("%s all nodes: %v", what, err)
		}
	}
	each("stop", w.Embedded.Stop)
	time.Sleep(d)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	each("restart", func(i int) error { return w.Embedded.Restart(ctx, i) })
}

// Dialer returns how a client on the named host reaches nodes: the Dial of its Config.
func (w *World) Dialer(host string) func(ctx context.Context, addr string) (net.Conn, error) {
	h := w.Net.Host(host)
	return func(ctx context.Context, addr string) (net.Conn, error) { return h.DialContext(ctx, "tcp", addr) }
}
