package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/node"
)

func (a *app) faultCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fault",
		Short: "Break a test node's network on purpose (needs test_faults: true)",
	}
	verb := func(use, short string, f func() (node.Fault, error)) *cobra.Command {
		var t target
		c := &cobra.Command{
			Use:     use,
			Short:   short,
			Example: "  swarmd fault " + use + " --config ./home/node-1/swarmd.yaml",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				want, err := f()
				if err != nil {
					return err
				}
				admin, err := a.admin(t)
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(cmd.Context(), askTimeout)
				defer cancel()
				if err := admin.SetFault(ctx, want); err != nil {
					return cli.Fail("set the test switch", err, "swarmd init --test-faults",
						"swarmd run --test_faults true")
				}
				return nil
			},
		}
		configFlag(c, &t.file)
		c.Flags().StringVar(&t.socket, "admin", "", "admin socket `PATH`, instead of the configuration's")
		return c
	}
	var delay time.Duration
	var loss string
	slow := verb("slow", "Add delay and loss to what the node sends to other nodes",
		func() (node.Fault, error) {
			share, err := parseShare(loss)
			return node.Fault{DelayMS: delay.Milliseconds(), Loss: share}, err
		})
	slow.Flags().DurationVar(&delay, "latency", 0, "added delay")
	slow.Flags().StringVar(&loss, "loss", "0%", "share of packets lost")
	cmd.AddCommand(
		verb("cut", "Cut the node off from the other nodes",
			func() (node.Fault, error) { return node.Fault{Cut: true}, nil }),
		verb("heal", "Give the node its network back", func() (node.Fault, error) {
			return node.Fault{},
				nil
		}),
		slow,
	)
	return cmd
}

// parseShare reads "1%" or "0.01".
func parseShare(s string) (float64, error) {
	text, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(text, 64)
	if percent {
		v /= 100
	}
	if err != nil || v < 0 || v > 1 {
		return 0, cli.Usage("%q is no share, want 0%% to 100%%", s)
	}
	return v, nil
}
