package cluster

import (
	"testing"
	"time"
)

func TestFiveNodesFormAClusterAndStoreFromAnyReplica(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := startCluster(t, 5, 5)
	t.Logf("ready after %s", time.Since(began))
	m := newMailbox("alice")
	replicas := c.replicasOf(m)
	if len(replicas) != 3 {
		t.Fatalf("got %d replicas, want 3", len(replicas))
	}
	m.genesis(t, replicas[1].node)
	var last uint64
	for i := range 9 {
		last = m.send(t, replicas[i%3].node, i)
	}
	for i, n := range replicas {
		got := m.fetch(t, n.node, last)
		if len(got) != 9 {
			t.Errorf("replica %d: got %d messages, want 9", i, len(got))
		}
	}
}
