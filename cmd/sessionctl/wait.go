package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// clusterTimeout is how long "wait cluster" waits by default: a cluster of containers needs a while.
const clusterTimeout = time.Minute

func (a *app) waitCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "wait",
		Short:   "Wait for the cluster or for a message, for scripts",
		GroupID: "network",
		Example: `  sessionctl wait cluster --timeout 1m
  sessionctl wait message 3f9a2c1b --for delivered`,
	}
	c.AddCommand(&cobra.Command{
		Use:     "cluster",
		Short:   "Wait until the cluster answers with a complete, signed directory",
		Example: "  sessionctl wait cluster --cluster out/cluster.json --timeout 1m",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.Deadline(cmd.Context(), clusterTimeout)
			defer cancel()
			return a.waitCluster(ctx)
		},
	})
	var state string
	message := &cobra.Command{
		Use:   "message ID --for stored|delivered|read",
		Short: "Wait until a message of ours has come so far",
		Example: `  sessionctl wait message last --for delivered
  sessionctl wait message 3f9a2c1b --for stored --json`,
		Args: exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.waitMessage(cmd, args[0], state)
		},
	}
	message.Flags().StringVar(&state, "for", "stored", "`STATE`: stored, delivered or read")
	c.AddCommand(message)
	return c
}

func (a *app) waitCluster(ctx context.Context) error {
	cf, err := a.ClusterFile(ctx)
	if err != nil {
		return err
	}
	stop := a.Waiting("waiting for the cluster")
	d, err := session.WaitCluster(ctx, cf)
	stop()
	if err != nil {
		return &cli.Error{What: "wait cluster", Cause: err, Try: []string{"swarmd status", "swarmd dev"}}
	}
	doc := sessionapi.Cluster{Cluster: cf.Name, ClusterID: cf.ID.String(), Version: d.Version,
		Nodes: len(d.Nodes), Swarms: len(d.Swarms)}
	return a.Answer("cluster", doc, func(w io.Writer, st render.Style) {
		fmt.Fprintf(w, "%s cluster %s answers: %d nodes, %d swarms\n", st.Green("✓"),
			render.Printable(cf.Name),
			doc.Nodes, doc.Swarms)
	})
}

func (a *app) waitMessage(cmd *cobra.Command, ref, word string) error {
	state, err := client.ParseState(word)
	if err != nil || state < client.StateStored || state > client.StateRead {
		return cli.Usage("--for %s: want stored, delivered or read", word)
	}
	c, err := a.Online(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
	defer cancel()
	m, err := a.find(c).Message(ctx, ref)
	if err != nil {
		return err
	}
	if !m.Mine {
		return cli.Fail("wait message",
			fault.New(fault.Invalid, "message "+m.ID.Short(), "is not ours: there is nothing to wait for"))
	}
	if peer, err := ident.ParsePeer(m.Conversation); err == nil {
		if err := onlyStored([]ident.Peer{peer}, "--for", state); err != nil {
			return err
		}
	}
	stop := a.Waiting("waiting until it is " + word)
	r, err := c.Wait(ctx, m.ID, state)
	stop()
	if err != nil {
		return a.Unreachable("wait message "+m.ID.Short(), err)
	}
	return a.Answer("message.sent", sessionapi.SentOf(r),
		func(w io.Writer, st render.Style) { view.WriteSent(w, st, r, r.Conversation) })
}
