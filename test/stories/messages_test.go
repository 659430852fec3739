package stories

import (
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

func TestMessagesBothWaysThroughThreeHops(t *testing.T) {
	swarmtest.Bubble(t, node.EmbeddedConfig{}, func(t *testing.T, w *swarmtest.World) {
		alice, bob := create(t, w, "alice"), create(t, w, "bob")
		sent := alice.writes(t, bob.id(), "hello")
		got := bob.gets(t, "hello")
		if got.From != alice.id() || got.ID != sent.ID || got.Unverified {
			t.Errorf("got %+v, want the verified message %s of alice", got, sent.ID)
		}
		bob.writes(t, alice.id(), "hi")
		if got := alice.gets(t, "hi"); got.From != bob.id() {
			t.Errorf("got %+v, want an answer of bob", got)
		}
		r := alice.stored(t, sent)
		hops := map[ident.NodeID]bool{r.Path[0]: true, r.Path[1]: true, r.Path[2]: true}
		if len(hops) != 3 || r.Replicas != 2 {
			t.Errorf("receipt: got %+v, want 2 replicas and three hops", r)
		}

		bob.stop()
		alice.stored(t, alice.writes(t, bob.id(), "while you were away"))
		time.Sleep(time.Minute)
		bob.reopen(t)
		bob.gets(t, "while you were away")
	})
}
