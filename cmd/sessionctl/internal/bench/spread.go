package bench

import (
	"math"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/sessionapi"
)

// distribution summarises how long things took.
type distribution struct{ p50, p90, p99, max, mean time.Duration }

// spread sorts times, which must not be empty, and returns their distribution (nearest rank).
func spread(times []time.Duration) distribution {
	slices.Sort(times)
	at := func(p float64) time.Duration { return times[max(0, int(math.Ceil(p*float64(len(times))))-1)] }
	var sum time.Duration
	for _, t := range times {
		sum += t
	}
	return distribution{at(0.50), at(0.90), at(0.99), times[len(times)-1], sum / time.Duration(len(times))}
}

func spreadOf(times []time.Duration) sessionapi.BenchSpread {
	d := spread(times)
	return sessionapi.BenchSpread{P50: ms(d.p50), P99: ms(d.p99), Max: ms(d.max)}
}

func ms(d time.Duration) float64 { return sessionapi.Milliseconds(d) }
