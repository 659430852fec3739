package consensus

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
)

// BenchmarkPropose measures acknowledged commands of 1 KiB per second on three replicas of one process and
// one disk.
func BenchmarkPropose(b *testing.B) {
	for _, clients := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(clients, " clients"), func(b *testing.B) {
			c := startCluster(b, 3, func(cfg *Config) {
				never(
					cfg)
				cfg.WALSegmentBytes = 32 << 20
				cfg.FSM = sinkFSM{new(atomic.Uint64)}
			})
			g := c.leader().group
			command := make([]byte, 1024)
			var next atomic.Int64
			done := make(chan error, clients)
			b.ResetTimer()
			for range clients {
				go func() {
					var err error
					for err == nil && next.Add(1) <= int64(b.N) {
						_, err = g.Propose(context.Background(), command)
					}
					done <- err
				}()
			}
			for range clients {
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
			b.StopTimer()
			s := g.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
			b.ReportMetric(float64(s.Commands)/float64(max(s.Entries, 1)), "commands/entry")
		})
	}
}

// sinkFSM counts and forgets.
type sinkFSM struct{ applied *atomic.Uint64 }

func (f sinkFSM) ApplyBatch(batches []Batch) [][]any {
	results := make([][]any, len(batches))
	for i, b := range batches {
		results[i] = make([]any, len(b.Commands))
		f.applied.Store(b.Index)
	}
	return results
}
func (f sinkFSM) Applied() (uint64, uint64) { return f.applied.Load(), 0 }

func (f sinkFSM) Snapshot() (Snapshot, error) { return listSnapshot{}, nil }
func (f sinkFSM) Restore(io.Reader) error     { return nil }
