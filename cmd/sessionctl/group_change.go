package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func (a *app) groupCreateCommand() *cobra.Command {
	var describe, expire string
	var form formFlags
	c := &cobra.Command{
		Use:   "create NAME [MEMBER...] [--public | --own-keys]",
		Short: "Make a group with this account as its admin, and invite members",
		Long: `create makes a group and invites the members. An invited contact who accepted this account as a contact joins by
itself as soon as one of its devices and one of the admins' devices have been online; others see an invitation.

` + formHelp,
		Example: `  sessionctl group create team bob carol
  sessionctl group create club --public
  sessionctl group create "Friday lunch" --describe "Where we eat" --expire 7d`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactly("NAME")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.complete(peerNames)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			info := client.GroupInfo{Name: &args[0]}
			if args[0] == "" {
				return cli.Usage("group create: the name is empty")
			}
			if describe != "" {
				info.Description = &describe
			}
			if expire != "" {
				t, err := groupTimer(expire)
				if err != nil {
					return err
				}
				info.Timer = &t
			}
			kind, err := form.form()
			if err != nil {
				return err
			}
			return a.createGroup(cmd, info, kind, args[1:])
		},
	}
	c.Flags().StringVar(&describe, "describe", "", "a `TEXT` about the group")
	c.Flags().StringVar(&expire, "expire", "", "messages disappear `D` after they were sent, such as 12h or 7d")
	form.add(c)
	return c
}

func (a *app) createGroup(cmd *cobra.Command, info client.GroupInfo, form client.GroupForm, names []string) error {
	c, err := a.online(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(cmd, defaultTimeout)
	defer cancel()
	var ids []ident.AccountID
	for _, s := range names {
		id, err := a.account(ctx, c, s)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	stop := a.waiting("making the group")
	g, err := c.CreateGroup(ctx, info, form)
	stop()
	if err != nil {
		return a.unreachable("group create", err)
	}
	line := groupLabel(g) + " is there, with you as its admin"
	if len(ids) > 0 {
		stop := a.waiting("inviting")
		err = c.GroupAdd(ctx, g.ID, 0, ids...)
		stop()
		line = fmt.Sprintf("%s is there; %s", groupLabel(g), invitedWords(len(ids)))
	}
	if err != nil {
		_ = a.answerGroup(cmd, c, g.ID, groupLabel(g)+" is there, with nobody but you")
		e := cli.Describe(err)
		return &cli.Error{What: "group create: the members were not invited", Cause: err, Code: e.Code, Exit: cli.ExitPartly,
			Try: []string{"sessionctl" + a.profileFlag() + " group add " + quoted(groupArg(g)) + " " + strings.Join(names, " ")}}
	}
	if err := a.answerGroup(cmd, c, g.ID, line); err != nil {
		return err
	}
	if form == client.GroupPublic {
		a.next("sessionctl%s group link %s --uses 50", a.profileFlag(), quoted(*info.Name))
	} else {
		a.next("sessionctl%s send %s \"hello\"", a.profileFlag(), quoted(*info.Name))
	}
	return a.share(cmd, c, "group create")
}

func invitedWords(n int) string {
	if n == 1 {
		return "1 person is invited"
	}
	return fmt.Sprintf("%d people are invited", n)
}

// groupTimer reads the timer of a group, which runs from when a message was sent.
func groupTimer(s string) (client.Timer, error) {
	t, err := parseTimer(s)
	if err == nil && t.AfterRead {
		err = cli.Usage("timer %s: in a group the time runs from when a message was sent: want off, 12h or 7d", s)
	}
	return t, err
}

// atLeast wants the named arguments and any number more of the last one.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return exactly(names...)(cmd, args)
		}
		return nil
	}
}

func (a *app) groupMemberCommands() []*cobra.Command {
	return []*cobra.Command{a.groupAddCommand(), a.groupRemoveCommand(), a.groupPromoteCommand(), a.groupDemoteCommand(), a.groupApproveCommand()}
}

