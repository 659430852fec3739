package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) groupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "group",
		Short: "Closed and public groups: make them, join them, run them",
		Long: `A closed group has members, who write, moderators, who also delete and pin, and admins, who also
change the group. Every removal gives all who stay new keys; nodes see neither members nor names. In a public
group whoever has a link is in at once (group create --help).

A group is named like a contact: by its name or a unique beginning of it, also with # in front (in quotes: the
shell takes a bare # for a comment), or by its ID (03...). To write to it: sessionctl send NAME TEXT; @name in
the text mentions a member.`,
		GroupID: "talk",
		Example: `  sessionctl group create team bob carol --describe "Who fixes what"
  sessionctl group create club --public
  sessionctl send team "@bob lunch?"
  sessionctl group show team
  sessionctl group link team --uses 5`,
	}
	c.AddCommand(a.groupListCommand(), a.groupShowCommand(), a.groupCreateCommand())
	c.AddCommand(a.groupMemberCommands()...)
	c.AddCommand(a.groupInfoCommands()...)
	c.AddCommand(a.groupLinkCommand(), a.groupJoinCommand(), a.groupDeclineCommand(), a.groupLeaveCommand(),
		a.groupDisbandCommand())
	c.AddCommand(a.groupPinCommands()...)
	return c
}

func (a *app) groupListCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the groups of this account, and what it is to them",
		Example: "  sessionctl group list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.FreshOrOffline(cmd.Context())
			if err != nil {
				return err
			}
			groups, err := c.Groups(cmd.Context())
			if err != nil {
				return err
			}
			doc, shown := sessionapi.Groups{Groups: []sessionapi.Group{}}, groups[:0]
			for _, g := range groups {
				if all || !refs.IsOver(g.Status) {
					doc.Groups = append(doc.Groups, sessionapi.GroupOf(g, refs.Names(cmd.Context(), c)))
					shown = append(shown, g)
				}
			}
			return a.Answer("group.list", doc,
				func(w io.Writer, _ render.Style) { view.WriteGroups(w, shown, len(groups)) })
		},
	}
	c.Flags().BoolVar(&all, "all", false, "those that this account left or was removed from, too")
	return c
}

// opening is a way to open the profile: Fresh or FreshOrOffline.
type opening func(context.Context) (*client.Client, error)

// openGroup opens the profile and finds a group.
func (a *app) openGroup(ctx context.Context, open opening,
	name string) (*client.Client, client.Group, error) {
	c, err := open(ctx)
	if err != nil {
		return nil, client.Group{}, err
	}
	g, err := a.find(c).Group(ctx, name)
	return c, g, err
}

func (a *app) groupShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show G",
		Short:             "Show a group: members, what waits and for what, open links",
		Example:           "  sessionctl group show team",
		Args:              exactly("G"),
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, g, err := a.openGroup(cmd.Context(), a.FreshOrOffline, args[0])
			if err != nil {
				return err
			}
			return a.Answer("group", sessionapi.GroupOf(g, refs.Names(cmd.Context(), c)),
				func(w io.Writer, st render.Style) {
					a.groupView(cmd.Context(), c, g).Write(w, st, time.Now())
				})
		},
	}
}

func (a *app) groupView(ctx context.Context, c *client.Client, g client.Group) view.Group {
	return view.Group{
		Group: g, Me: c.Account().ID, Command: a.Self() + " group",
		Called: refs.Names(ctx, c),
	}
}

// changeGroup changes a group and returns a line for people.
type changeGroup func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error)

// groupVerb is a verb that changes one group: do makes the change and returns a line for people.
type groupVerb struct {
	use, short, long, example string

	args    cobra.PositionalArgs
	do      changeGroup
	confirm func(g client.Group) (question, word string) // nil: the verb asks nothing
}

// onGroup brings the profile up to date first: who may do what depends on what others did.
func (a *app) onGroup(v groupVerb) *cobra.Command {
	cmd := &cobra.Command{
		Use: v.use, Short: v.short, Long: v.long, Example: v.example, Args: v.args,
		ValidArgsFunction: a.completeGroups,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.Fresh(cmd.Context())
		if err != nil {
			return err
		}
		ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
		defer cancel()
		g, err := a.find(c).Group(ctx, args[0])
		if err != nil {
			return err
		}
		if v.confirm != nil {
			if err := a.Confirm(v.confirm(g)); err != nil {
				return err
			}
		}
		stop := a.Waiting("changing the group")
		line, err := v.do(ctx, c, g, args[1:])
		stop()
		if err != nil {
			return a.groupError(strings.TrimPrefix(cmd.CommandPath(), "sessionctl "), g, err)
		}
		if err := a.answerGroup(cmd, c, g.ID, line); err != nil {
			return err
		}
		return a.Share(cmd.Context(), c, cmd.CommandPath())
	}
	return cmd
}

// answerGroup prints a group as it is after a change.
func (a *app) answerGroup(cmd *cobra.Command, c *client.Client, id ident.GroupID, line string) error {
	g, err := c.Group(id).Get(cmd.Context())
	if err != nil {
		return err
	}
	return a.Answer("group", sessionapi.GroupOf(g, refs.Names(cmd.Context(), c)),
		func(w io.Writer, st render.Style) {
			fmt.Fprintf(w, "%s %s\n", st.Green("✓"), render.Printable(line))
		})
}

// groupError says what to type when a change of a group was not made, or not yet: what was wanted stays in
// the profile.
func (a *app) groupError(what string, g client.Group, err error) error {
	var e *cli.Error
	me := a.Self() + " "
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return cli.Fail(what+": the group does not have it yet, but it goes on with the next command", err,
			me+"group show "+render.Quote(refs.GroupArg(g)))
	case errors.Is(err, fault.Denied):
		return cli.Fail(what, err, me+"group show "+render.Quote(refs.GroupArg(g))+"   # who the admins are")
	case errors.Is(err, fault.Limited) && what == "group link":
		return cli.Fail(what, err, me+"group link list "+render.Quote(refs.GroupArg(g)),
			me+"group link revoke "+render.Quote(refs.GroupArg(g))+" NUMBER")
	}
	return a.Unreachable(what, err)
}
