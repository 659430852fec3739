package client_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
)

func TestLogWithoutAnEndIsNotRead(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	cfg := config(t, cluster, "Bob")
	cfg.LongestLog(2_000) // the two commits have more
	bob, _ := createWith(t, cfg, "Bob")
	approve(t, alice, bob)
	id := alice.group(t, "walkers").ID
	alice.add(t, id, bob)
	bob.in(t, id, "the log is too long", func(g client.Group) bool {
		return g.Status == client.GroupWaiting && strings.Contains(g.Warning, "no group's log")
	})
	if err := bob.Lab().ReadLog(patient(t), id); !errors.Is(err, fault.Corrupt) {
		t.Errorf("read the log: got %v, want corrupt", err)
	}
}
