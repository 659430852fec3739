package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/clictx"
	"github.com/starling-swarm/starling/internal/node"
)

// devContext is the context that swarmd dev makes current.
const devContext = "dev"

// devStart bounds the start of an embedded cluster, which takes a second or two.
const devStart = time.Minute

type devOptions struct {
	nodes, swarms        int
	dataDir, clusterFile string
	latency              time.Duration
	loss                 string
	verbose              bool
}

func (a *app) devCommand() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster in this process, to try it out",
		Long: `Runs a cluster on loopback in this process, with ports picked free, and makes it sessionctl's current context
"dev". Without --data-dir everything is removed at Ctrl-C.`,
		Example: `  swarmd dev
  swarmd dev --data-dir ./dev --latency 25ms --loss 1%

  then, in another terminal:
  sessionctl -p alice init --name Alice`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dev(cmd, o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.nodes, "nodes", 5, "number of nodes, at least 3")
	f.IntVar(&o.swarms, "swarms", 0, "number of swarms; 0 is the larger of 3 and the number of nodes")
	f.StringVar(&o.dataDir, "data-dir", "", "keep everything in `DIR`, and go on from there next time")
	f.StringVar(&o.clusterFile, "cluster-file", "", "write the cluster file for clients to `FILE`")
	f.DurationVar(&o.latency, "latency", 0, "delay added to what nodes send to each other")
	f.StringVar(&o.loss, "loss", "0%", "share of packets between nodes that is lost")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log on stderr")
	return cmd
}

func (a *app) dev(cmd *cobra.Command, o devOptions) (err error) {
	loss, err := parseShare(o.loss)
	if err != nil {
		return err
	}
	if o.nodes < 3 {
		return cli.Usage("%d nodes, want at least 3", o.nodes)
	}
	log := slog.New(slog.DiscardHandler)
	if o.verbose {
		log = newLogger(cmd.ErrOrStderr(), "text", slog.LevelDebug)
	}
	start, cancel := context.WithTimeout(cmd.Context(), devStart)
	defer cancel()
	cluster, err := node.StartEmbedded(start, node.EmbeddedConfig{
		Nodes: o.nodes, Swarms: o.swarms, Dir: o.dataDir, Latency: o.latency, Loss: loss, Logger: log,
	})
	if err != nil {
		return cli.Fail("start the cluster", err)
	}
	defer func() {
		if closeErr := cluster.Close(); err == nil && closeErr != nil {
			err = cli.Fail("stop the cluster", closeErr)
		}
	}()
	forget, path, err := a.publish(cluster, o)
	if err != nil {
		return cli.Fail("make context "+devContext, err)
	}
	defer forget()
	if err := a.printReady(cmd, cluster, path); err != nil {
		return err
	}
	<-cmd.Context().Done()
	return nil
}

// publish hands the cluster to sessionctl as the current context. forget takes that back, unless the cluster
// stays on disk or another dev cluster has taken the name meanwhile.
func (a *app) publish(cluster *node.Embedded, o devOptions) (forget func(), path string, err error) {
	home := a.getenv("SESSIONCTL_HOME")
	if home == "" {
		home = clictx.DefaultHome()
	}
	body, err := cluster.ClusterFile().Encode()
	if err != nil {
		return nil, "", err
	}
	path = filepath.Join(cluster.Dir(), "cluster.json")
	if o.clusterFile != "" {
		path = o.clusterFile
		if err := os.WriteFile(path, body, 0o644); err != nil {
			return nil, "", err
		}
	}
	if err := clictx.Add(home, devContext, body); err != nil {
		return nil, "", err
	}
	previous, err := clictx.Use(home, devContext)
	if err != nil {
		return nil, "", err
	}
	return func() {
		if o.dataDir != "" {
			return
		}
		if o.clusterFile != "" {
			_ = os.Remove(o.clusterFile)
		}
		copied, err := clictx.Resolve(home, devContext)
		if err != nil {
			return
		}
		if now, err := os.ReadFile(copied); err == nil && bytes.Equal(now, body) {
			_ = clictx.Remove(home, devContext, previous)
		}
	}, path, nil
}

func (a *app) printReady(cmd *cobra.Command, cluster *node.Embedded, path string) error {
	link := cluster.ClusterFile().Link().String()
	if a.json {
		type member struct {
			ID         string `json:"id"`
			ClientAddr string `json:"client_addr"`
			OpsAddr    string `json:"ops_addr"`
			PID        int    `json:"pid"`
		}
		var nodes []member
		for _, n := range cluster.Nodes() {
			nodes = append(nodes, member{n.ID.String(), n.ClientAddr, n.OpsAddr, os.Getpid()})
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		return cli.WriteJSON(cmd.OutOrStdout(), "dev.ready", map[string]any{"nodes": nodes,
			"cluster_file": abs, "link": link})
	}
	var addrs []string
	for _, n := range cluster.Nodes() {
		addrs = append(addrs, n.ClientAddr)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "ready: %d nodes at %s, context %q is current\n", len(addrs),
		strings.Join(addrs, " "), devContext)
	hints := cmd.ErrOrStderr()
	ops := cluster.Nodes()[0].OpsAddr
	fmt.Fprintf(hints, "status: http://%s/ or go run ./cmd/swarmd status --ops %s\n", ops, ops)
	fmt.Fprintf(hints, "next, in another terminal: go run ./cmd/sessionctl -p alice init --name Alice\n")
	return nil
}
