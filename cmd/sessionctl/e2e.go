package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/junit"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/scenario"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// e2eTimeout bounds a whole run.
const e2eTimeout = time.Hour

// e2ePause lies between changes, so that each leaves at once: those that come within 300 ms of another one
// wait for it.
const e2ePause = 400 * time.Millisecond

type e2eOptions struct {
	names   []string
	devices []int
	junit   string
	seed    uint64
	faults  bool
}

func (a *app) e2eCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "e2e",
		Short:   "Play scenarios with several devices, and check that they stay in step",
		GroupID: "test",
		Example: `  sessionctl e2e list
  sessionctl e2e run
  sessionctl e2e run petname restore-alone --devices 3`,
	}
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Short:   "List the scenarios",
		Example: "  sessionctl e2e list --json",
		Args:    exactly(),
		RunE:    func(*cobra.Command, []string) error { return a.e2eList() },
	})
	var o e2eOptions
	run := &cobra.Command{
		Use:   "run [NAME...] [--devices N,N] [--faults] [--junit FILE] [--seed N]",
		Short: "Play scenarios on an embedded cluster of 5 nodes, or on --cluster",
		Long: `run plays every scenario, or those named, with real clients through the onion network, once for each
number of devices. P50 and P95 are times of convergence: from the moment a change is on the disk of the device
where it was made to the event on the other ones. What goes to own devices as copies of messages (edits,
reactions, deletions) takes 0.5 to 5 seconds on purpose, so that no node pairs the two by time.

With --faults, on an embedded cluster only, everything is played again while the node that leads the account's
mailbox is killed in the middle and leadership moves. The exit code is 7 if a scenario fails.`,
		Example: `  sessionctl e2e run
  sessionctl e2e run --devices 2 --faults
  sessionctl e2e run random --seed 42 --json
  sessionctl e2e run --cluster cluster.json --junit report.xml`,
		ValidArgsFunction: func(*cobra.Command, []string, string) (names []string,
			_ cobra.ShellCompDirective) {
			for _, s := range scenario.All() {
				names = append(names, s.Name+"\t"+s.About)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.names = args
			if !cmd.Flags().Changed("seed") {
				o.seed = uint64(rand.Uint32())
			}
			return a.e2eRun(cmd, o)
		},
	}
	f := run.Flags()
	f.IntSliceVar(&o.devices, "devices", []int{2, 3}, "play with so many devices: `N,N`")
	f.StringVar(&o.junit, "junit", "", "also write the results to `FILE`, for build servers")
	f.Uint64Var(&o.seed, "seed", 0,
		"what random scenarios draw from `N`; default another one each time, which is printed")
	f.BoolVar(&o.faults, "faults", false, "play again with a node killed and leadership moved in the middle")
	c.AddCommand(run)
	return c
}

func (a *app) e2eList() error {
	doc := sessionapi.Scenarios{Scenarios: []sessionapi.Scenario{}}
	for _, s := range scenario.All() {
		doc.Scenarios = append(doc.Scenarios, sessionapi.Scenario{Name: s.Name, About: s.About})
	}
	return a.Answer("e2e.list", doc, func(w io.Writer, _ render.Style) {
		t := render.NewTable("SCENARIO", "WHAT HAPPENS")
		for _, s := range doc.Scenarios {
			t.Row(s.Name, s.About)
		}
		t.Write(w)
	})
}

// chosen returns the scenarios of the given names, or all.
func chosen(names []string) ([]scenario.Scenario, error) {
	if len(names) == 0 {
		return scenario.All(), nil
	}
	var out []scenario.Scenario
	for _, name := range names {
		s, ok := scenario.Find(name)
		if !ok {
			var all []string
			for _, s := range scenario.All() {
				all = append(all, s.Name)
			}
			e := cli.Usage("no scenario is called %q", name)
			for _, n := range refs.Nearest(name, all) {
				e.Try = append(e.Try, "sessionctl e2e run "+n)
			}
			e.Try = append(e.Try, "sessionctl e2e list")
			return nil, e
		}
		out = append(out, s)
	}
	return out, nil
}

