package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/node"
)

// watchEvery is how often status --watch asks again.
const watchEvery = 2 * time.Second

var errNoNode = errors.New("no --config, --ops or --admin is given, and there is no ./swarmd.yaml")

// askTimeout bounds one question to a node.
const askTimeout = 10 * time.Second

// target says which node a verb asks.
type target struct {
	file, socket, ops string
}

func (t *target) flags(cmd *cobra.Command) {
	configFlag(cmd, &t.file)
	cmd.Flags().StringVar(&t.socket, "admin", "", "admin socket `PATH`, instead of the configuration's")
	cmd.Flags().StringVar(&t.ops, "ops", "", "ask the ops listener at `ADDR` instead of the admin socket")
}

// admin returns the way to the node.
func (a *app) admin(t target) (*node.Admin, error) {
	switch {
	case t.ops != "":
		return node.DialOps(t.ops), nil
	case t.socket != "":
		return node.DialAdmin(t.socket), nil
	case a.configFile(t.file) == "":
		return nil, &cli.Error{What: "no node is named", Cause: errNoNode, Code: "CFG-102",
			Exit: cli.ExitUsage,
			Try: []string{"swarmd status --config DIR/node-1/swarmd.yaml",
				"swarmd status --ops ADDR   # as swarmd dev prints it"}}
	}
	loaded, err := a.load(t.file, nil)
	if err != nil {
		return nil, err
	}
	return node.DialAdmin(loaded.Config.AdminSocket), nil
}

func (a *app) ask(ctx context.Context, t target) (*node.Status, error) {
	admin, err := a.admin(t)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := admin.Status(ctx)
	if err != nil {
		return nil, &cli.Error{What: "no node answers", Cause: err, Try: []string{"swarmd run --config FILE",
			"swarmd status --config FILE"}}
	}
	return s, nil
}

func (a *app) statusCommand() *cobra.Command {
	var t target
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show nodes, swarms, leaders, lag, disk and problems",
		Example: `  swarmd status --config ./home/node-1/swarmd.yaml
  swarmd status --ops 127.0.0.1:7703 --watch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watch(cmd, t)
			}
			s, err := a.ask(cmd.Context(), t)
			if err != nil {
				return err
			}
			if a.json {
				return cli.WriteJSON(cmd.OutOrStdout(), "status", s)
			}
			return printStatus(cmd.OutOrStdout(), s)
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "print again every 2 s (with --json a line each)")
	return cmd
}

func (a *app) watch(cmd *cobra.Command, t target) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		s, err := a.ask(cmd.Context(), t)
		switch {
		case cmd.Context().Err() != nil:
			return nil
		case err != nil:
			cli.Report(cmd.ErrOrStderr(), a.json, err)
		case a.json:
			err = cli.WriteJSON(cmd.OutOrStdout(), "status", s)
		default:
			err = printStatus(cmd.OutOrStdout(), s)
			fmt.Fprintln(cmd.OutOrStdout())
		}
		if err != nil && s != nil {
			return err
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

func printStatus(w io.Writer, s *node.Status) error {
	ready := "ready"
	if !s.Ready {
		ready = "NOT READY: " + s.NotReady
	}
	fmt.Fprintf(w, "cluster %s, node %s (%s): %s\n", s.Cluster, s.Name, node.Short(s.Node), ready)
	fmt.Fprintf(w, "directory version %d, up %s, %s on disk\n\n", s.DirectoryVersion, s.Uptime(), s.Disk())
	if err := printNodes(w, s); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printSwarms(w, s); err != nil {
		return err
	}
	if len(s.Problems) == 0 {
		_, err := fmt.Fprintf(w, "\nno problems\n")
		return err
	}
	fmt.Fprintf(w, "\n%s:\n", count(len(s.Problems), "problem"))
	for _, p := range s.Problems {
		fmt.Fprintf(w, "  ! %s\n", p.What)
		if p.Try != "" {
			fmt.Fprintf(w, "    try: %s\n", p.Try)
		}
	}
	return nil
}

func printNodes(w io.Writer, s *node.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATE\tSEEN\tLEADS\tDISK\tDIRECTORY\tCLIENTS\tROLES")
	for _, n := range s.Nodes {
		seen := "yes"
		if !n.Reachable {
			seen = "no"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\n", n.Short(), n.State, seen, n.Leads, n.Disk(),
			n.DirectoryVersion, n.Addrs(), n.RoleList())
	}
	return t.Flush()
}

func printSwarms(w io.Writer, s *node.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SWARM\tSLOTS\tLEADER\tREPLICAS (position, behind)")
	for _, sw := range s.Swarms {
		var replicas []string
		for _, r := range sw.Replicas {
			text := r.Short() + " ?"
			if r.Known {
				text = fmt.Sprintf("%s %d", r.Short(), r.Applied)
				if r.Lag > 0 {
					text += fmt.Sprintf(" -%d", r.Lag)
				}
			}
			replicas = append(replicas, text)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", sw.Title(), sw.Slots, sw.LeaderShort(),
			strings.Join(replicas, ", "))
	}
	return t.Flush()
}
