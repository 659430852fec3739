package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/client/loadgen"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/bench"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
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
		Long: `deliver sends messages one after another between two fresh accounts in this process, so that one
clock measures both ends: from the call of Send to the message event in the recipient's client, through three
relays, stored on disk by a majority and pushed. No copies and no receipts travel.`,
		Example: `  sessionctl bench deliver -n 1000
  sessionctl bench deliver --cluster cluster.json --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 || size < 1 || size > client.MaxText {
				return cli.Usage("bench deliver: want -n of 1 or more and --size of 1 to %d", client.MaxText)
			}
			return a.onCluster(cmd, func(ctx context.Context, r *bench.Run) error {
				doc, err := r.Deliver(ctx, n, size)
				if err != nil {
					return err
				}
				return a.Answer("bench.deliver", doc,
					func(w io.Writer, _ render.Style) { view.WriteDeliver(w, doc) })
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
		Long: `store counts stores that a majority of replicas has on disk. Each client has a mailbox, a circuit
through three relays and one store under way at a time.`,
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
				return cli.Usage("bench store: want a --duration above 0 and --size of 1 to %d",
					loadgen.MaxBody)
			}
			return a.onCluster(cmd, func(ctx context.Context, r *bench.Run) error {
				doc, err := r.Store(ctx, clients, per, body)
				if err != nil {
					return err
				}
				return a.Answer("bench.store", doc,
					func(w io.Writer, _ render.Style) { view.WriteStore(w, doc) })
			})
		},
	}
	store.Flags().IntSliceVar(&clients, "clients", []int{1, 16, 64, 256}, "how many clients at a time: `N,N`")
	store.Flags().DurationVar(&per, "duration", 5*time.Second, "measure each for `D`")
	store.Flags().IntVar(&body, "size", 1024, "bodies of `BYTES`")
	c.AddCommand(deliver, store, a.benchGroupCommand(), a.benchFailoverCommand())
	return c
}

// embeddedNodes is the size of the clusters that bench and e2e start in this process.
const embeddedNodes = 5

var embeddedWords = fmt.Sprintf("embedded cluster of %d nodes", embeddedNodes)

// embedded starts a cluster in this process.
func (a *app) embedded(ctx context.Context, cfg node.EmbeddedConfig) (*node.Embedded, error) {
	cfg.Nodes, cfg.NoOps, cfg.Logger = embeddedNodes, true, a.Logger
	stop := a.Waiting("starting a cluster")
	c, err := node.StartEmbedded(ctx, cfg)
	stop()
	if err != nil {
		return nil, cli.Fail("start embedded cluster", err)
	}
	return c, nil
}

// onCluster runs a benchmark on the named cluster, or on an embedded one that lives as long.
func (a *app) onCluster(cmd *cobra.Command, measure func(context.Context, *bench.Run) error) error {
	ctx, cancel := a.Deadline(cmd.Context(), benchTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "starling-bench-")
	if err != nil {
		return cli.Fail("bench", err)
	}
	defer os.RemoveAll(dir)
	r := &bench.Run{Dir: dir, Logger: a.Logger, Waiting: a.Waiting}
	if a.Cluster != "" {
		if r.Cluster, err = a.ClusterFile(ctx); err != nil {
			return err
		}
		r.Where = "cluster " + r.Cluster.Name
		return a.Unreachable("bench", measure(ctx, r))
	}
	cfg := node.EmbeddedConfig{Name: "bench", Dir: filepath.Join(dir, "cluster"), QuotaBytes: benchQuota}
	c, err := a.embedded(ctx, cfg)
	if err != nil {
		return err
	}
	r.Cluster, r.Where = c.ClusterFile(), embeddedWords
	return errors.Join(a.Unreachable("bench", measure(ctx, r)), c.Close())
}

func (a *app) benchGroupCommand() *cobra.Command {
	var members, messages, size int
	var form string
	c := &cobra.Command{
		Use:   "group [--members N] [--messages M] [--form FORM]",
		Short: "Time from a message to all members of a group, and what a removal costs",
		Long: `group makes a group whose members are all online, each with a device that has a circuit through three
relays, a subscription and the group's keys of its own; accounts and local stores are left out. It fills the
group through a link, sends messages one after the other, and removes a member. All devices share this
machine.

