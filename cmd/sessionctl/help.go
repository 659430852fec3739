package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB...]",
		Short: "Explain a verb; with --json, describe all of them for tools",
		Example: `  sessionctl help send
  sessionctl help --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := findVerb(cmd.Root(), args)
			if err != nil {
				return err
			}
			if a.JSON {
				return cli.WriteJSON(a.Out, "help", describe(target))
			}
			return target.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string,
			cobra.ShellCompDirective) {
			target, err := findVerb(cmd.Root(), args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return verbNames(target), cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// findVerb walks the tree along names; a name that is no verb gets the nearest ones.
func findVerb(cmd *cobra.Command, names []string) (*cobra.Command, error) {
next:
	for _, name := range names {
		for _, c := range cmd.Commands() {
			if c.Name() == name || c.HasAlias(name) {
				cmd = c
				continue next
			}
		}
		e := cli.Usage("unknown command %q for %q", name, cmd.CommandPath())
		for _, n := range refs.Nearest(name, verbNames(cmd)) {
			e.Try = append(e.Try, strings.Replace(cmd.CommandPath(), "sessionctl", "sessionctl help", 1)+" "+
				n)
		}
		if len(e.Try) == 0 {
			e.Try = []string{"sessionctl --help"}
		}
		return nil, e
	}
	return cmd, nil
}

func verbNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

func describe(cmd *cobra.Command) sessionapi.Command {
	d := sessionapi.Command{Name: cmd.Name(), Path: cmd.CommandPath(), Short: cmd.Short, Usage: cmd.UseLine()}
	for _, l := range strings.Split(cmd.Example, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			d.Examples = append(d.Examples, l)
		}
	}
	flags := func(f *pflag.Flag) {
		if !f.Hidden {
			d.Flags = append(d.Flags, sessionapi.Flag{Name: f.Name, Shorthand: f.Shorthand,
				Type:    f.Value.Type(),
				Default: f.DefValue, Usage: f.Usage})
		}
	}
	cmd.LocalNonPersistentFlags().VisitAll(flags)
	if !cmd.HasParent() {
		cmd.PersistentFlags().VisitAll(flags)
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			d.Commands = append(d.Commands, describe(c))
		}
	}
	return d
}
