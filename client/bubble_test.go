package client_test

import (
	"slices"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// createIn makes an account whose first device runs in a world, on a host of its own.
func createIn(t *testing.T, w *swarmtest.World, name string) *device {
	t.Helper()
	cfg := config(t, w.Cluster, name)
	cfg.Dial = w.Dialer(name)
	d, _ := createWith(t, cfg, name)
	return d
}

// TestMailUnderTheKeysOfLaterDays lets days pass in which nobody runs, and then a midnight at which everybody
// does: who writes finds a key of the day, and the reader has it and no longer those of the first day.
func TestMailUnderTheKeysOfLaterDays(t *testing.T) {
	const idle = 10 * time.Minute // an hour of heartbeats would take ten seconds of real time
	swarmtest.Bubble(t, node.EmbeddedConfig{Nodes: 3, Swarms: 1}, func(t *testing.T, w *swarmtest.World) {
		alice, bob := createIn(t, w, "alice"), createIn(t, w, "bob")
		first := time.Now()
		alice.send(t, bob.id(), "one")
		bob.message(t, "one")
		holds := func(at time.Time) bool {
			today := func(k client.DayKey) bool { return k.Day == account.Day(at) }
			return slices.ContainsFunc(bob.Retained(), today)
		}

		alice.stop()
		bob.stop()
		midnight := first.Truncate(24 * time.Hour).Add(4 * 24 * time.Hour)
		w.Off(t, time.Until(midnight.Add(-idle/2)))
		alice = alice.reopen(t)
		sent := alice.send(t, bob.id(), "two")
		if _, err := alice.Wait(patient(t), sent.ID, client.StateStored); err != nil {
			t.Fatalf("send to somebody who was away for days: %v", err)
		}
		bob = bob.reopen(t)
		bob.message(t, "two")
		if !holds(time.Now()) {
			t.Errorf("bob holds %v, want a key of day %d", bob.Retained(), account.Day(time.Now()))
		}

		time.Sleep(idle)
		alice.send(t, bob.id(), "three")
		bob.message(t, "three")
		if now := time.Now(); !now.After(midnight) || !holds(now) || holds(first) {
			t.Errorf("at %s bob holds %v, want a key of day %d and none of day %d",
				now, bob.Retained(), account.Day(now), account.Day(first))
		}
	})
}

// TestSavedDocumentsAreShared saves a change of the documents while no worker runs that would find it: who
// saves it need not think of the outbox.
func TestSavedDocumentsAreShared(t *testing.T) {
	swarmtest.Bubble(t, node.EmbeddedConfig{Nodes: 3, Swarms: 1}, func(t *testing.T, w *swarmtest.World) {
		alice := createIn(t, w, "alice")
		if err := alice.Idle(patient(t)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the worker ends
		if err := alice.Seed(1, 1, 0); err != nil {
			t.Fatal(err)
		}
		if err := alice.Idle(patient(t)); err != nil {
			t.Fatalf("documents that were saved are not shared: %v", err)
		}
	})
}
