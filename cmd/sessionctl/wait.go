package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
)

// How often "wait cluster" asks again, and how long it waits by default: a cluster of containers needs a while.
const (
	clusterPoll    = 200 * time.Millisecond
	clusterTimeout = time.Minute
)

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
			ctx, cancel := a.deadline(cmd, clusterTimeout)
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

type clusterDoc struct {
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	Version   uint64 `json:"version"`
	Nodes     int    `json:"nodes"`
	Swarms    int    `json:"swarms"`
}

func (a *app) waitCluster(ctx context.Context) error {
	cf, err := a.clusterFile()
	if err != nil {
		return err
	}
	stop := a.waiting("waiting for the cluster")
	defer stop()
	poll := time.NewTicker(clusterPoll)
	defer poll.Stop()
	var last error
	for {
		d, err := completeDirectory(ctx, cf)
		if err == nil {
			stop()
			doc := clusterDoc{cf.Name, cf.ID.String(), d.Version, len(d.Nodes), len(d.Swarms)}
			return a.answer("cluster", doc, func(w io.Writer, st style) {
				fmt.Fprintf(w, "%s cluster %s answers: %d nodes, %d swarms\n", st.green("✓"), printable(cf.Name), doc.Nodes, doc.Swarms)
			})
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			e := &cli.Error{What: "wait cluster", Cause: errors.Join(ctx.Err(), last), Try: []string{"swarmd status", "swarmd dev"}}
			return e
		}
	}
}

// nodeConn is a connection to one node's client listener.
type nodeConn = grpc.ClientConnInterface

// askNodes puts a question to all nodes at once and returns the first answer.
func askNodes[T any](ctx context.Context, nodes []directory.Bootstrap, ask func(context.Context, nodeConn) (T, error)) (answer T, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		answer T
		err    error
	}
	results := make(chan result, len(nodes))
	for _, b := range nodes {
		go func() {
			var r result
			conn, err := rpc.DialNode(b.NodeID, b.ClientAddrs, nil)
			if err != nil {
				results <- result{err: err}
				return
			}
			defer conn.Close()
			r.answer, r.err = ask(ctx, conn)
			results <- r
		}()
	}
	err = fault.New(fault.Unavailable, "ask cluster", "it names no nodes")
	for range nodes {
		r := <-results
		if r.err == nil {
			return r.answer, nil
		}
		err = r.err
	}
	return answer, err
}

// completeDirectory fetches a directory that the cluster's signers signed and whose swarms exist.
func completeDirectory(ctx context.Context, cf *directory.ClusterFile) (*directory.Directory, error) {
	return askNodes(ctx, cf.Bootstrap, func(ctx context.Context, n nodeConn) (*directory.Directory, error) {
		signed, _, err := rpc.FetchDirectory(ctx, n, 0)
		if err != nil {
			return nil, err
		}
		if signed == nil {
			return nil, fault.New(fault.Unavailable, "fetch directory", "the cluster is still forming")
		}
		d, err := cf.Verify(signed)
		if err != nil {
			return nil, err
		}
		if _, ok := d.SwarmOf(ident.MailboxID{}); !ok {
			return nil, fault.New(fault.Unavailable, "fetch directory", "the cluster has no swarms yet")
		}
		return d, nil
	})
}

func (a *app) waitMessage(cmd *cobra.Command, ref, word string) error {
	state, err := client.ParseState(word)
	if err != nil || state < client.StateStored || state > client.StateRead {
		return cli.Usage("--for %s: want stored, delivered or read", word)
	}
	c, err := a.online(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(cmd, defaultTimeout)
	defer cancel()
	m, err := a.findMessage(ctx, c, ref)
	if err != nil {
		return err
	}
	if !m.Mine {
		return cli.Fail("wait message", fault.New(fault.Invalid, "message "+m.ID.Short(), "is not ours: there is nothing to wait for"))
	}
	if peer, err := ident.ParsePeer(m.Conversation); err == nil {
		if err := onlyStored([]ident.Peer{peer}, "--for", state); err != nil {
			return err
		}
	}
	stop := a.waiting("waiting until it is " + word)
	r, err := c.Wait(ctx, m.ID, state)
	stop()
	if err != nil {
		return a.unreachable("wait message "+m.ID.Short(), err)
	}
	return a.answer("message.sent", sentOf(r), func(w io.Writer, st style) { writeSent(w, st, r, r.Conversation) })
}
