package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/scenario"
)

// e2eTimeout bounds a whole run.
const e2eTimeout = time.Hour

// e2ePause lies between changes, so that each leaves at once: those that come within 300 ms of another one wait for it.
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
		Long: `run plays every scenario, or those named, with real clients through the onion network, once for each number of
devices. P50 and P95 are times of convergence: from the moment a change is on the disk of the device where it was made to
the event on the other ones. What goes to own devices as copies of messages (edits, reactions, deletions) takes 0.5 to 5
seconds on purpose, so that no node pairs the two by time.

With --faults, on an embedded cluster only, everything is played again while the node that leads the account's mailbox is
killed in the middle and leadership moves. The exit code is 7 if a scenario fails.`,
		Example: `  sessionctl e2e run
  sessionctl e2e run --devices 2 --faults
  sessionctl e2e run random --seed 42 --json
  sessionctl e2e run --cluster cluster.json --junit report.xml`,
		ValidArgsFunction: func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
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
	f.Uint64Var(&o.seed, "seed", 0, "what random scenarios draw from `N`; default another one each time, which is printed")
	f.BoolVar(&o.faults, "faults", false, "play again with a node killed and leadership moved in the middle")
	c.AddCommand(run)
	return c
}

type scenarioDoc struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

type scenarioListDoc struct {
	Scenarios []scenarioDoc `json:"scenarios"`
}

func (a *app) e2eList() error {
	doc := scenarioListDoc{[]scenarioDoc{}}
	for _, s := range scenario.All() {
		doc.Scenarios = append(doc.Scenarios, scenarioDoc{s.Name, s.About})
	}
	return a.answer("e2e.list", doc, func(w io.Writer, _ style) {
		t := newTable("SCENARIO", "WHAT HAPPENS")
		for _, s := range doc.Scenarios {
			t.row(s.Name, s.About)
		}
		t.write(w)
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
			for _, n := range nearest(name, all) {
				e.Try = append(e.Try, "sessionctl e2e run "+n)
			}
			e.Try = append(e.Try, "sessionctl e2e list")
			return nil, e
		}
		out = append(out, s)
	}
	return out, nil
}

type e2ePlayDoc struct {
	Scenario string  `json:"scenario"`
	Devices  int     `json:"devices"`
	Fault    bool    `json:"fault"`
	OK       bool    `json:"ok"`
	Error    string  `json:"error,omitempty"`
	Note     string  `json:"note,omitempty"`
	MS       float64 `json:"ms"`
	Changes  int     `json:"changes"`
	P50      float64 `json:"p50_ms"`
	P95      float64 `json:"p95_ms"`
}

type e2eDoc struct {
	Cluster string  `json:"cluster"`
	Seed    uint64  `json:"seed"`
	Passed  int     `json:"passed"`
	Failed  int     `json:"failed"`
	Changes int     `json:"changes"`
	P50     float64 `json:"p50_ms"`
	P95     float64 `json:"p95_ms"`

	Plays []e2ePlayDoc `json:"plays"`
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
	if o.faults && a.flags.cluster != "" {
		return cli.Usage("--faults: only on an embedded cluster, whose nodes this process may kill")
	}
	ctx, cancel := a.deadline(cmd, e2eTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "starling-e2e-")
	if err != nil {
		return cli.Fail("e2e", err)
	}
	defer os.RemoveAll(dir)
	if a.flags.cluster != "" {
		cf, err := a.clusterFile()
		if err != nil {
			return err
		}
		return a.playAll(ctx, list, o, cf, "cluster "+cf.Name, dir, nil)
	}
	stop := a.waiting("starting a cluster")
	c, err := node.StartEmbedded(ctx, node.EmbeddedConfig{Name: "e2e", Nodes: demoNodes, Dir: dir + "/cluster", NoOps: true, Logger: a.logger()})
	stop()
	if err != nil {
		return cli.Fail("start embedded cluster", err)
	}
	err = a.playAll(ctx, list, o, c.ClusterFile(), fmt.Sprintf("embedded cluster of %d nodes", demoNodes), dir, scenario.KillLeader(c))
	return errors.Join(err, c.Close())
}

