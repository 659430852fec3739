package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// joinGrace is how long group join stays to see whether an admin's device answers at once.
const joinGrace = 2 * time.Second

func (a *app) groupJoinCommand() *cobra.Command {
	var wait string
	c := &cobra.Command{
		Use:   "join LINK|G",
		Short: "Join a group by a link, or accept an invitation",
		Long: `join asks the admins of a group to let this account in. The request lies in the cluster until one of
the admins' devices is online; this account is in the group with the first command after that. By the link of
a public group it is in at once, with no admin online; where that does not work, join says why and asks the
admins.`,
		Example: `  sessionctl group join starling:group/...
  sessionctl group join team
  sessionctl group join team --wait joined --timeout 10m`,
		Args: exactly("LINK|G"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string,
			cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.complete(refs.GroupNames)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait != "asked" && wait != "joined" {
				return cli.Usage("--wait %s: want asked or joined", wait)
			}
			return a.joinGroup(cmd, args[0], wait == "joined")
		},
	}
	c.Flags().StringVar(&wait, "wait", "asked", "wait until this account has `STATE`: asked or joined")
	_ = c.RegisterFlagCompletionFunc("wait",
		cobra.FixedCompletions([]string{"asked", "joined"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) joinGroup(cmd *cobra.Command, what string, joined bool) error {
	a.alerts.Joining = true
	c, err := a.FreshOrOffline(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
	defer cancel()
	g, err := a.askToJoin(ctx, c, what)
	if err != nil {
		return err
	}
	if g.Status != client.GroupJoined {
		stop := a.Waiting("asking the group's admins")
		err = c.Flush(ctx)
		stop()
		if err != nil {
			return a.Unreachable("group join "+refs.GroupLabel(g)+
				": not asked yet, it leaves with the next command",
				err)
		}
	}
	g, err = a.awaitJoin(ctx, c, g, joined)
	if err != nil && (joined || !errors.Is(err, context.DeadlineExceeded)) {
		return a.notJoined(g, err)
	}
	if err := a.Answer("group", sessionapi.GroupOf(g, refs.Names(cmd.Context(), c)),
		func(w io.Writer, st render.Style) { a.writeJoin(w, st, g) }); err != nil {
		return err
	}
	return a.Share(cmd.Context(), c, "group join")
}

// askToJoin takes a link or an invitation; who is a member, or has asked before, need not ask again.
func (a *app) askToJoin(ctx context.Context, c *client.Client, what string) (client.Group, error) {
	if refs.IsGroupLink(what) {
		stop := a.Waiting("looking the link up")
		g, err := c.JoinGroup(ctx, what)
		stop()
		return g, a.linkRefused(c, g, err)
	}
	g, err := a.find(c).Group(ctx, what)
	if err != nil {
		return g, err
	}
	switch g.Status {
	case client.GroupInvited:
		if err := c.Group(g.ID).Accept(ctx); err != nil {
			return g, a.refused("group join", err)
		}
		return c.Group(g.ID).Get(ctx)
	case client.GroupJoined, client.GroupWaiting, client.GroupReturning:
		return g, nil
	}
	return g, cli.Fail("group join "+refs.GroupLabel(g)+": "+view.StandingWords(g),
		fault.New(fault.Denied, "", "an admin must invite this account again"),
		addsBack(g, c.Account().ID))
}

// linkRefused says what to type when a link does not let this account in.
func (a *app) linkRefused(c *client.Client, g client.Group, err error) error {
	if errors.Is(err, fault.Denied) {
		return cli.Fail("group join", err, addsBack(g, c.Account().ID))
	}
	return a.Unreachable("group join", err)
}

// awaitJoin waits until the group has let this account in: for as long as ctx says, or only for a moment.
func (a *app) awaitJoin(ctx context.Context, c *client.Client, g client.Group,
	joined bool) (client.Group, error) {
	if !joined {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, joinGrace)
		defer cancel()
	}
	stop := a.Waiting("waiting for an admin")
	defer stop()
	now, err := c.Group(g.ID).Wait(ctx, func(g client.Group) bool {
		return g.Status != client.GroupWaiting &&
			g.Status != client.GroupReturning
	})
	if now.ID == (ident.GroupID{}) {
		now = g
	}
	if err == nil && joined && now.Status != client.GroupJoined {
		err = fault.New(fault.Denied, "", "%s", view.StatusWords(now.Status))
	}
	return now, err
}

func (a *app) notJoined(g client.Group, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		what := ": asked, but no admin's device has let this account in in time"
		if _, held := view.JoinCause(g); !held {
			what = ": not in yet, it goes on with the next command"
		}
		return cli.Fail("group join "+refs.GroupLabel(g)+what, err,
			a.Self()+" group join "+render.Quote(refs.GroupArg(g))+" --wait joined --timeout 10m")
	}
	return a.Unreachable("group join "+refs.GroupLabel(g), err)
}

func (a *app) writeJoin(w io.Writer, st render.Style, g client.Group) {
	name := render.Printable(refs.GroupLabel(g))
	switch g.Status {
	case client.GroupJoined:
		fmt.Fprintf(w, "%s you are in %s, with %s\n", st.Green("✓"), name,
			render.Count(view.MembersInside(g.Members), "member"))
	case client.GroupWaiting:
		why, held := view.JoinCause(g)
		if why != "" {
			fmt.Fprintf(w, "%s not in %s at once: %s\n", st.Yellow("!"), name, render.Printable(why))
		}
		if held {
			fmt.Fprintf(w, "%s asked to join %s: one of its admins must be online to let you in\n",
				st.Yellow("…"),
				name)
		} else {
			fmt.Fprintf(w, "%s this device joins %s by itself as soon as the cluster answers\n",
				st.Yellow("…"), name)
		}
	default:
		fmt.Fprintf(w, "%s %s: %s\n", st.Yellow("…"), name, view.StatusWords(g.Status))
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
			c, g, err := a.openGroup(cmd.Context(), a.FreshOrOffline, args[0])
			if err != nil {
				return err
			}
			if err := c.Group(g.ID).Decline(cmd.Context()); err != nil {
				if g.Status == client.GroupJoined {
					return cli.Fail("group decline", err, a.Self()+" group leave "+
						render.Quote(refs.GroupArg(g)))
				}
				return a.refused("group decline", err)
			}
			if err := a.Answer("group.declined", sessionapi.GroupDeclined{GroupID: g.ID.String()},
				func(w io.Writer, st render.Style) {
					fmt.Fprintf(w, "%s the invitation to %s is gone\n", st.Green("✓"),
						render.Printable(refs.GroupLabel(g)))
				}); err != nil {
				return err
			}
			return a.Share(cmd.Context(), c, "group decline")
		},
	}
}

func (a *app) groupLeaveCommand() *cobra.Command {
	return a.onGroup(groupVerb{
		use: "leave G", short: "Leave a group; one of its admins' devices gives the others new keys",
		example: "  sessionctl group leave team",
		args:    exactly("G"),
		do: func(ctx context.Context, c *client.Client, g client.Group, _ []string) (string, error) {
			err := c.Group(g.ID).Leave(ctx)
			if errors.Is(err, fault.Denied) && g.Role == client.RoleAdmin {
				group := a.Self() + " group "
				return "", cli.Fail("group leave", err, group+"promote "+render.Quote(refs.GroupArg(g))+
					" MEMBER",
					group+"disband "+render.Quote(refs.GroupArg(g)))
			}
			return "you left " + refs.GroupLabel(g), err
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
			return refs.GroupLabel(g) + " is disbanded", c.Group(g.ID).Disband(ctx)
		},
		confirm: func(g client.Group) (string, string) {
			return fmt.Sprintf("This ends %s for its %s. Type %q to go on",
					render.Printable(refs.GroupLabel(g)),
					render.Count(view.MembersInside(g.Members), "member"), render.Printable(g.Name)),
				render.Printable(g.Name)
		},
	})
}

// addsBack is what an admin types to let an account in whom links do not let in.
func addsBack(g client.Group, me ident.AccountID) string {
	name := "GROUP"
	if g.Name != "" {
		name = render.Quote(g.Name)
	}
	return "sessionctl group add " + name + " " + me.String() + "   # for an admin to type; the ID is yours"
}
