package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
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
			e = cli.Usage("%s: nothing can follow %q", cmd.CommandPath(),
				strings.Join(args[:len(names)], " "))
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

// parseAge reads a duration that may also be given in days, "2d".
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, cli.Usage("--since %s: want a duration such as 90m, 12h or 2d", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, cli.Usage("--since %s: want a duration such as 90m, 12h or 2d", s)
	}
	return d, nil
}

// parseSpan reads a positive duration that may also be given in days, "2d".
func parseSpan(flag, s string) (time.Duration, error) {
	d, err := parseAge(s)
	if err != nil || d <= 0 {
		return 0, cli.Usage("%s %s: want a duration such as 90m, 12h or 2d", flag, s)
	}
	return d, nil
}

// parseTimer reads "1h", "2d:read" or "off".
func parseTimer(s string) (client.Timer, error) {
	if s == "off" {
		return client.Timer{}, nil
	}
	span, how, mode := strings.Cut(s, ":")
	if mode && how != "read" && how != "send" {
		return client.Timer{}, cli.Usage("timer %s: want off, or a duration such as 1h, 2d or 1h:read", s)
	}
	d, err := parseSpan("timer", span)
	if err != nil {
		return client.Timer{}, err
	}
	return client.Timer{After: d.Truncate(time.Second), AfterRead: how == "read"}, nil
}

// atLeast wants the named arguments and any number more of the last one.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return exactly(names...)(cmd, args)
		}
		return nil
	}
}