// playAll plays the list and prints what came of it.
func (a *app) playAll(ctx context.Context, list []scenario.Scenario, o e2eOptions, cf *directory.ClusterFile, where, dir string, kill scenario.Disturb) error {
	doc := e2eDoc{Cluster: where, Seed: o.seed, Plays: []e2ePlayDoc{}}
	var times []time.Duration
	play := func(s scenario.Scenario, devices int, d scenario.Disturb) {
		stop := a.waiting(fmt.Sprintf("playing %s with %d devices", s.Name, devices))
		r := scenario.Play(ctx, s, scenario.Config{
			Cluster: cf, Dir: dir, Devices: devices, Seed: o.seed, Pause: e2ePause, Disturb: d, Logger: a.logger(),
		})
		stop()
		p := e2ePlayDoc{Scenario: r.Name, Devices: devices, Fault: r.Disturbed, OK: r.Err == nil, Note: r.Note, MS: ms(r.Took),
			Changes: len(r.Times), P50: ms(r.Percentile(0.5)), P95: ms(r.Percentile(0.95))}
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
		if !a.flags.json && !a.flags.quiet && r.Err != nil {
			a.warn("%s with %d devices: %v", r.Name, devices, r.Err)
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
	doc.Changes, doc.P50, doc.P95 = len(times), ms(all.Percentile(0.5)), ms(all.Percentile(0.95))
	if o.junit != "" {
		if err := writeJUnit(o.junit, &doc); err != nil {
			return cli.Fail("write "+o.junit, err)
		}
	}
	if err := a.answer("e2e.run", doc, func(w io.Writer, st style) { writePlays(w, st, &doc) }); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return cli.Fail("e2e run", ctx.Err())
	case doc.Failed > 0:
		return &cli.Error{What: fmt.Sprintf("%d of %d plays failed", doc.Failed, doc.Failed+doc.Passed), Code: "E2E-100", Exit: cli.ExitPartly,
			Try: []string{fmt.Sprintf("sessionctl e2e run %s --seed %d -v", firstFailed(&doc), o.seed)}}
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

func firstFailed(doc *e2eDoc) string {
	for _, p := range doc.Plays {
		if !p.OK {
			return fmt.Sprintf("%s --devices %d", p.Scenario, p.Devices)
		}
	}
	return ""
}

func writePlays(w io.Writer, st style, doc *e2eDoc) {
	millis := func(p e2ePlayDoc, v float64) string {
		if p.Changes == 0 {
			return "-"
		}
		return seconds(time.Duration(v * float64(time.Millisecond)))
	}
	t := newTable("SCENARIO", "DEVICES", "FAULT", "RESULT", "TIME", "CHANGES", "P50", "P95", "NOTE")
	for _, p := range doc.Plays {
		result, broken := "ok", "-"
		if !p.OK {
			result = "FAILED"
		}
		if p.Fault {
			broken = "leader killed"
		}
		t.row(p.Scenario, fmt.Sprint(p.Devices), broken, result, seconds(time.Duration(p.MS*float64(time.Millisecond))), fmt.Sprint(p.Changes),
			millis(p, p.P50), millis(p, p.P95), p.Note)
	}
	t.write(w)
	fmt.Fprintf(w, "\n%d passed, %d failed, %s, seed %d\n", doc.Passed, doc.Failed, doc.Cluster, doc.Seed)
	if doc.Changes > 0 {
		fmt.Fprintf(w, "%d changes converged without faults: p50 %s, p95 %s\n", doc.Changes,
			st.cyan(seconds(time.Duration(doc.P50*float64(time.Millisecond)))), st.cyan(seconds(time.Duration(doc.P95*float64(time.Millisecond)))))
	}
}
