package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// joinGrace is how long group join stays to see whether an admin's device answers at once.
const joinGrace = 2 * time.Second

func (a *app) groupJoinCommand() *cobra.Command {
	var wait string
	c := &cobra.Command{
		Use:   "join LINK|G",
		Short: "Join a group by a link, or accept an invitation",
		Long: `join asks the admins of a group to let this account in. The request lies in the cluster until one of the admins'
devices is online; this account is in the group with the first command after that. By the link of a public group it is in
at once, with no admin online; where that does not work, join says why and asks the admins.`,
		Example: `  sessionctl group join starling:group/...
  sessionctl group join team
  sessionctl group join team --wait joined --timeout 10m`,
		Args: exactly("LINK|G"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.complete(groupNames)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait != "asked" && wait != "joined" {
				return cli.Usage("--wait %s: want asked or joined", wait)
			}
			return a.joinGroup(cmd, args[0], wait == "joined")
		},
	}
	c.Flags().StringVar(&wait, "wait", "asked", "wait until this account has `STATE`: asked or joined")
	_ = c.RegisterFlagCompletionFunc("wait", cobra.FixedCompletions([]string{"asked", "joined"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) joinGroup(cmd *cobra.Command, what string, joined bool) error {
	a.joining = true
	c, err := a.fresh(cmd, false)
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(cmd, defaultTimeout)
	defer cancel()
	g, err := a.askToJoin(ctx, c, what)
	if err != nil {
		return err
	}
	if g.Status != client.GroupJoined {
		stop := a.waiting("asking the group's admins")
		err = c.Flush(ctx)
		stop()
		if err != nil {
			return a.unreachable("group join "+groupLabel(g)+": not asked yet, it leaves with the next command", err)
		}
	}
	g, err = a.awaitJoin(ctx, c, g, joined)
	if err != nil && (joined || !errors.Is(err, context.DeadlineExceeded)) {
		return a.notJoined(g, err)
	}
	if err := a.answer("group", a.groupOf(cmd.Context(), c, g), func(w io.Writer, st style) { a.writeJoin(w, st, g) }); err != nil {
		return err
	}
	return a.share(cmd, c, "group join")
}

// askToJoin takes a link or an invitation; who is a member, or has asked before, need not ask again.
func (a *app) askToJoin(ctx context.Context, c *client.Client, what string) (client.Group, error) {
	if isGroupLink(what) {
		stop := a.waiting("looking the link up")
		g, err := c.GroupJoinLink(ctx, what)
		stop()
		return g, a.linkRefused(c, g, err)
	}
	g, err := a.group(ctx, c, what)
	if err != nil {
		return g, err
	}
	switch g.Status {
	case client.GroupInvited:
		if err := c.GroupAccept(ctx, g.ID); err != nil {
			return g, a.refused("group join", err)
		}
		return c.Group(ctx, g.ID)
	case client.GroupJoined, client.GroupWaiting, client.GroupReturning:
		return g, nil
	}
	return g, cli.Fail("group join "+groupLabel(g)+": "+standingWords(g), fault.New(fault.Denied, "", "an admin must invite this account again"),
		addsBack(g, c.Account().ID))
}

// linkRefused says what to type when a link does not let this account in.
func (a *app) linkRefused(c *client.Client, g client.Group, err error) error {
	if errors.Is(err, fault.Denied) {
		return cli.Fail("group join", err, addsBack(g, c.Account().ID))
	}
	return a.unreachable("group join", err)
}

// awaitJoin waits until the group has let this account in: for as long as ctx says, or only for a moment.
func (a *app) awaitJoin(ctx context.Context, c *client.Client, g client.Group, joined bool) (client.Group, error) {
	if !joined {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, joinGrace)
		defer cancel()
	}
	stop := a.waiting("waiting for an admin")
	defer stop()
	now, err := c.WaitGroup(ctx, g.ID, func(g client.Group) bool { return g.Status != client.GroupWaiting && g.Status != client.GroupReturning })
	if now.ID == (ident.GroupID{}) {
		now = g
	}
	if err == nil && joined && now.Status != client.GroupJoined {
		err = fault.New(fault.Denied, "", "%s", statusWords(now.Status))
	}
	return now, err
}

func (a *app) notJoined(g client.Group, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		what := ": asked, but no admin's device has let this account in in time"
		if _, held := joinCause(g); !held {
			what = ": not in yet, it goes on with the next command"
		}
		return cli.Fail("group join "+groupLabel(g)+what, err,
			"sessionctl"+a.profileFlag()+" group join "+quoted(groupArg(g))+" --wait joined --timeout 10m")
	}
	return a.unreachable("group join "+groupLabel(g), err)
}

func (a *app) writeJoin(w io.Writer, st style, g client.Group) {
	name := printable(groupLabel(g))
	switch g.Status {
	case client.GroupJoined:
		fmt.Fprintf(w, "%s you are in %s, with %s\n", st.green("✓"), name, count(inside(g.Members), "member"))
	case client.GroupWaiting:
		why, held := joinCause(g)
		if why != "" {
			fmt.Fprintf(w, "%s not in %s at once: %s\n", st.yellow("!"), name, printable(why))
		}
		if held {
			fmt.Fprintf(w, "%s asked to join %s: one of its admins must be online to let you in\n", st.yellow("…"), name)
		} else {
			fmt.Fprintf(w, "%s this device joins %s by itself as soon as the cluster answers\n", st.yellow("…"), name)
		}
	default:
		fmt.Fprintf(w, "%s %s: %s\n", st.yellow("…"), name, statusWords(g.Status))
	}
}

func (a *app) groupDeclineCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "decline G",
		Short:             "Forget an invitation, on all your devices; nobody is told",
		Example:           "  sessionctl group decline team",
		Args:              exactly("G"),
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, g, err := a.freshGroup(cmd, args[0], false)
			if err != nil {
				return err
			}
			if err := c.GroupDecline(cmd.Context(), g.ID); err != nil {
				if g.Status == client.GroupJoined {
					return cli.Fail("group decline", err, "sessionctl"+a.profileFlag()+" group leave "+quoted(groupArg(g)))
				}
				return a.refused("group decline", err)
			}
			if err := a.answer("group.declined", groupIDDoc{g.ID.String()}, func(w io.Writer, st style) {
				fmt.Fprintf(w, "%s the invitation to %s is gone\n", st.green("✓"), printable(groupLabel(g)))
			}); err != nil {
				return err
			}
			return a.share(cmd, c, "group decline")
		},
	}
}

