package loadgen_test

import (
	"testing"

	"github.com/starling-swarm/starling/client/loadgen"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

func TestGroupRunMeasuresEveryMember(t *testing.T) {
	for name, own := range map[string]bool{"shared keys": false, "own keys": true} {
		t.Run(name, func(t *testing.T) { measuresEveryMember(t, own) })
	}
}

func measuresEveryMember(t *testing.T, own bool) {
	c := swarmtest.Start(t, node.EmbeddedConfig{Name: "loadgen test", Nodes: 5, NoOps: true})
	const members, messages = 55, 2 // more than one commit adds
	r, err := loadgen.Messages(t.Context(), loadgen.Group{Cluster: c.ClusterFile(), Dir: t.TempDir(),
		Members: members, Messages: messages, Size: 100, OwnKeys: own})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ got, want int }{
		"arrivals": {len(r.Arrivals), members * messages}, "messages that all have": {len(r.All), messages},
		"members with new keys": {len(r.Removal.Renewed), members - 1},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", name, c.got, c.want)
		}
	}
	if r.Removal.AdminBytes == 0 || r.Removal.CommitBytes == 0 || r.Removal.SlotBytes == 0 ||
		len(r.Pairwise) == 0 {
		t.Errorf("removal %+v, %d single inboxes: want all measured", r.Removal, len(r.Pairwise))
	}
}
