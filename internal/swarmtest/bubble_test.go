package swarmtest_test

import (
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

func ready(t *testing.T, w *swarmtest.World, i int) bool {
	t.Helper()
	s, err := w.Status(t.Context(), i)
	if err != nil {
		t.Fatalf("status of node %d: %v", i, err)
	}
	return s.Ready
}

func TestFaultsOfABubble(t *testing.T) {
	swarmtest.Bubble(t, node.EmbeddedConfig{Nodes: 3}, func(t *testing.T, w *swarmtest.World) {
		w.Crash(t, 1)
		w.Restart(t, 1)

		w.Net.Partition(w.NodeHost(0))
		time.Sleep(time.Minute)
		for i, want := range []bool{false, true, true} {
			if got := ready(t, w, i); got != want {
				t.Errorf("node %d with node 0 apart: got ready %v, want %v", i, got, want)
			}
		}
		w.Net.Heal()
		w.WaitReady(t)
	})
}

func TestDaysOffInABubble(t *testing.T) {
	swarmtest.Bubble(t, node.EmbeddedConfig{Nodes: 3}, func(t *testing.T, w *swarmtest.World) {
		const off = 30 * 24 * time.Hour
		began := time.Now()
		w.Off(t, off)
		if got := time.Since(began); got < off || got > off+time.Hour {
			t.Errorf("%v passed, want %v and little more", got, off)
		}
		for i := range w.Nodes() {
			if !ready(t, w, i) {
				t.Errorf("node %d is not ready", i)
			}
		}
	})
}
