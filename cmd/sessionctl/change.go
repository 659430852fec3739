package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
)

// onPeer is a verb that changes something about one conversation: do makes the change and returns the answer.
func (a *app) onPeer(use, short, example string,
	do func(cmd *cobra.Command, c *client.Client, peer ident.Peer, args []string) (answer, error),
	names ...string) *cobra.Command {
	cmd := change(a, refs.Finder.Peer, use, short, example, do, names...)
	cmd.ValidArgsFunction = a.completePeers
	return cmd
}

// onAccount is onPeer for what concerns a person.
func (a *app) onAccount(use, short, example string,
	do func(cmd *cobra.Command, c *client.Client, id ident.AccountID, args []string) (answer, error),
	names ...string) *cobra.Command {
	cmd := change(a, refs.Finder.Account, use, short, example, do, names...)
	cmd.ValidArgsFunction = a.completeAccounts
	return cmd
}

func change[P ident.Peer](a *app, find func(refs.Finder, context.Context, string) (P, error),
	use, short, example string,
	do func(cmd *cobra.Command, c *client.Client, id P, args []string) (answer, error),
	names ...string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example,
		Args: exactly(append([]string{"PEER"}, names...)...),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.Online(cmd.Context())
		if err != nil {
			return err
		}
		id, err := find(a.find(c), cmd.Context(), args[0])
		if err != nil {
			return err
		}
		got, err := do(cmd, c, id, args[1:])
		if err != nil {
			return a.refused(cmd.CommandPath(), err)
		}
		if err := a.Answer(got.kind, got.doc, func(w io.Writer, st render.Style) {
			fmt.Fprintf(w, "%s %s\n", st.Green("✓"), render.Printable(got.line))
		}); err != nil {
			return err
		}
		return a.Share(cmd.Context(), c, cmd.CommandPath())
	}
	return cmd
}

// refused is the error of a change that was not made; errors of the command line pass.
func (a *app) refused(what string, err error) error {
	var e *cli.Error
	if errors.As(err, &e) {
		return err
	}
	return cli.Fail(what, err)
}

// answer is what a verb says: a document, and a line for people.
type answer struct {
	kind string
	doc  any
	line string
}
