package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/internal/node"
)

// embedded is a cluster in this process. Crash stops a node without flush or leave; Cut is the fault switch
// in front of its network.
type embedded struct {
	cluster *node.Embedded
	file    string
}

func (e *embedded) Start(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := node.StartEmbedded(ctx, node.EmbeddedConfig{Name: "e2e", Nodes: nodes,
		Dir: t.TempDir(), NoOps: true})
	if err != nil {
		t.Fatalf("start embedded cluster: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close cluster: %v", err)
		}
	})
	body, err := c.ClusterFile().Encode()
	if err != nil {
		t.Fatal(err)
	}
	e.cluster, e.file = c, filepath.Join(t.TempDir(), "cluster.json")
	if err := os.WriteFile(e.file, body, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (e *embedded) ClusterFile() string { return e.file }

func (e *embedded) Crash(t *testing.T, i int) {
	t.Helper()
	if err := e.cluster.Crash(i); err != nil {
		t.Fatalf("crash node %d: %v", i, err)
	}
}

func (e *embedded) Restart(t *testing.T, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := e.cluster.Restart(ctx, i); err != nil {
		t.Fatalf("restart node %d: %v", i, err)
	}
}

func (e *embedded) Cut(_ *testing.T, i int) { e.cluster.Cut(i) }

func (e *embedded) Heal(t *testing.T, i int) {
	t.Helper()
	e.cluster.Heal(i)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := e.cluster.WaitReady(ctx); err != nil {
		t.Fatalf("node %d after its network came back: %v", i, err)
	}
}
