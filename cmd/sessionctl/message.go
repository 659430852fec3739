package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// onMessage is a verb that changes one message.
func (a *app) onMessage(use, short, example string,
	do func(ctx context.Context, c *client.Client, m client.Message, args []string) (client.Message, error),
	names ...string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example, GroupID: "talk",
		Args: exactly(append([]string{"MESSAGE"}, names...)...),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.FreshOrOffline(cmd.Context())
			if err != nil {
				return err
			}
			m, err := a.find(c).Message(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if m, err = do(cmd.Context(), c, m, args[1:]); err != nil {
				return a.refused(cmd.CommandPath(), err)
			}
			if err := a.printMessage(m); err != nil {
				return err
			}
			return a.Share(cmd.Context(), c, cmd.CommandPath())
		},
	}
}

func (a *app) reactCommand() *cobra.Command {
	return a.onMessage("react MESSAGE EMOJI", "Put an emoji on a message", "  sessionctl react last:bob 👍",
		func(ctx context.Context, c *client.Client, m client.Message, args []string) (client.Message, error) {
			return c.Message(m.Ref()).React(ctx, args[0])
		}, "EMOJI")
}

func (a *app) unreactCommand() *cobra.Command {
	return a.onMessage("unreact MESSAGE EMOJI", "Take your emoji off a message",
		"  sessionctl unreact last:bob 👍",
		func(ctx context.Context, c *client.Client, m client.Message, args []string) (client.Message, error) {
			return c.Message(m.Ref()).Unreact(ctx, args[0])
		}, "EMOJI")
}

func (a *app) editCommand() *cobra.Command {
	return a.onMessage("edit MESSAGE TEXT", "Replace the text of a message of yours, for everyone",
		`  sessionctl edit last:bob "lunch at one?"`,
		func(ctx context.Context, c *client.Client, m client.Message, args []string) (client.Message, error) {
			return c.Message(m.Ref()).Edit(ctx, args[0])
		}, "TEXT")
}

func (a *app) deleteCommand() *cobra.Command {
	everyone := false
	cmd := a.onMessage("delete MESSAGE [--for-everyone]",
		"Delete a message from your devices, or one of yours for everyone",
		`  sessionctl delete 3f9a2c1b
  sessionctl delete last:bob --for-everyone`,
		func(ctx context.Context, c *client.Client, m client.Message, _ []string) (client.Message, error) {
			if everyone {
				return c.Message(m.Ref()).DeleteForEveryone(ctx)
			}
			return c.Message(m.Ref()).Delete(ctx)
		})
	cmd.Flags().BoolVar(&everyone, "for-everyone", false,
		"a mark stays with its readers; whoever has read it may remember")
	return cmd
}

func (a *app) typingCommand() *cobra.Command {
	stopped := false
	cmd := &cobra.Command{
		Use:               "typing PEER [--stop]",
		Short:             "Tell a contact that you are writing, if the setting typing is on",
		Example:           "  sessionctl typing bob",
		GroupID:           "talk",
		Args:              exactly("PEER"),
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Online(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
			defer cancel()
			id, err := a.find(c).Account(ctx, args[0])
			if err != nil {
				return err
			}
			tell := client.ConversationHandle.Typing
			if stopped {
				tell = client.ConversationHandle.StoppedTyping
			}
			if err := tell(c.Conversation(id), ctx); err != nil {
				return a.Unreachable("typing", err)
			}
			if err := c.Flush(ctx); err != nil {
				return a.Unreachable("typing", err)
			}
			return a.Answer("typing", sessionapi.Typing{To: id.String()},
				func(w io.Writer, st render.Style) { fmt.Fprintf(w, "%s told\n", st.Green("✓")) })
		},
	}
	cmd.Flags().BoolVar(&stopped, "stop", false, "you are not writing any more")
	return cmd
}
