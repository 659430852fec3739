package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/client/loadgen"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/directory"
)

func (a *app) benchGroupCommand() *cobra.Command {
	var members, messages, size int
	var form string
	c := &cobra.Command{
		Use:   "group [--members N] [--messages M] [--form FORM]",
		Short: "Time from a message to all members of a group, and what a removal costs",
		Long: `group makes a group whose members are all online, each with a device that has a circuit through three relays, a
subscription and the group's keys of its own; accounts and local stores are left out. It fills the group through a link,
sends messages one after the other, and removes a member. All devices share this machine.

As a yardstick the same text goes to single inboxes one after the other, as if the group were a list of people.`,
		Example: `  sessionctl bench group --members 100
  sessionctl bench group --members 100 --form own-keys
  sessionctl bench group --members 1000 --messages 20 --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if members < 3 || members > loadgen.MaxMembers {
				return cli.Usage("--members %d: want 3 to %d", members, loadgen.MaxMembers)
			}
			if messages < 1 || size < loadgen.MinGroupText || size > loadgen.MaxGroupText {
				return cli.Usage("bench group: want --messages of 1 or more and --size of %d to %d", loadgen.MinGroupText, loadgen.MaxGroupText)
			}
			if form != string(client.GroupShared) && form != string(client.GroupOwnKeys) {
				return cli.Usage("--form %s: want %s or %s", printable(form), client.GroupShared, client.GroupOwnKeys)
			}
			own := form == string(client.GroupOwnKeys)
			return a.onCluster(cmd, func(ctx context.Context, cf *directory.ClusterFile, where, dir string) error {
				return a.benchGroup(ctx, where, form, loadgen.Group{Cluster: cf, Dir: dir, Members: members, Messages: messages, Size: size, OwnKeys: own})
			})
		},
	}
	c.Flags().IntVar(&members, "members", 100, "a group of `N`")
	c.Flags().IntVar(&messages, "messages", 20, "send `M` messages")
	c.Flags().IntVar(&size, "size", 1024, "texts of `BYTES`")
	c.Flags().StringVar(&form, "form", string(client.GroupShared), "a group of `FORM`: shared or own-keys")
	_ = c.RegisterFlagCompletionFunc("form", cobra.FixedCompletions([]string{"shared", "own-keys"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

type groupBenchDoc struct {
	Cluster  string          `json:"cluster"`
	Form     string          `json:"form"`
	Members  int             `json:"members"`
	Messages int             `json:"messages"`
	Size     int             `json:"size"`
	Hops     int             `json:"hops"`
	Circuits float64         `json:"circuits_s"`
	Fill     float64         `json:"fill_s"`
	Enter    float64         `json:"enter_s"`
	Push     spreadDoc       `json:"push"`     // each message at each member
	All      spreadDoc       `json:"all"`      // each message at the last member
	Pairwise pairwiseDoc     `json:"pairwise"` // one text to the members' inboxes one by one, computed from some
	Removal  groupRemovalDoc `json:"removal"`
}

type spreadDoc struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

func spreadOf(times []time.Duration) spreadDoc {
	d := spread(times)
	return spreadDoc{ms(d.p50), ms(d.p99), ms(d.max)}
}

type pairwiseDoc struct {
	Measured int     `json:"measured"` // inboxes
	Each     float64 `json:"mean_ms"`
	All      float64 `json:"all_ms"`   // for as many as there are members
	Ratio    float64 `json:"to_group"` // of all_ms to the median of the group's all
}

type groupRemovalDoc struct {
	Make        float64   `json:"make_ms"`
	Store       float64   `json:"store_ms"`
	AdminBytes  int       `json:"admin_bytes"`
	CommitBytes int       `json:"commit_bytes"` // for every member
	SlotBytes   int       `json:"slot_bytes"`   // for each member
	Renewed     spreadDoc `json:"renewed"`      // members have the new keys
}

func (a *app) benchGroup(ctx context.Context, where, form string, cfg loadgen.Group) error {
	stop := a.waiting(fmt.Sprintf("running a group of %d", cfg.Members))
	r, err := loadgen.Messages(ctx, cfg)
	stop()
	if err != nil {
		return err
	}
	doc := groupBenchDoc{
		Cluster: where, Form: form, Members: cfg.Members, Messages: cfg.Messages, Size: cfg.Size, Hops: 3,
		Circuits: r.Circuits.Seconds(), Fill: r.Fill.Seconds(), Enter: r.Enter.Seconds(), Push: spreadOf(r.Arrivals), All: spreadOf(r.All),
		Removal: groupRemovalDoc{ms(r.Removal.Make), ms(r.Removal.Store), r.Removal.AdminBytes, r.Removal.CommitBytes, r.Removal.SlotBytes, spreadOf(r.Removal.Renewed)},
	}
	each := ms(spread(r.Pairwise).mean)
	doc.Pairwise = pairwiseDoc{Measured: len(r.Pairwise), Each: each, All: each * float64(cfg.Members)}
	doc.Pairwise.Ratio = math.Round(doc.Pairwise.All/doc.All.P50*10) / 10
	return a.answer("bench.group", doc, func(w io.Writer, st style) { printGroupBench(w, &doc) })
}

func printGroupBench(w io.Writer, d *groupBenchDoc) {
	at := func(ms float64) string { return seconds(time.Duration(ms * float64(time.Millisecond))) }
	fmt.Fprintf(w, "group of form %s: %d members online, %d messages of %d B through 3 relays, %s\n", d.Form, d.Members, d.Messages, d.Size, d.Cluster)
	fmt.Fprintf(w, "  circuits of all %.1f s, filled by requests to join %.1f s, all devices in %.1f s\n\n", d.Circuits, d.Fill, d.Enter)
	t := newTable("", "P50", "P99", "MAX")
	for _, r := range []struct {
		name string
		d    spreadDoc
	}{{"message opened by a member", d.Push}, {"message opened by all", d.All}, {"new keys after a removal", d.Removal.Renewed}} {
		t.row(r.name, at(r.d.P50), at(r.d.P99), at(r.d.Max))
	}
	t.write(w)
	fmt.Fprintf(w, "\nremoval: made in %s, stored in %s; the admin sends %d B, a member fetches a slot of %d B and the commit of %d B\n", at(d.Removal.Make), at(d.Removal.Store), d.Removal.AdminBytes, d.Removal.SlotBytes, d.Removal.CommitBytes)
	fmt.Fprintf(w, "one by one to inboxes: %s each (%d measured), %s for all: %.1f times as long\n", at(d.Pairwise.Each), d.Pairwise.Measured, at(d.Pairwise.All), d.Pairwise.Ratio)
}