As a yardstick the same text goes to single inboxes one after the other, as if the group were a list of
people.`,
		Example: `  sessionctl bench group --members 100
  sessionctl bench group --members 100 --form own-keys
  sessionctl bench group --members 1000 --messages 20 --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if members < 3 || members > loadgen.MaxMembers {
				return cli.Usage("--members %d: want 3 to %d", members, loadgen.MaxMembers)
			}
			if messages < 1 || size < loadgen.MinGroupText || size > loadgen.MaxGroupText {
				return cli.Usage("bench group: want --messages of 1 or more and --size of %d to %d",
					loadgen.MinGroupText,
					loadgen.MaxGroupText)
			}
			if form != string(client.GroupShared) && form != string(client.GroupOwnKeys) {
				return cli.Usage("--form %s: want %s or %s", render.Printable(form), client.GroupShared,
					client.GroupOwnKeys)
			}
			own := form == string(client.GroupOwnKeys)
			return a.onCluster(cmd, func(ctx context.Context, r *bench.Run) error {
				doc, err := r.Group(ctx, form,
					loadgen.Group{Members: members, Messages: messages, Size: size, OwnKeys: own})
				if err != nil {
					return err
				}
				return a.Answer("bench.group", doc,
					func(w io.Writer, _ render.Style) { view.WriteGroupBench(w, doc) })
			})
		},
	}
	c.Flags().IntVar(&members, "members", 100, "a group of `N`")
	c.Flags().IntVar(&messages, "messages", 20, "send `M` messages")
	c.Flags().IntVar(&size, "size", 1024, "texts of `BYTES`")
	c.Flags().StringVar(&form, "form", string(client.GroupShared), "a group of `FORM`: shared or own-keys")
	_ = c.RegisterFlagCompletionFunc("form",
		cobra.FixedCompletions([]string{"shared", "own-keys"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) benchFailoverCommand() *cobra.Command {
	var roles []string
	var n int
	c := &cobra.Command{
		Use: "failover [--roles ROLE,ROLE] [-n N]",
		Short: "Longest wait of a sender and of a recipient while a node is killed, by what the node was " +
			"to them",
		Long: `failover starts a cluster of 5 nodes in this process. In every round two fresh accounts talk, one
message every 20 ms, and a node is killed as kill -9 would: the one that has the role. Counted are the longest
time from Send to the acknowledgement and to the recipient's event, over all messages of the round; none may
be lost. Then the node comes back. Nodes are other things as well: "leads" counts the rounds in which the dead
node led a swarm of the two.

Roles: ` + strings.Join(bench.Roles, ", ") + ".",
		Example: `  sessionctl bench failover
  sessionctl bench failover --roles leader,middle -n 10 --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, r := range roles {
				if !slices.Contains(bench.Roles, r) {
					return cli.Usage("--roles %s: want some of %s", render.Printable(r),
						strings.Join(bench.Roles, ", "))
				}
			}
			if n < 1 {
				return cli.Usage("bench failover: want -n of 1 or more")
			}
			if a.Cluster != "" {
				return cli.Usage("bench failover kills nodes: it starts a cluster of its own, " +
					"leave out --cluster")
			}
			return a.failover(cmd, roles, n)
		},
	}
	c.Flags().StringSliceVar(&roles, "roles", bench.Roles,
		"kill the node with `ROLE`; several, one after the other")
	c.Flags().IntVarP(&n, "number", "n", 3, "`N` rounds for each role")
	_ = c.RegisterFlagCompletionFunc("roles",
		cobra.FixedCompletions(bench.Roles, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) failover(cmd *cobra.Command, roles []string, n int) error {
	ctx, cancel := a.Deadline(cmd.Context(), benchTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "starling-bench-")
	if err != nil {
		return cli.Fail("bench", err)
	}
	defer os.RemoveAll(dir)
	c, err := a.embedded(ctx, node.EmbeddedConfig{Name: "bench", Dir: filepath.Join(dir, "cluster")})
	if err != nil {
		return err
	}
	defer c.Close()
	r := &bench.Run{
		Cluster: c.ClusterFile(), Where: embeddedWords, Dir: dir, Logger: a.Logger, Waiting: a.Waiting,
	}
	doc, err := r.Failover(ctx, c, roles, n)
	if err != nil {
		return err
	}
	return a.Answer("bench.failover", doc, func(w io.Writer, _ render.Style) { view.WriteFailover(w, doc) })
}
