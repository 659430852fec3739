package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
)

func (a *app) groupCreateCommand() *cobra.Command {
	var describe, expire string
	var form formFlags
	c := &cobra.Command{
		Use:   "create NAME [MEMBER...] [--public | --own-keys]",
		Short: "Make a group with this account as its admin, and invite members",
		Long: `create makes a group and invites the members. An invited contact who accepted this account as a
contact joins by itself as soon as one of its devices and one of the admins' devices have been online; others
see an invitation.

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
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string,
			cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.complete(refs.PeerNames)
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
	c.Flags().StringVar(&expire, "expire", "",
		"messages disappear `D` after they were sent, such as 12h or 7d")
	form.add(c)
	return c
}

func (a *app) createGroup(cmd *cobra.Command, info client.GroupInfo, form client.GroupForm,
	names []string) error {
	c, err := a.Online(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
	defer cancel()
	var ids []ident.AccountID
	for _, s := range names {
		id, err := a.find(c).Account(ctx, s)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	stop := a.Waiting("making the group")
	g, err := c.CreateGroup(ctx, info, form)
	stop()
	if err != nil {
		return a.Unreachable("group create", err)
	}
	line := refs.GroupLabel(g) + " is there, with you as its admin"
	if len(ids) > 0 {
		stop := a.Waiting("inviting")
		err = c.Group(g.ID).Add(ctx, 0, ids...)
		stop()
		line = fmt.Sprintf("%s is there; %s", refs.GroupLabel(g), invitedWords(len(ids)))
	}
	if err != nil {
		_ = a.answerGroup(cmd, c, g.ID, refs.GroupLabel(g)+" is there, with nobody but you")
		e := cli.Describe(err)
		return &cli.Error{What: "group create: the members were not invited", Cause: err, Code: e.Code,
			Exit: cli.ExitPartly,
			Try: []string{a.Self() + " group add " + render.Quote(refs.GroupArg(g)) + " " +
				strings.Join(names, " ")}}
	}
	if err := a.answerGroup(cmd, c, g.ID, line); err != nil {
		return err
	}
	if form == client.GroupPublic {
		a.Next("%s group link %s --uses 50", a.Self(), render.Quote(*info.Name))
	} else {
		a.Next("%s send %s \"hello\"", a.Self(), render.Quote(*info.Name))
	}
	return a.Share(cmd.Context(), c, "group create")
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
		err = cli.Usage("timer %s: in a group the time runs from when a message was sent: want off, "+
			"12h or 7d", s)
	}
	return t, err
}

// formHelp says what the forms of a group mean for people.
const formHelp = `What kind of group it is never changes:
  (default)   An admin's device lets everybody in; members share a key, so nodes cannot tell their messages
              apart.
  --public    Whoever has a link of it is in at once, and can read what was written since the link was made.
              Nodes tell one member's messages from another's, by a random key, not whose it is.
  --own-keys  For large groups: each member stores with a random key of its own, which nodes refuse from the
              moment it is removed, and by which they tell one member's messages from another's, not whose it
              is.`

// formFlags are the flags of group create for what kind of group it is.
type formFlags struct{ public, ownKeys bool }

func (f *formFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.public, "public", false, "whoever has a link is in at once, without an admin")
	c.Flags().BoolVar(&f.ownKeys, "own-keys", false,
		"each member stores with a key of its own; for large groups")
}

func (f *formFlags) form() (client.GroupForm, error) {
	switch {
	case f.public && f.ownKeys:
		return "", cli.Usage("group create: in a --public group members have keys of their own anyway: " +
			"leave out --own-keys")
	case f.public:
		return client.GroupPublic, nil
	case f.ownKeys:
		return client.GroupOwnKeys, nil
	}
	return client.GroupShared, nil
}