func (a *app) groupAddCommand() *cobra.Command {
	var history int
	var wait string
	c := a.onGroup(groupVerb{
		use: "add G MEMBER... [--history DAYS]", short: "Invite people; whoever was banned may come back",
		long: `add invites people. A contact who accepted this account joins by itself once one of its devices and one of the admins'
devices have been online; others see an invitation. --history lets them read what was written in the last days,
as far as the admin who lets them in can still read it: for about 16 days.`,
		example: `  sessionctl group add team dave
  sessionctl group add team dave erin --history 7
  sessionctl group add team dave --wait joined --timeout 5m`,
		args: atLeast("G", "MEMBER"),
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			if wait != "invited" && wait != "joined" {
				return "", cli.Usage("--wait %s: want invited or joined", wait)
			}
			ids, err := a.members(ctx, c, g, args)
			if err != nil {
				return "", err
			}
			if err := c.GroupAdd(ctx, g.ID, history, ids...); err != nil && (wait != "joined" || !errors.Is(err, fault.Exists)) {
				return "", err
			}
			if wait == "joined" {
				return a.awaitMembers(ctx, c, g, ids)
			}
			return fmt.Sprintf("%s to %s", invitedWords(len(ids)), groupLabel(g)), nil
		},
	})
	c.Flags().IntVar(&history, "history", 0, "they can read the last `DAYS`, about 16 at most")
	c.Flags().StringVar(&wait, "wait", "invited", "wait until they are `STATE`: invited or joined")
	_ = c.RegisterFlagCompletionFunc("wait", cobra.FixedCompletions([]string{"invited", "joined"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// awaitMembers returns once all of them are in the group.
func (a *app) awaitMembers(ctx context.Context, c *client.Client, g client.Group, ids []ident.AccountID) (string, error) {
	_, err := c.WaitGroup(ctx, g.ID, func(g client.Group) bool {
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
		return "", cli.Fail("group add: they are invited, but not all have joined in time: their devices must be online", err,
			"sessionctl"+a.profileFlag()+" group show "+quoted(groupArg(g)))
	}
	return count(len(ids), "member") + " joined " + groupLabel(g), err
}

func (a *app) groupRemoveCommand() *cobra.Command {
	var ban bool
	c := a.onGroup(groupVerb{
		use: "remove G MEMBER... [--ban]", short: "Remove members, or withdraw invitations; all who stay get new keys",
		long: `remove takes members out and gives all who stay new keys. In a public group with an open link those removed can neither
write nor come back by that link, but they can read on: close the links, too (group link revoke G --all).`,
		example: `  sessionctl group remove team dave
  sessionctl group remove team dave --ban   # not by a link either, until you add them`,
		args: atLeast("G", "MEMBER"),
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			ids, err := a.members(ctx, c, g, args)
			if err != nil {
				return "", err
			}
			words := "out of"
			if ban {
				words = "banned from"
			}
			line := fmt.Sprintf("%d people are %s %s", len(ids), words, groupLabel(g))
			if len(ids) == 1 {
				line = fmt.Sprintf("%s is %s %s", args[0], words, groupLabel(g))
			}
			if g.Form == client.GroupPublic && len(g.Links) > 0 {
				line += "; they can read on until you close the group's links: sessionctl" + a.profileFlag() + " group link revoke " + quoted(groupArg(g)) + " --all"
			}
			return line, c.GroupRemove(ctx, g.ID, ban, ids...)
		},
	})
	c.Aliases = []string{"rm"}
	c.Flags().BoolVar(&ban, "ban", false, "they cannot come back until an admin adds them")
	return c
}

// setRole gives a member a role; up says whether the verb raises it.
func (a *app) setRole(ctx context.Context, c *client.Client, g client.Group, who string, role client.GroupRole, up bool) (string, error) {
	id, err := a.member(ctx, c, g, who)
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
			return "", cli.Fail("group promote", fault.New(fault.Invalid, "", "%s is %s already", who, article(m.Role)),
				"sessionctl"+a.profileFlag()+" group demote "+quoted(groupArg(g))+" "+quoted(who)+" --to "+string(role))
		case d > 0 && !up:
			return "", cli.Fail("group demote", fault.New(fault.Invalid, "", "%s is only %s", who, article(m.Role)),
				"sessionctl"+a.profileFlag()+" group promote "+quoted(groupArg(g))+" "+quoted(who)+" --moderator")
		}
	}
	return fmt.Sprintf("%s is %s of %s", who, article(role), groupLabel(g)), c.GroupSetRole(ctx, g.ID, id, role)
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
		use: "demote G MEMBER [--to member|moderator]", short: "Take rights from an admin or a moderator; nobody demotes themselves",
		example: `  sessionctl group demote team bob
  sessionctl group demote team bob --to moderator`,
		args: exactly("G", "MEMBER"),
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			role := client.GroupRole(to)
			if role != client.RoleMember && role != client.RoleModerator {
				return "", cli.Usage("--to %s: want member or moderator", printable(to))
			}
			return a.setRole(ctx, c, g, args[0], role, false)
		},
	})
	c.Flags().StringVar(&to, "to", "member", "the `ROLE` that is left: member or moderator")
	_ = c.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"member", "moderator"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) groupApproveCommand() *cobra.Command {
	return a.onGroup(groupVerb{
		use: "approve G MEMBER", short: "Let somebody in who waits for an admin's word",
		long: `approve lets somebody in whose request waits for an admin's word: a member whose account was restored from its recovery
phrase lately, and who has lost the group's keys. Make sure that it was them: sessionctl contact verify MEMBER.`,
		example: "  sessionctl group approve team bob",
		args:    exactly("G", "MEMBER"),
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			id, err := a.member(ctx, c, g, args[0])
			if err != nil {
				return "", err
			}
			return args[0] + " is approved", c.GroupApprove(ctx, g.ID, id)
		},
	})
}

