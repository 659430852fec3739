package e2e

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/scenario"
)

// TestScenarios plays the list of sessionctl e2e on one cluster: with two devices, and with time also with
// three; in short only those that are quickly over.
func TestScenarios(t *testing.T) {
	t.Parallel()
	c := scenarioCluster(t)
	all := slices.DeleteFunc(scenario.All(), func(s scenario.Scenario) bool {
		return s.Fixed ||
			testing.Short() && s.Heavy
	})
	t.Run("two devices", func(t *testing.T) { playTogether(t, c, all, 2) })
	t.Run("three devices", func(t *testing.T) {
		if testing.Short() {
			t.Skip("plays everything again; run without -short")
		}
		playTogether(t, c, all, 3)
	})
}

// TestGroupScenarios plays what people do in groups: each play has six devices of its own.
func TestGroupScenarios(t *testing.T) {
	if testing.Short() {
		t.Skip("every play has six devices; run without -short")
	}
	t.Parallel()
	c := scenarioCluster(t)
	playTogether(t, c, slices.DeleteFunc(scenario.All(), func(s scenario.Scenario) bool { return !s.Fixed }),
		2)
}

// TestGroupScenariosWhileLeadersDie breaks what the group's mailbox rests on in the middle: its leader dies,
// or is cut off.
func TestGroupScenariosWhileLeadersDie(t *testing.T) {
	if testing.Short() {
		t.Skip("every play kills and restarts nodes; run without -short")
	}
	t.Parallel()
	c := scenarioCluster(t)
	for _, how := range []struct {
		name    string
		disturb scenario.Disturb
	}{{"dies", scenario.KillLeader(c)}, {"is cut off", scenario.CutLeader(c)}} {
		for _, name := range []string{"group-talk", "group-two-admins", "group-kill-in-rekey",
			"group-public"} {
			s, ok := scenario.Find(name)
			if !ok {
				t.Fatalf("no scenario is called %s", name)
			}
			t.Run(name+" while the leader "+how.name, func(t *testing.T) {
				report(t, scenario.Play(t.Context(), s, scenarioConfig(t, c, 2, how.disturb)))
			})
		}
	}
}

// TestScenariosWhileLeadersDie kills the node that leads the account's swarm in the middle, and moves its
// leadership.
func TestScenariosWhileLeadersDie(t *testing.T) {
	if testing.Short() {
		t.Skip("every play kills and restarts nodes; run without -short")
	}
	t.Parallel()
	c := scenarioCluster(t)
	for _, name := range []string{"link-by-code", "link-by-phrase", "restore-and-return", "revoke", "petname",
		"read", "both-offline", "kill-in-push"} {
		s, ok := scenario.Find(name)
		if !ok {
			t.Fatalf("no scenario is called %s", name)
		}
		t.Run(name, func(t *testing.T) {
			report(t, scenario.Play(t.Context(), s, scenarioConfig(t, c, 2, scenario.KillLeader(c))))
		})
	}
}

// scenarioCluster is a cluster for scenarios that ends with the test.
func scenarioCluster(t *testing.T) *node.Embedded {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := node.StartEmbedded(ctx, node.EmbeddedConfig{Name: "e2e", Nodes: nodes,
		Dir: t.TempDir(), NoOps: true})
	if err != nil {
		t.Fatalf("start cluster: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close cluster: %v", err)
		}
	})
	return c
}

func scenarioConfig(t *testing.T, c *node.Embedded, devices int, d scenario.Disturb) scenario.Config {
	return scenario.Config{Cluster: c.ClusterFile(), Dir: t.TempDir(), Devices: devices, Seed: 1,
		Contacts: 500, Disturb: d}
}

// together is how many scenarios are under way at a time: most of what they do is to wait for delays that are
// there on purpose.
var together = 2 * runtime.GOMAXPROCS(0)

// playTogether plays scenarios side by side, those that take longest first.
func playTogether(t *testing.T, c *node.Embedded, all []scenario.Scenario, devices int) {
	rank := func(s scenario.Scenario) int {
		switch {
		case s.Name == "group-restored": // its only device waits a minute before it asks the admins
			return 0
		case s.Heavy:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(a, b scenario.Scenario) int { return rank(a) - rank(b) })
	results, next := make(chan scenario.Result, len(all)), make(chan scenario.Scenario, len(all))
	for _, s := range all {
		next <- s
	}
	close(next)
	for range together {
		cfg := scenarioConfig(t, c, devices, nil)
		go func() {
			for s := range next {
				results <- scenario.Play(t.Context(), s, cfg)
			}
		}()
	}
	for range all {
		r := <-results
		t.Run(r.Name, func(t *testing.T) { report(t, r) })
	}
}

func report(t *testing.T, r scenario.Result) {
	t.Helper()
	if r.Err != nil {
		t.Error(r.Err)
	}
	t.Logf("took %s; %d changes converged, p50 %s, p95 %s %s", r.Took.Round(time.Millisecond), len(r.Times),
		r.Percentile(0.5).Round(time.Millisecond), r.Percentile(0.95).Round(time.Millisecond), r.Note)
}
