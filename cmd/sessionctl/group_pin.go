package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
)

func (a *app) groupPinCommands() []*cobra.Command {
	pin := func(use, short, example string, do func(client.MessageHandle, context.Context) (client.Message,
		error)) *cobra.Command {
		c := a.onMessage(use, short, example,
			func(ctx context.Context, c *client.Client, m client.Message, _ []string) (client.Message,
				error) {
				return do(c.Message(m.Ref()), ctx)
			})
		c.GroupID = ""
		return c
	}
	return []*cobra.Command{
		pin("pin MESSAGE", "Keep a message at hand for all members; moderators and admins do",
			"  sessionctl group pin last:team", client.MessageHandle.Pin),
		pin("unpin MESSAGE", "Let a pinned message go", "  sessionctl group unpin 3f9a2c1b",
			client.MessageHandle.Unpin),
		a.groupPinnedCommand(),
	}
}

func (a *app) groupPinnedCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "pinned G",
		Short:             "Print the pinned messages of a group, the one pinned last first",
		Example:           "  sessionctl group pinned team",
		Args:              exactly("G"),
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, g, err := a.openGroup(cmd.Context(), a.FreshOrOffline, args[0])
			if err != nil {
				return err
			}
			a.oneGroup = true
			pinned, err := c.Conversation(g.ID).Pinned(cmd.Context())
			if err != nil {
				return err
			}
			if len(pinned) == 0 && !a.JSON {
				return a.Answer("", nil, func(w io.Writer, _ render.Style) {
					fmt.Fprintln(w,
						"nothing is pinned")
				})
			}
			for _, m := range pinned {
				if err := a.printMessage(m); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
