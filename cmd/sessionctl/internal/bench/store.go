package bench

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/starling-swarm/starling/client/loadgen"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// Store measures, for each number of clients, how many bodies of size bytes a majority of replicas has on
// disk in the time per.
func (r *Run) Store(ctx context.Context, clients []int, per time.Duration,
	size int) (sessionapi.BenchStore, error) {
	doc := sessionapi.BenchStore{Cluster: r.Where, Size: size, Via: "circuits",
		Results: []sessionapi.BenchStoreRun{}}
	for _, n := range clients {
		stop := r.Waiting(fmt.Sprintf("storing with %d clients", n))
		got, err := loadgen.Stores(ctx,
			loadgen.Config{Cluster: r.Cluster, Dir: filepath.Join(r.Dir, fmt.Sprint(n)),
				Clients: n, Size: size,
				For: per})
		stop()
		if err != nil {
			return doc, err
		}
		d := spread(got.Times)
		doc.Results = append(doc.Results, sessionapi.BenchStoreRun{
			Clients: n, Stores: len(got.Times), Seconds: got.Took.Seconds(),
			PerSecond: math.Round(float64(len(got.Times)) / got.Took.Seconds()), P50: ms(d.p50),
			P99: ms(d.p99),
		})
	}
	return doc, nil
}
