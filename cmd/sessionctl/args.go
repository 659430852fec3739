package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
)

// exactly wants one argument for each name, and says which one is missing.
func exactly(names ...string) cobra.PositionalArgs { return between(len(names), names...) }

// between wants the first least of the named arguments; the others may be left out.
func between(least int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		var e *cli.Error
		switch {
		case len(args) < least:
			e = cli.Usage("%s: missing %s", cmd.CommandPath(), strings.Join(names[len(args):least], " and "))
		case len(args) > len(names):
			e = cli.Usage("%s: nothing can follow %q", cmd.CommandPath(), strings.Join(args[:len(names)], " "))
			if len(names) == 0 {
				e = cli.Usage("%s takes no argument, got %q", cmd.CommandPath(), args[0])
			}
		default:
			return nil
		}
		e.Try = []string{cmd.UseLine(), cmd.CommandPath() + " --help"}
		return e
	}
}