func (a *app) e2eRun(cmd *cobra.Command, o e2eOptions) error {
	list, err := chosen(o.names)
	if err != nil {
		return err
	}
	for _, n := range o.devices {
		if n < 2 || n > 8 {
			return cli.Usage("--devices %d: want 2 to 8", n)
		}
	}
	if o.faults && a.Cluster != "" {
		return cli.Usage("--faults: only on an embedded cluster, whose nodes this process may kill")
	}
	ctx, cancel := a.Deadline(cmd.Context(), e2eTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "starling-e2e-")
	if err != nil {
		return cli.Fail("e2e", err)
	}
	defer os.RemoveAll(dir)
	if a.Cluster != "" {
		cf, err := a.ClusterFile(ctx)
		if err != nil {
			return err
		}
		return a.playAll(ctx, list, o, cf, "cluster "+cf.Name, dir, nil)
	}
	c, err := a.embedded(ctx, node.EmbeddedConfig{Name: "e2e", Dir: filepath.Join(dir, "cluster")})
	if err != nil {
		return err
	}
	err = a.playAll(ctx, list, o, c.ClusterFile(), embeddedWords, dir, scenario.KillLeader(c))
	return errors.Join(err, c.Close())
}

// playAll plays the list and prints what came of it.
func (a *app) playAll(ctx context.Context, list []scenario.Scenario, o e2eOptions, cf *directory.ClusterFile,
	where, dir string, kill scenario.Disturb) error {
	doc := sessionapi.ScenarioRun{Cluster: where, Seed: o.seed, Plays: []sessionapi.ScenarioPlay{}}
	var times []time.Duration
	play := func(s scenario.Scenario, devices int, d scenario.Disturb) {
		stop := a.Waiting(fmt.Sprintf("playing %s with %d devices", s.Name, devices))
		r := scenario.Play(ctx, s, scenario.Config{
			Cluster: cf, Dir: dir, Devices: devices, Seed: o.seed, Pause: e2ePause, Disturb: d,
			Logger: a.Logger,
		})
		stop()
		p := sessionapi.ScenarioPlay{
			Scenario: r.Name, Devices: devices, Fault: r.Disturbed, OK: r.Err == nil, Note: r.Note,
			MS: sessionapi.Milliseconds(r.Took), Changes: len(r.Times),
			P50: sessionapi.Milliseconds(r.Percentile(0.5)), P95: sessionapi.Milliseconds(r.Percentile(0.95)),
		}
		if r.Err != nil {
			p.Error = r.Err.Error()
			doc.Failed++
		} else {
			doc.Passed++
		}
		if !r.Disturbed {
			times = append(times, r.Times...)
		}
		doc.Plays = append(doc.Plays, p)
		if !a.JSON && !a.Quiet && r.Err != nil {
			a.Warn("%s with %d devices: %v", r.Name, devices, r.Err)
		}
	}
	for _, s := range list {
		devices := o.devices
		if s.Fixed {
			devices = devices[:1]
		}
		for _, n := range devices {
			for _, d := range faultsOf(o, kill) {
				if ctx.Err() == nil {
					play(s, n, d)
				}
			}
		}
	}
	slices.Sort(times)
	all := scenario.Result{Times: times}
	doc.Changes = len(times)
	doc.P50 = sessionapi.Milliseconds(all.Percentile(0.5))
	doc.P95 = sessionapi.Milliseconds(all.Percentile(0.95))
	if o.junit != "" {
		if err := junit.Write(o.junit, doc); err != nil {
			return cli.Fail("write "+o.junit, err)
		}
	}
	if err := a.Answer("e2e.run", doc,
		func(w io.Writer, st render.Style) { view.WritePlays(w, st, doc) }); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return cli.Fail("e2e run", ctx.Err())
	case doc.Failed > 0:
		return &cli.Error{What: fmt.Sprintf("%d of %d plays failed", doc.Failed, doc.Failed+doc.Passed),
			Code: "E2E-100", Exit: cli.ExitPartly,
			Try: []string{fmt.Sprintf("sessionctl e2e run %s --seed %d -v", firstFailed(doc), o.seed)}}
	}
	return nil
}

// faultsOf are the ways in which everything is played: undisturbed, and with a node killed.
func faultsOf(o e2eOptions, kill scenario.Disturb) []scenario.Disturb {
	if o.faults {
		return []scenario.Disturb{nil, kill}
	}
	return []scenario.Disturb{nil}
}

func firstFailed(doc sessionapi.ScenarioRun) string {
	for _, p := range doc.Plays {
		if !p.OK {
			return fmt.Sprintf("%s --devices %d", p.Scenario, p.Devices)
		}
	}
	return ""
}
