package bench

import (
	"context"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/testuser"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// warmUp messages go first and do not count: they build circuits and fetch keys.
const warmUp = 20

// Deliver sends n texts of size bytes, one after the other, from one new account to another, and measures the
// time from Send to the recipient's event.
func (r *Run) Deliver(ctx context.Context, n, size int) (doc sessionapi.BenchDeliver, err error) {
	from, _, err := testuser.New(ctx, "sender", "Sender", r.config("sender"))
	if err != nil {
		return doc, err
	}
	defer from.Leave()
	to, _, err := testuser.New(ctx, "recipient", "Recipient", r.config("recipient"))
	if err != nil {
		return doc, err
	}
	defer to.Leave()
	stop := r.Waiting("sending")
	defer stop()
	text := strings.Repeat("x", size)
	var times []time.Duration
	for i := range warmUp + n {
		t := time.Now()
		sent, err := from.Send(ctx, to.Account().ID, client.Outgoing{Text: text})
		if err != nil {
			return doc, err
		}
		got, err := to.Arrived.Await(ctx, sent.ID)
		if err != nil {
			return doc, err
		}
		if i >= warmUp {
			times = append(times, got.Sub(t))
		}
	}
	d := spread(times)
	return sessionapi.BenchDeliver{
		Cluster: r.Where, N: n, Size: size, Hops: hops,
		P50: ms(d.p50), P90: ms(d.p90), P99: ms(d.p99), Max: ms(d.max), Mean: ms(d.mean),
	}, nil
}
