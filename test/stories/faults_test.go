package stories

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/memnet"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/scenario"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// slow is a network of some distance: every step of a story takes time, in which a fault can meet it half
// done.
var slow = memnet.Quality{Delay: 10 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.01}

// numbered returns n texts: what and 0, what and 1, and so on.
func numbered(what string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint(what, " ", i))
	}
	return out
}

func TestLeaderCrashesUnderAStreamOfMessages(t *testing.T) {
	swarmtest.Bubble(t, node.EmbeddedConfig{}, func(t *testing.T, w *swarmtest.World) {
		w.Net.Shape(slow)
		alice, bob := create(t, w, "alice"), create(t, w, "bob")
		lost, err := scenario.LeaderOf(patient(t), w.Embedded, bob.id())
		must(t, "find the leader", err)
		sent := numbered("message", 40)
		for i, text := range sent {
			alice.writes(t, bob.id(), text)
			switch i {
			case 10:
				w.Crash(t, lost)
			case 30:
				w.Restart(t, lost)
			}
			time.Sleep(200 * time.Millisecond)
		}
		bob.gets(t, sent[len(sent)-1])
		if got := bob.texts(t, alice.id().String()); !slices.Equal(got, sent) {
			t.Errorf("bob has %q, want each of the %d messages once and in order", got, len(sent))
		}
	})
}

func TestPartitionOfAMinorityWithAClientHeals(t *testing.T) {
	swarmtest.Bubble(t, node.EmbeddedConfig{}, func(t *testing.T, w *swarmtest.World) {
		w.Net.Shape(slow)
		alice, bob := create(t, w, "alice"), create(t, w, "bob")
		alice.writes(t, bob.id(), "before")
		bob.gets(t, "before")

		w.Net.Partition(w.NodeHost(0), w.NodeHost(1), "bob")
		hers, his := numbered("alice", 5), numbered("bob", 5)
		for i := range hers {
			alice.writes(t, bob.id(), hers[i])
			bob.writes(t, alice.id(), his[i])
			time.Sleep(10 * time.Second)
		}
		for _, got := range [][]string{alice.texts(t, bob.id().String()), bob.texts(t, alice.id().String())} {
			if len(got) != 1+len(hers) {
				t.Errorf("during the partition: got %q, want nothing from the other side", got)
			}
		}

		w.Net.Heal()
		bob.gets(t, hers[4])
		alice.gets(t, his[4])
		want := slices.Sorted(slices.Values(slices.Concat([]string{"before"}, hers, his)))
		for _, got := range [][]string{alice.texts(t, bob.id().String()), bob.texts(t, alice.id().String())} {
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("after the partition: got %q, want %q", got, want)
			}
		}
	})
}
