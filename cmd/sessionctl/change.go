package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// share waits until what a verb changed has left for the other devices, and for others where it concerns them. Without a
// connection the change stays in the profile and leaves with the next command.
func (a *app) share(cmd *cobra.Command, c *client.Client, what string) error {
	ctx, cancel := a.deadline(cmd, defaultTimeout)
	defer cancel()
	stop := a.waiting("sharing")
	err := c.Flush(ctx)
	stop()
	switch {
	case err == nil:
		a.linger(cmd.Context(), c)
		return nil
	case errors.Is(err, fault.Unavailable), errors.Is(err, context.DeadlineExceeded):
		return cli.Fail(what+": done here, but not shared yet", err, "sessionctl"+a.profileFlag()+" sync push   # it also leaves with the next command that gets through")
	}
	return cli.Fail(what, err)
}

// onPeer is a verb that changes something about one conversation: do makes the change and returns the answer.
func (a *app) onPeer(use, short, example string, do func(cmd *cobra.Command, c *client.Client, peer ident.Peer, args []string) (answer, error), names ...string) *cobra.Command {
	cmd := change(a, a.peer, use, short, example, do, names...)
	cmd.ValidArgsFunction = a.completePeers
	return cmd
}

// onAccount is onPeer for what concerns a person.
func (a *app) onAccount(use, short, example string, do func(cmd *cobra.Command, c *client.Client, id ident.AccountID, args []string) (answer, error), names ...string) *cobra.Command {
	cmd := change(a, a.account, use, short, example, do, names...)
	cmd.ValidArgsFunction = a.completeAccounts
	return cmd
}

func change[P ident.Peer](a *app, resolve func(context.Context, *client.Client, string) (P, error), use, short, example string,
	do func(cmd *cobra.Command, c *client.Client, id P, args []string) (answer, error), names ...string) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: exactly(append([]string{"PEER"}, names...)...)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.online(cmd.Context())
		if err != nil {
			return err
		}
		id, err := resolve(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		got, err := do(cmd, c, id, args[1:])
		if err != nil {
			return a.refused(cmd.CommandPath(), err)
		}
		if err := a.answer(got.kind, got.doc, func(w io.Writer, st style) {
			fmt.Fprintf(w, "%s %s\n", st.green("✓"), printable(got.line))
		}); err != nil {
			return err
		}
		return a.share(cmd, c, cmd.CommandPath())
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