func (a *app) groupInfoCommands() []*cobra.Command {
	set := func(ctx context.Context, c *client.Client, g client.Group, info client.GroupInfo, line string) (string, error) {
		return line, c.GroupSetInfo(ctx, g.ID, info)
	}
	return []*cobra.Command{
		a.onGroup(groupVerb{
			use: "rename G NAME", short: "Give a group another name, for all members",
			example: `  sessionctl group rename team "The team"`,
			args:    exactly("G", "NAME"),
			do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
				if args[0] == "" {
					return "", cli.Usage("group rename: the name is empty")
				}
				return set(ctx, c, g, client.GroupInfo{Name: &args[0]}, groupLabel(g)+" is #"+args[0]+" now")
			},
		}),
		a.onGroup(groupVerb{
			use: "describe G TEXT|-", short: "Say what a group is about; an empty TEXT ends that",
			example: `  sessionctl group describe team "Who fixes what"
  sessionctl group describe team - < about.txt`,
			args: exactly("G", "TEXT"),
			do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
				text := args[0]
				if text == "-" {
					b, err := io.ReadAll(io.LimitReader(a.stdin, 1<<16))
					if err != nil {
						return "", cli.Fail("read stdin", err)
					}
					text = strings.TrimSpace(string(b))
				}
				return set(ctx, c, g, client.GroupInfo{Description: &text}, groupLabel(g)+" is described")
			},
		}),
		a.groupPictureCommand(),
		a.onGroup(groupVerb{
			use: "expire G D|off", short: "Make new messages of a group disappear some time after they were sent",
			example: `  sessionctl group expire team 7d
  sessionctl group expire team off`,
			args: exactly("G", "D"),
			do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
				t, err := groupTimer(args[0])
				if err != nil {
					return "", err
				}
				return set(ctx, c, g, client.GroupInfo{Timer: &t}, "new messages in "+groupLabel(g)+" disappear: "+timerWords(t))
			},
		}),
		a.onGroup(groupVerb{
			use: "rekey G", short: "Give all members new keys now; otherwise that happens weekly and at removals",
			example: "  sessionctl group rekey team",
			args:    exactly("G"),
			do: func(ctx context.Context, c *client.Client, g client.Group, _ []string) (string, error) {
				return groupLabel(g) + " has new keys", c.GroupRekey(ctx, g.ID)
			},
		}),
	}
}
