package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) convCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "conv",
		Short:   "The conversations of this account",
		GroupID: "talk",
		Example: "  sessionctl conv list",
	}
	var all bool
	list := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List conversations: pinned ones, then newest first",
		Example: "  sessionctl conv list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.FreshOrOffline(cmd.Context())
			if err != nil {
				return err
			}
			list := c.Conversations
			if all {
				list = c.AllConversations
			}
			convs, err := list(cmd.Context())
			if err != nil {
				return err
			}
			doc := sessionapi.Conversations{Conversations: []sessionapi.Conversation{}}
			for _, v := range convs {
				doc.Conversations = append(doc.Conversations, sessionapi.ConversationOf(v))
			}
			return a.Answer("conv.list", doc,
				func(w io.Writer, _ render.Style) { view.WriteConversations(w, convs, time.Now()) })
		},
	}
	list.Flags().BoolVar(&all, "all", false, "hidden ones, too")
	c.AddCommand(list)
	c.AddCommand(a.convChangeCommands()...)
	return c
}

// convChange is a verb of conv; --off takes it back if there is an undo.
type convChange struct {
	use, short string
	do, undo   func(client.ConversationHandle, context.Context) error
	done       string
}

// convChanges are the verbs of conv that switch one thing.
func convChanges() []convChange {
	return []convChange{
		{"pin", "Keep a conversation on top of the list", client.ConversationHandle.Pin,
			client.ConversationHandle.Unpin, "pinned"},
		{"archive", "Put a conversation aside", client.ConversationHandle.Archive,
			client.ConversationHandle.Unarchive, "archived"},
		{"hide", "Leave a conversation out of the list until the next message",
			client.ConversationHandle.Hide, client.ConversationHandle.Show, "hidden"},
		{"mark-unread", "Mark a conversation as unread; reading it ends that",
			client.ConversationHandle.MarkUnread, client.ConversationHandle.Unmark, "marked as unread"},
		{"clear", "Remove all messages of a conversation from all your devices",
			client.ConversationHandle.Clear, nil, "cleared on your devices"},
	}
}

func (a *app) convChangeCommands() (out []*cobra.Command) {
	for _, v := range convChanges() {
		off := false
		cmd := a.onPeer(v.use+" PEER", v.short+", on all your devices", "  sessionctl conv "+v.use+" bob",
			func(cmd *cobra.Command, c *client.Client, id ident.Peer, _ []string) (answer, error) {
				do := v.do
				if off {
					do = v.undo
				}
				if err := do(c.Conversation(id), cmd.Context()); err != nil {
					return answer{}, err
				}
				if off {
					return convAnswer(cmd, c, id, "not "+v.done+" any more")
				}
				return convAnswer(cmd, c, id, v.done)
			})
		if v.undo != nil {
			cmd.Flags().BoolVar(&off, "off", false, "take it back")
		}
		out = append(out, cmd)
	}
	return append(out, a.convMuteCommand(), a.convExpireCommand(), a.convShowCommand())
}

// convAnswer shows a conversation as it is after a change.
func convAnswer(cmd *cobra.Command, c *client.Client, id ident.Peer, line string) (answer, error) {
	v, err := c.Conversation(id).Get(cmd.Context())
	if err != nil {
		v = client.Conversation{ID: id.String(), Type: "direct"} // nothing of it is left
		if _, ok := id.(ident.GroupID); ok {
			v.Type = "group"
		}
	}
	return answer{"conversation", sessionapi.ConversationOf(v), line}, nil
}

func (a *app) convMuteCommand() *cobra.Command {
	var off bool
	var d string
	cmd := a.onPeer("mute PEER [--for D]", "Keep a conversation quiet, on all your devices",
		`  sessionctl conv mute bob --for 8h
  sessionctl conv mute bob --off`,
		func(cmd *cobra.Command, c *client.Client, id ident.Peer, _ []string) (answer, error) {
			until, line := client.Forever(), "muted"
			switch {
			case off:
				until, line = time.Time{}, "not muted any more"
			case d != "":
				length, err := parseSpan("--for", d)
				if err != nil {
					return answer{}, err
				}
				until = time.Now().Add(length)
				line = "muted until " + until.Local().Format("2006-01-02 15:04")
			}
			if err := c.Conversation(id).Mute(cmd.Context(), until); err != nil {
				return answer{}, err
			}
			return convAnswer(cmd, c, id, line)
		})
	cmd.Flags().StringVar(&d, "for", "", "how long: 90m, 8h, 2d; default until you take it back (`D`)")
	cmd.Flags().BoolVar(&off, "off", false, "take it back")
	return cmd
}

func (a *app) convExpireCommand() *cobra.Command {
	return a.onPeer("expire PEER D[:read]|off",
		"Make messages of a conversation disappear, for everybody in it; in a group, admins do",
		`  sessionctl conv expire bob 1d
  sessionctl conv expire bob 1h:read
  sessionctl conv expire bob off`,
		func(cmd *cobra.Command, c *client.Client, id ident.Peer, args []string) (answer, error) {
			t, err := parseTimer(args[0])
			if err != nil {
				return answer{}, err
			}
			if err := c.Conversation(id).SetTimer(cmd.Context(), t); err != nil {
				return answer{}, err
			}
			return convAnswer(cmd, c, id, "new messages disappear: "+sessionapi.FormatTimer(t))
		}, "D")
}

func (a *app) convShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show PEER",
		Short:             "Show a conversation's state, hidden or not",
		Example:           "  sessionctl conv show bob --json",
		Args:              exactly("PEER"),
		ValidArgsFunction: a.completePeers,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.FreshOrOffline(cmd.Context())
			if err != nil {
				return err
			}
			id, err := a.find(c).Peer(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v, err := c.Conversation(id).Get(cmd.Context())
			if err != nil {
				return cli.Fail("conv show", err, a.Self()+" conv list")
			}
			return a.Answer("conversation", sessionapi.ConversationOf(v), func(w io.Writer, st render.Style) {
				view.WriteConversations(w, []client.Conversation{v}, time.Now())
				fmt.Fprintf(w, "%s %s\n", st.Dim("disappearing messages"), sessionapi.FormatTimer(v.Timer))
				if v.Draft != "" {
					fmt.Fprintf(w, "%s %s\n", st.Dim("draft"), render.PrintableText(v.Draft))
				}
			})
		},
	}
}

func (a *app) readCommand() *cobra.Command {
	c := a.onPeer("read PEER", "Mark a conversation as read, on all your devices",
		"  sessionctl read bob",
		func(cmd *cobra.Command, c *client.Client, id ident.Peer, _ []string) (answer, error) {
			if err := a.CatchUp(cmd.Context(), c); err != nil {
				return answer{}, err
			}
			n, err := c.Conversation(id).MarkRead(cmd.Context())
			return answer{"read", sessionapi.Read{Conversation: id.String(), Messages: n},
				fmt.Sprintf("%d messages read", n)}, err
		})
	c.GroupID = "talk"
	c.Long = "read marks everything of a conversation as read. The sender is told if they are a contact " +
		"and the setting receipts is on."
	return c
}