type groupIDDoc struct {
	GroupID string `json:"group_id"`
}

func (a *app) groupLeaveCommand() *cobra.Command {
	return a.onGroup(groupVerb{
		use: "leave G", short: "Leave a group; one of its admins' devices gives the others new keys",
		example: "  sessionctl group leave team",
		args:    exactly("G"),
		do: func(ctx context.Context, c *client.Client, g client.Group, _ []string) (string, error) {
			err := c.GroupLeave(ctx, g.ID)
			if errors.Is(err, fault.Denied) && g.Role == client.RoleAdmin {
				group := "sessionctl" + a.profileFlag() + " group "
				return "", cli.Fail("group leave", err, group+"promote "+quoted(groupArg(g))+" MEMBER", group+"disband "+quoted(groupArg(g)))
			}
			return "you left " + groupLabel(g), err
		},
	})
}

func (a *app) groupDisbandCommand() *cobra.Command {
	return a.onGroup(groupVerb{
		use: "disband G", short: "End a group for all its members",
		example: `  sessionctl group disband team
  sessionctl --yes group disband team`,
		args: exactly("G"),
		do: func(ctx context.Context, c *client.Client, g client.Group, _ []string) (string, error) {
			return groupLabel(g) + " is disbanded", c.GroupDisband(ctx, g.ID)
		},
		confirm: func(g client.Group) (string, string) {
			return fmt.Sprintf("This ends %s for its %s. Type %q to go on", printable(groupLabel(g)), count(inside(g.Members), "member"), printable(g.Name)), printable(g.Name)
		},
	})
}
