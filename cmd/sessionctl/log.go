package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
)

func (a *app) logCommand() *cobra.Command {
	var n int
	var since string
	var follow bool
	c := &cobra.Command{
		Use:   "log [PEER] [-n N] [--since D] [--follow]",
		Short: "Print a conversation, oldest first; without PEER, all of them",
		Example: `  sessionctl log bob -n 20
  sessionctl log --since 2d
  sessionctl log bob --follow --json`,
		GroupID:           "talk",
		Args:              between(0, "PEER"),
		ValidArgsFunction: a.completePeers,
		RunE: func(cmd *cobra.Command, args []string) error {
			f := client.Filter{Limit: n, Newest: true}
			if n < 1 {
				return cli.Usage("-n %d: want 1 or more", n)
			}
			if since != "" {
				d, err := parseAge(since)
				if err != nil {
					return err
				}
				f.Since = time.Now().Add(-d)
				if !cmd.Flags().Changed("number") {
					f.Limit = 0
				}
			}
			return a.log(cmd, args, f, follow)
		},
	}
	c.Flags().IntVarP(&n, "number", "n", 50, "print the newest `N` messages")
	c.Flags().StringVar(&since, "since", "", "only what came in the last `D`: 90m, 12h, 2d")
	c.Flags().BoolVar(&follow, "follow", false, "go on printing what comes, until stopped")
	return c
}

func (a *app) log(cmd *cobra.Command, args []string, f client.Filter, follow bool) error {
	ctx := cmd.Context()
	c, err := a.FreshOrOffline(cmd.Context())
	if err != nil {
		return err
	}
	if len(args) == 1 {
		id, err := a.find(c).Peer(ctx, args[0])
		if err != nil {
			return err
		}
		f.Conversation, a.oneGroup = id.String(), true
	}
	events := c.Events()
	defer events.Close()
	found, err := c.Messages(ctx, f)
	if err != nil {
		return err
	}
	after := int64(0)
	for _, m := range found {
		if err := a.printMessage(m); err != nil {
			return err
		}
		after = m.Seq
	}
	if !follow {
		return nil
	}
	err = a.follow(ctx, c, events, client.Filter{Conversation: f.Conversation, After: after}, a.printMessage)
	if ctx.Err() != nil {
		return nil // Ctrl-C is how following ends
	}
	return err
}
