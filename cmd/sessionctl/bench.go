package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/client/loadgen"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/node"
)

// benchTimeout bounds a whole benchmark run.
const benchTimeout = 10 * time.Minute

// benchQuota is the mailbox quota of the embedded cluster: a store run must never meet it.
const benchQuota = 4 << 30

func (a *app) benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "bench",
		Short:   "Measure a cluster: an embedded one of 5 nodes, or --cluster",
		GroupID: "test",
		Example: `  sessionctl bench deliver
  sessionctl bench store --clients 1,16,64 --json
  sessionctl bench group --members 1000
  sessionctl bench failover`,
	}
	var n, size int
	deliver := &cobra.Command{
		Use:   "deliver [-n N] [--size BYTES]",
		Short: "Time from Send to the message event in the online recipient's client",
		Long: `deliver sends messages one after another between two fresh accounts in this process, so that one clock measures both
ends: from the call of Send to the message event in the recipient's client, through three relays, stored on disk by a
majority and pushed. No copies and no receipts travel.`,
		Example: `  sessionctl bench deliver -n 1000
  sessionctl bench deliver --cluster cluster.json --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 || size < 1 || size > client.MaxText {
				return cli.Usage("bench deliver: want -n of 1 or more and --size of 1 to %d", client.MaxText)
			}
			return a.onCluster(cmd, func(ctx context.Context, cf *directory.ClusterFile, where, dir string) error {
				return a.benchDeliver(ctx, cf, where, dir, n, size)
			})
		},
	}
	deliver.Flags().IntVarP(&n, "number", "n", 500, "send `N` messages")
	deliver.Flags().IntVar(&size, "size", 1024, "text of `BYTES` each")
	var clients []int
	var per time.Duration
	var body int
	store := &cobra.Command{
		Use:   "store [--clients N,N] [--duration D]",
		Short: "Acknowledged stores per second, through circuits",
		Long: `store counts stores that a majority of replicas has on disk. Each client has a mailbox, a circuit through three
relays and one store under way at a time.`,
		Example: `  sessionctl bench store
  sessionctl bench store --clients 16 --duration 10s --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, n := range clients {
				if n < 1 || n > 4096 {
					return cli.Usage("--clients %d: want 1 to 4096", n)
				}
			}
			if per <= 0 || body < 1 || body > loadgen.MaxBody {
				return cli.Usage("bench store: want a --duration above 0 and --size of 1 to %d", loadgen.MaxBody)
			}
			return a.onCluster(cmd, func(ctx context.Context, cf *directory.ClusterFile, where, dir string) error {
				return a.benchStore(ctx, cf, where, dir, clients, per, body)
			})
		},
	}
	store.Flags().IntSliceVar(&clients, "clients", []int{1, 16, 64, 256}, "how many clients at a time: `N,N`")
	store.Flags().DurationVar(&per, "duration", 5*time.Second, "measure each for `D`")
	store.Flags().IntVar(&body, "size", 1024, "bodies of `BYTES`")
	c.AddCommand(deliver, store, a.benchGroupCommand(), a.benchFailoverCommand())
	return c
}

// onCluster runs a benchmark on the named cluster, or on an embedded one that lives as long.
func (a *app) onCluster(cmd *cobra.Command, run func(ctx context.Context, cf *directory.ClusterFile, where, dir string) error) error {
	ctx, cancel := a.deadline(cmd, benchTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "starling-bench-")
	if err != nil {
		return cli.Fail("bench", err)
	}
	defer os.RemoveAll(dir)
	if a.flags.cluster != "" {
		cf, err := a.clusterFile()
		if err != nil {
			return err
		}
		return a.unreachable("bench", run(ctx, cf, "cluster "+cf.Name, dir))
	}
	stop := a.waiting("starting a cluster")
	c, err := node.StartEmbedded(ctx, node.EmbeddedConfig{
		Name: "bench", Nodes: demoNodes, Dir: dir + "/cluster", NoOps: true, QuotaBytes: benchQuota, Logger: a.logger(),
	})
	stop()
	if err != nil {
		return cli.Fail("start embedded cluster", err)
	}
	return errors.Join(a.unreachable("bench", run(ctx, c.ClusterFile(), fmt.Sprintf("embedded cluster of %d nodes", demoNodes), dir)), c.Close())
}

