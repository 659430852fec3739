package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) netCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "net",
		Short:   "The cluster as this client sees it",
		GroupID: "network",
		Example: `  sessionctl net status
  sessionctl net path`,
	}
	verb := func(use, short string,
		human func(w io.Writer, st render.Style, n client.NetStatus)) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Example: "  sessionctl net " + use + " --json", Args: exactly(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := a.Online(cmd.Context())
				if err != nil {
					return err
				}
				ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
				defer cancel()
				if err := a.WaitOnline(ctx, c); err != nil {
					return err
				}
				n := c.Net()
				return a.Answer("net.status", sessionapi.NetStatusOf(n),
					func(w io.Writer, st render.Style) { human(w, st, n) })
			},
		}
	}
	c.AddCommand(
		verb("status", "Nodes, swarms, circuits and the clock", view.WriteNetStatus),
		verb("path", "The three relays of each circuit, and why rules were relaxed", view.WritePaths),
	)
	return c
}
