package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/node"
)

// healthTimeout is short: a supervisor asks often, and a node that takes longer is not healthy.
const healthTimeout = 3 * time.Second

func (a *app) healthCommand() *cobra.Command {
	var file, ops string
	var live, ready bool
	cmd := &cobra.Command{
		Use:   "health --live|--ready",
		Short: "Ask a node whether it is alive or ready; exit 0 or 1",
		Long: `Asks the ops listener of a node. --live never depends on other nodes: a supervisor may restart a node that
is not alive. --ready is for traffic: it says what is missing. Containers use this as their health check.`,
		Example: "  swarmd health --ready --config ./home/node-1/swarmd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			addr, err := a.opsAddr(file, ops)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			ask, what := node.DialOps(addr).Ready, "ready"
			if live {
				ask, what = node.DialOps(addr).Live, "live"
			}
			answer, err := ask(ctx)
			if err != nil {
				fmt.Fprint(cmd.ErrOrStderr(), answer)
				return &cli.Error{What: "node at " + addr + " is not " + what, Cause: err, Code: "NET-103",
					Exit: cli.ExitFailed,
					Try:  []string{"swarmd status --ops " + addr}}
			}
			if a.json {
				return cli.WriteJSON(cmd.OutOrStdout(), "health", map[string]any{what: true})
			}
			fmt.Fprintln(cmd.OutOrStdout(), what)
			return nil
		},
	}
	configFlag(cmd, &file)
	f := cmd.Flags()
	f.StringVar(&ops, "ops", "", "ops listener `ADDR`, instead of the configuration's")
	f.BoolVar(&live, "live", false, "is the process alive?")
	f.BoolVar(&ready, "ready", false, "does it serve?")
	cmd.MarkFlagsOneRequired("live", "ready")
	cmd.MarkFlagsMutuallyExclusive("live", "ready")
	return cmd
}

// opsAddr returns where to ask for health: an address that is dialled, so a wildcard becomes loopback.
func (a *app) opsAddr(file, ops string) (string, error) {
	if ops != "" {
		return ops, nil
	}
	loaded, err := a.load(file, nil)
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(loaded.Config.Listen.Ops)
	if err != nil {
		return "", cli.Usage("the configuration has no ops listener; name one with --ops")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