type deliverDoc struct {
	Cluster string  `json:"cluster"`
	N       int     `json:"n"`
	Size    int     `json:"size"`
	Hops    int     `json:"hops"`
	P50     float64 `json:"p50_ms"`
	P90     float64 `json:"p90_ms"`
	P99     float64 `json:"p99_ms"`
	Max     float64 `json:"max_ms"`
	Mean    float64 `json:"mean_ms"`
}

// warmUp messages go first and do not count: they build circuits and fetch keys.
const warmUp = 20

func (a *app) benchDeliver(ctx context.Context, cf *directory.ClusterFile, where, dir string, n, size int) error {
	from, _, err := a.newPerson(ctx, dir, "sender", "Sender", "bench", cf)
	if err != nil {
		return err
	}
	defer from.leave()
	to, _, err := a.newPerson(ctx, dir, "recipient", "Recipient", "bench", cf)
	if err != nil {
		return err
	}
	defer to.leave()
	stop := a.waiting("sending")
	defer stop()
	text := strings.Repeat("x", size)
	var times []time.Duration
	for i := range warmUp + n {
		t := time.Now()
		sent, err := from.Send(ctx, to.Account().ID, client.Outgoing{Text: text})
		if err != nil {
			return err
		}
		got, err := to.arrived.await(ctx, sent.ID)
		if err != nil {
			return err
		}
		if i >= warmUp {
			times = append(times, got.at.Sub(t))
		}
	}
	stop()
	d := spread(times)
	doc := deliverDoc{where, n, size, 3, ms(d.p50), ms(d.p90), ms(d.p99), ms(d.max), ms(d.mean)}
	return a.answer("bench.deliver", doc, func(w io.Writer, st style) {
		fmt.Fprintf(w, "deliver: %d messages of %d B through 3 relays, %s\n", n, size, where)
		t := newTable("P50", "P90", "P99", "MAX", "MEAN")
		t.row(seconds(d.p50), seconds(d.p90), seconds(d.p99), seconds(d.max), seconds(d.mean))
		t.write(w)
	})
}

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

type storeDoc struct {
	Cluster string         `json:"cluster"`
	Size    int            `json:"size"`
	Via     string         `json:"via"`
	Results []storeRunJSON `json:"results"`
}

type storeRunJSON struct {
	Clients   int     `json:"clients"`
	Stores    int     `json:"stores"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
}

func (a *app) benchStore(ctx context.Context, cf *directory.ClusterFile, where, dir string, clients []int, per time.Duration, size int) error {
	doc := storeDoc{where, size, "circuits", []storeRunJSON{}}
	for _, n := range clients {
		stop := a.waiting(fmt.Sprintf("storing with %d clients", n))
		r, err := loadgen.Stores(ctx, loadgen.Config{Cluster: cf, Dir: fmt.Sprintf("%s/%d", dir, n), Clients: n, Size: size, For: per})
		stop()
		if err != nil {
			return err
		}
		d := spread(r.Times)
		doc.Results = append(doc.Results, storeRunJSON{
			n, len(r.Times), r.Took.Seconds(), math.Round(float64(len(r.Times)) / r.Took.Seconds()), ms(d.p50), ms(d.p99),
		})
	}
	return a.answer("bench.store", doc, func(w io.Writer, st style) {
		fmt.Fprintf(w, "store: bodies of %d B, acknowledged on disk by a majority, through 3 relays, %s\n", size, where)
		t := newTable("CLIENTS", "STORES/S", "P50", "P99")
		for _, r := range doc.Results {
			t.row(fmt.Sprint(r.Clients), fmt.Sprintf("%.0f", r.PerSecond), fmt.Sprintf("%.1f ms", r.P50), fmt.Sprintf("%.1f ms", r.P99))
		}
		t.write(w)
	})
}
