package stories

import (
	"slices"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

func TestLinkedDeviceSeesTheHistory(t *testing.T) {
	swarmtest.Bubble(t, node.EmbeddedConfig{}, func(t *testing.T, w *swarmtest.World) {
		alice, bob := create(t, w, "alice"), create(t, w, "bob")
		alice.writes(t, bob.id(), "one")
		bob.gets(t, "one")
		bob.writes(t, alice.id(), "two")
		alice.gets(t, "two")

		phone := alice.link(t, w, "alice-phone")
		phone.next(t, "the whole history", func(e client.Event) bool {
			return e.Kind == client.EventHistory && !e.History.Outgoing && e.History.Done
		})
		if got := phone.texts(t, bob.id().String()); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("history on the phone: got %q, want one and two", got)
		}

		// From here on both devices have everything, whoever writes.
		phone.writes(t, bob.id(), "three")
		bob.gets(t, "three")
		alice.gets(t, "three")
		bob.writes(t, alice.id(), "four")
		alice.gets(t, "four")
		phone.gets(t, "four")
	})
}
