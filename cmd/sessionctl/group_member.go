package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func (a *app) groupMemberCommands() []*cobra.Command {
	return []*cobra.Command{a.groupAddCommand(), a.groupRemoveCommand(), a.groupPromoteCommand(),
		a.groupDemoteCommand(), a.groupApproveCommand()}
}

func (a *app) groupAddCommand() *cobra.Command {
	var history int
	var wait string
	c := a.onGroup(groupVerb{
		use: "add G MEMBER... [--history DAYS]", short: "Invite people; whoever was banned may come back",
		long: `add invites people. A contact who accepted this account joins by itself once one of its devices and
one of the admins' devices have been online; others see an invitation. --history lets them read what was
written in the last days, as far as the admin who lets them in can still read it: for about 16 days.`,
		example: `  sessionctl group add team dave
  sessionctl group add team dave erin --history 7
  sessionctl group add team dave --wait joined --timeout 5m`,
		args: atLeast("G", "MEMBER"),
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			if wait != "invited" && wait != "joined" {
				return "", cli.Usage("--wait %s: want invited or joined", wait)
			}
			ids, err := a.find(c).Members(ctx, g, args)
			if err != nil {
				return "", err
			}
			if err := c.Group(g.ID).Add(ctx, history, ids...); err != nil &&
				(wait != "joined" || !errors.Is(err, fault.Exists)) {
				return "", err
			}
			if wait == "joined" {
				return a.awaitMembers(ctx, c, g, ids)
			}
			return fmt.Sprintf("%s to %s", invitedWords(len(ids)), refs.GroupLabel(g)), nil
		},
	})
	c.Flags().IntVar(&history, "history", 0, "they can read the last `DAYS`, about 16 at most")
	c.Flags().StringVar(&wait, "wait", "invited", "wait until they are `STATE`: invited or joined")
	_ = c.RegisterFlagCompletionFunc("wait",
		cobra.FixedCompletions([]string{"invited", "joined"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// awaitMembers returns once all of them are in the group.
func (a *app) awaitMembers(ctx context.Context, c *client.Client, g client.Group,
	ids []ident.AccountID) (string, error) {
	_, err := c.Group(g.ID).Wait(ctx, func(g client.Group) bool {
		in := map[ident.AccountID]bool{}
		for _, m := range g.Members {
			in[m.Account] = m.Status == "member"
		}
		for _, id := range ids {
			if !in[id] {
				return false
			}
		}
		return true
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return "", cli.Fail("group add: they are invited, but not all have joined in time: their devices "+
			"must be online", err,
			a.Self()+" group show "+render.Quote(refs.GroupArg(g)))
	}
	return render.Count(len(ids), "member") + " joined " + refs.GroupLabel(g), err
}

func (a *app) groupRemoveCommand() *cobra.Command {
	var ban bool
	c := a.onGroup(groupVerb{
		use:   "remove G MEMBER... [--ban]",
		short: "Remove members, or withdraw invitations; all who stay get new keys",
		long: `remove takes members out and gives all who stay new keys. In a public group with an open link those
removed can neither write nor come back by that link, but they can read on: close the links, too (group link
revoke G --all).`,
		example: `  sessionctl group remove team dave
  sessionctl group remove team dave --ban   # not by a link either, until you add them`,
		args: atLeast("G", "MEMBER"),
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			ids, err := a.find(c).Members(ctx, g, args)
			if err != nil {
				return "", err
			}
			words, remove := "out of", client.GroupHandle.Remove
			if ban {
				words, remove = "banned from", client.GroupHandle.Ban
			}
			line := fmt.Sprintf("%d people are %s %s", len(ids), words, refs.GroupLabel(g))
			if len(ids) == 1 {
				line = fmt.Sprintf("%s is %s %s", args[0], words, refs.GroupLabel(g))
			}
			if g.Form == client.GroupPublic && len(g.Links) > 0 {
				line += "; they can read on until you close the group's links: " + a.Self() +
					" group link revoke " +
					render.Quote(refs.GroupArg(g)) + " --all"
			}
			return line, remove(c.Group(g.ID), ctx, ids...)
		},
	})
	c.Aliases = []string{"rm"}
	c.Flags().BoolVar(&ban, "ban", false, "they cannot come back until an admin adds them")
	return c
}

// setRole gives a member a role; up says whether the verb raises it.
func (a *app) setRole(ctx context.Context, c *client.Client, g client.Group, who string,
	role client.GroupRole, up bool) (string, error) {
	id, err := a.find(c).Member(ctx, g, who)
	if err != nil {
		return "", err
	}
	rank := map[client.GroupRole]int{client.RoleMember: 0, client.RoleModerator: 1, client.RoleAdmin: 2}
	for _, m := range g.Members {
		if m.Account != id || m.Status == "invited" {
			continue
		}
		switch d := rank[role] - rank[m.Role]; {
		case d < 0 && up:
			return "", cli.Fail("group promote",
				fault.New(fault.Invalid, "", "%s is %s already", who, view.Article(m.Role)),
				a.Self()+" group demote "+render.Quote(refs.GroupArg(g))+" "+render.Quote(who)+
					" --to "+string(role))
		case d > 0 && !up:
			return "", cli.Fail("group demote",
				fault.New(fault.Invalid, "", "%s is only %s", who, view.Article(m.Role)),
				a.Self()+" group promote "+render.Quote(refs.GroupArg(g))+" "+
					render.Quote(who)+" --moderator")
		}
	}
	line := fmt.Sprintf("%s is %s of %s", who, view.Article(role), refs.GroupLabel(g))
	return line, c.Group(g.ID).SetRole(ctx, id, role)
}

func (a *app) groupPromoteCommand() *cobra.Command {
	var moderator bool
	c := a.onGroup(groupVerb{
		use: "promote G MEMBER [--moderator]", short: "Make a member an admin, or a moderator",
		example: `  sessionctl group promote team bob
  sessionctl group promote team bob --moderator   # deletes what others wrote, and pins`,
		args: exactly("G", "MEMBER"),
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			role := client.RoleAdmin
			if moderator {
				role = client.RoleModerator
			}
			return a.setRole(ctx, c, g, args[0], role, true)
		},
	})
	c.Flags().BoolVar(&moderator, "moderator", false, "only a moderator")
	return c
}

func (a *app) groupDemoteCommand() *cobra.Command {
	var to string
	c := a.onGroup(groupVerb{
		use:   "demote G MEMBER [--to member|moderator]",
		short: "Take rights from an admin or a moderator; nobody demotes themselves",
		example: `  sessionctl group demote team bob
  sessionctl group demote team bob --to moderator`,
		args: exactly("G", "MEMBER"),
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			role := client.GroupRole(to)
			if role != client.RoleMember && role != client.RoleModerator {
				return "", cli.Usage("--to %s: want member or moderator", render.Printable(to))
			}
			return a.setRole(ctx, c, g, args[0], role, false)
		},
	})
	c.Flags().StringVar(&to, "to", "member", "the `ROLE` that is left: member or moderator")
	_ = c.RegisterFlagCompletionFunc("to",
		cobra.FixedCompletions([]string{"member", "moderator"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) groupApproveCommand() *cobra.Command {
	return a.onGroup(groupVerb{
		use: "approve G MEMBER", short: "Let somebody in who waits for an admin's word",
		long: `approve lets somebody in whose request waits for an admin's word: a member whose account was restored
from its recovery phrase lately, and who has lost the group's keys. Make sure that it was them: sessionctl
contact verify MEMBER.`,
		example: "  sessionctl group approve team bob",
		args:    exactly("G", "MEMBER"),
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			id, err := a.find(c).Member(ctx, g, args[0])
			if err != nil {
				return "", err
			}
			return args[0] + " is approved", c.Group(g.ID).Approve(ctx, id)
		},
	})
}
