package client_test

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// BenchmarkDeliver measures from Send to the message event in the online recipient's client: three hops, 1
// KiB, both on one clock.
func BenchmarkDeliver(b *testing.B) {
	cluster := swarmtest.Start(b, node.EmbeddedConfig{NoOps: true})
	alice, _ := create(b, cluster, "Alice")
	bob, _ := create(b, cluster, "Bob")
	bob.send(b, alice.id(), "hello")
	alice.message(b, "hello")
	var all, sends []time.Duration
	text := func() string {
		p := make([]byte, 512)
		rand.Read(p)
		return hex.EncodeToString(p)
	}
	warm := text()
	alice.send(b, bob.id(), warm)
	bob.message(b, warm)
	for b.Loop() {
		t := text()
		start := time.Now()
		if _, err := alice.Send(b.Context(), bob.id(), client.Outgoing{Text: t}); err != nil {
			b.Fatal(err)
		}
		sends = append(sends, time.Since(start))
		bob.message(b, t)
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	slices.Sort(sends)
	b.ReportMetric(float64(sends[len(sends)/2].Microseconds()), "send-p50-us")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us")
}
