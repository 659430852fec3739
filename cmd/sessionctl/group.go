package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func (a *app) groupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "group",
		Short: "Closed and public groups: make them, join them, run them",
		Long: `A closed group has members, who write, moderators, who also delete and pin, and admins, who also change the group.
Every removal gives all who stay new keys; nodes see neither members nor names. In a public group whoever has a link is in
at once (group create --help).

A group is named like a contact: by its name or a unique beginning of it, also with # in front (in quotes: the shell
takes a bare # for a comment), or by its ID (03...). To write to it: sessionctl send NAME TEXT; @name in the text
mentions a member.`,
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
	c.AddCommand(a.groupLinkCommand(), a.groupJoinCommand(), a.groupDeclineCommand(), a.groupLeaveCommand(), a.groupDisbandCommand())
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
			c, err := a.fresh(cmd, false)
			if err != nil {
				return err
			}
			groups, err := c.Groups(cmd.Context())
			if err != nil {
				return err
			}
			doc, shown := groupListDoc{[]groupDoc{}}, groups[:0]
			for _, g := range groups {
				if all || !isOver(g.Status) {
					doc.Groups = append(doc.Groups, a.groupOf(cmd.Context(), c, g))
					shown = append(shown, g)
				}
			}
			return a.answer("group.list", doc, func(w io.Writer, _ style) { writeGroups(w, shown, len(groups)) })
		},
	}
	c.Flags().BoolVar(&all, "all", false, "those that this account left or was removed from, too")
	return c
}

// freshGroup opens the profile, brings it up to date as fresh does, and finds a group.
func (a *app) freshGroup(cmd *cobra.Command, name string, must bool) (*client.Client, client.Group, error) {
	c, err := a.fresh(cmd, must)
	if err != nil {
		return nil, client.Group{}, err
	}
	g, err := a.group(cmd.Context(), c, name)
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
			c, g, err := a.freshGroup(cmd, args[0], false)
			if err != nil {
				return err
			}
			return a.answer("group", a.groupOf(cmd.Context(), c, g), func(w io.Writer, st style) {
				a.groupView(cmd.Context(), c, g).write(w, st, time.Now())
			})
		},
	}
}

func (a *app) groupView(ctx context.Context, c *client.Client, g client.Group) groupView {
	return groupView{
		Group: g, me: c.Account().ID, command: "sessionctl" + a.profileFlag() + " group",
		name: func(id ident.AccountID) string { return a.called(ctx, c, id) },
	}
}

// groupVerb is a verb that changes one group: do makes the change and returns a line for people.
type groupVerb struct {
	use, short, long, example string
	args                      cobra.PositionalArgs
	do                        func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error)
	confirm                   func(g client.Group) (question, word string) // nil: the verb asks nothing
}

// onGroup brings the profile up to date first: who may do what depends on what others did.
func (a *app) onGroup(v groupVerb) *cobra.Command {
	cmd := &cobra.Command{Use: v.use, Short: v.short, Long: v.long, Example: v.example, Args: v.args, ValidArgsFunction: a.completeGroups}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.fresh(cmd, true)
		if err != nil {
			return err
		}
		ctx, cancel := a.deadline(cmd, defaultTimeout)
		defer cancel()
		g, err := a.group(ctx, c, args[0])
		if err != nil {
			return err
		}
		if v.confirm != nil {
			if err := a.confirm(v.confirm(g)); err != nil {
				return err
			}
		}
		stop := a.waiting("changing the group")
		line, err := v.do(ctx, c, g, args[1:])
		stop()
		if err != nil {
			return a.groupError(strings.TrimPrefix(cmd.CommandPath(), "sessionctl "), g, err)
		}
		if err := a.answerGroup(cmd, c, g.ID, line); err != nil {
			return err
		}
		return a.share(cmd, c, cmd.CommandPath())
	}
	return cmd
}

// seeToGroups stays until this device has done what others wait for, as far as that is quick: an admin's lets people in, and
// who accepts an invitation by itself asks to be let in.
func (a *app) seeToGroups(ctx context.Context, c *client.Client) {
	all, err := c.Groups(ctx)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lingerAtMost)
	defer cancel()
	stop := a.waiting("seeing to groups")
	defer stop()
	for _, g := range all {
		if g.Status == client.GroupWaiting {
			_ = c.Flush(ctx) // the request to join leaves
		}
		if !settled(g) {
			_, _ = c.WaitGroup(ctx, g.ID, settled)
		}
	}
}

// settled reports whether nothing of a group waits for this device: nobody who may come in, nobody who has left.
func settled(g client.Group) bool {
	leaving := func(m client.GroupMember) bool { return m.Status == "removing" }
	if g.Role == client.RoleAdmin && slices.ContainsFunc(g.Members, leaving) {
		return false
	}
	return !slices.ContainsFunc(g.Pending, func(p client.GroupPending) bool { return waitsFor(p) == waitsForDevice })
}

// answerGroup prints a group as it is after a change.
func (a *app) answerGroup(cmd *cobra.Command, c *client.Client, id ident.GroupID, line string) error {
	g, err := c.Group(cmd.Context(), id)
	if err != nil {
		return err
	}
	return a.answer("group", a.groupOf(cmd.Context(), c, g), func(w io.Writer, st style) {
		fmt.Fprintf(w, "%s %s\n", st.green("✓"), printable(line))
	})
}

// groupError says what to type when a change of a group was not made, or not yet: what was wanted stays in the profile.
func (a *app) groupError(what string, g client.Group, err error) error {
	var e *cli.Error
	me := "sessionctl" + a.profileFlag() + " "
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return cli.Fail(what+": the group does not have it yet, but it goes on with the next command", err, me+"group show "+quoted(groupArg(g)))
	case errors.Is(err, fault.Denied):
		return cli.Fail(what, err, me+"group show "+quoted(groupArg(g))+"   # who the admins are")
	case errors.Is(err, fault.Limited) && what == "group link":
		return cli.Fail(what, err, me+"group link list "+quoted(groupArg(g)), me+"group link revoke "+quoted(groupArg(g))+" NUMBER")
	}
	return a.unreachable(what, err)
}
