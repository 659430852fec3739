package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/demo"
)

// demoTimeout bounds the whole demo.
const demoTimeout = 2 * time.Minute

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Start a cluster of 5 nodes here, and let Alice, Bob and Carol use it",
		Long: `demo starts 5 real nodes in this process, on loopback, and plays a short story with real clients:
messages through three relays, several devices of one account, a node killed in the middle of a burst, a new
device that brings everything back, and a group that somebody joins by a link and another is removed from. It
leaves nothing behind.`,
		Example: "  sessionctl demo",
		GroupID: "start",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.Deadline(cmd.Context(), demoTimeout)
			defer cancel()
			return demo.Play(ctx, a.Terminal, a.Logger)
		},
	}
}
