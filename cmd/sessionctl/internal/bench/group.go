package bench

import (
	"context"
	"fmt"
	"math"

	"github.com/starling-swarm/starling/client/loadgen"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// Group measures messages to a group of the given form, and the removal of a member, as cfg says; the cluster
// and the directory of cfg are filled in.
func (r *Run) Group(ctx context.Context, form string,
	cfg loadgen.Group) (doc sessionapi.BenchGroup, err error) {
	cfg.Cluster, cfg.Dir = r.Cluster, r.Dir
	stop := r.Waiting(fmt.Sprintf("running a group of %d", cfg.Members))
	got, err := loadgen.Messages(ctx, cfg)
	stop()
	if err != nil {
		return doc, err
	}
	doc = sessionapi.BenchGroup{
		Cluster: r.Where, Form: form, Members: cfg.Members, Messages: cfg.Messages,
		Size: cfg.Size, Hops: hops,
		Circuits: got.Circuits.Seconds(), Fill: got.Fill.Seconds(), Enter: got.Enter.Seconds(),
		Push: spreadOf(got.Arrivals), All: spreadOf(got.All),
		Removal: sessionapi.BenchRemoval{
			Make: ms(got.Removal.Make), Store: ms(got.Removal.Store),
			AdminBytes: got.Removal.AdminBytes, CommitBytes: got.Removal.CommitBytes,
			SlotBytes: got.Removal.SlotBytes,
			Renewed:   spreadOf(got.Removal.Renewed),
		},
	}
	each := ms(spread(got.Pairwise).mean)
	doc.Pairwise = sessionapi.BenchPairwise{
		Measured: len(got.Pairwise), Each: each, All: each * float64(cfg.Members),
	}
	doc.Pairwise.Ratio = math.Round(doc.Pairwise.All/doc.All.P50*10) / 10
	return doc, nil
}
