package circuit

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
)

// BenchmarkRequest measures a request and its answer through three hops, with the storage in memory: what the
// onion network costs. sub is the number of callers at a time.
func BenchmarkRequest(b *testing.B) {
	c := five(b)
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(b.TempDir(), c.mailboxIn(0, 1), nil)
	ask := (&envelope.Request{Mailbox: m, Ops: []envelope.Op{envelope.Info{}}}).Encode()
	ctx := context.Background()
	if err := n.Prepare(ctx, "send", m); err != nil {
		b.Fatal(err)
	}
	b.Run("callers=1", func(b *testing.B) {
		var took []time.Duration
		b.ReportAllocs()
		for b.Loop() {
			start := time.Now()
			if _, _, err := n.Do(ctx, "send", m, ask, unsigned); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	})
	for _, circuits := range []int{1, 8} {
		b.Run(fmt.Sprintf("callers=16/circuits=%d", circuits), func(b *testing.B) {
			var next atomic.Int32
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				box := c.mailboxIn(1, byte(10+int(next.Add(1))%circuits))
				ask := (&envelope.Request{Mailbox: box, Ops: []envelope.Op{envelope.Info{}}}).Encode()
				for pb.Next() {
					if _, _, err := n.Do(ctx, "send", box, ask, unsigned); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkBuild measures the making of a circuit: four hops, one round trip. A guard admits 100 circuits of
// a client at once, so run it with -benchtime=90x.
func BenchmarkBuild(b *testing.B) {
	c := five(b)
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(b.TempDir(), c.mailboxIn(0, 1), nil)
	if err := n.Prepare(context.Background(), "send", m); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		l, err := n.build(context.Background(), key{"bench", m})
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		l.retire()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
}

// BenchmarkIdleCircuit reports the memory of a circuit that nobody uses: client, three relays and storage
// node together, all in this process. Run it with -benchtime=1x: a guard admits no more circuits than that at
// once.
func BenchmarkIdleCircuit(b *testing.B) {
	c := five(b)
	m := c.mailboxIn(1, 1)
	n, _ := c.connect(b.TempDir(), c.mailboxIn(0, 1), nil)
	const count = 50 // what one client may have
	measure := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc + s.StackInuse
	}
	if err := n.Prepare(context.Background(), "first", m); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		before, goroutines := measure(), runtime.NumGoroutine()
		var all []*live
		for range count {
			l, err := n.build(context.Background(), key{"bench", m})
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, l)
		}
		b.ReportMetric(float64(measure()-before)/count/1024, "KiB/circuit")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/count, "goroutines/circuit")
		for _, l := range all {
			l.retire()
		}
	}
}
