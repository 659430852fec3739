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
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// Defaults of a link.
const (
	linkLife = "7d"
	linkUses = 1
)

func (a *app) groupLinkCommand() *cobra.Command {
	var expires string
	var uses, history int
	var qr bool
	c := &cobra.Command{
		Use:   "link G",
		Short: "Make a link by which people join a group",
		Long: `link prints a short text, and with --qr draws it as a code. Whoever has it can ask to join until it
expires or is used up; an admin's device lets them in. Send it where only those read it who may join. What the
text leads to lies encrypted in the cluster, which keeps it for 30 days: no link is good for longer.

In a public group whoever has it is in at once, no admin is asked; whether they join or not, they can read
what is written from the day on which it is made until it is closed. Closing it gives all members new keys,
which it does not open. At most 8 links of a public group are open at once.`,
		Example: `  sessionctl group link team
  sessionctl group link team --expires 1d --uses 20 --qr
  sessionctl group link list team
  sessionctl group link revoke team 50939898`,
		Args:              exactly("G"),
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			life, err := parseSpan("--expires", expires)
			if err != nil {
				return err
			}
			if life > groups.LinkLife {
				return cli.Usage("--expires %s: a link is good for 30d at most", expires)
			}
			c, g, err := a.openGroup(cmd.Context(), a.Fresh, args[0])
			if err != nil {
				return err
			}
			ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
			defer cancel()
			stop := a.Waiting("making the link")
			l, err := c.Group(g.ID).CreateLink(ctx, time.Now().Add(life), uses, history)
			stop()
			if err != nil {
				return a.groupError("group link", g, err)
			}
			return a.Answer("group.link",
				sessionapi.GroupLinkMade{GroupID: g.ID.String(), GroupLink: sessionapi.GroupLinkOf(l)},
				func(w io.Writer, st render.Style) {
					if qr {
						render.WriteQR(w, l.Link)
					}
					fmt.Fprintln(w, l.Link)
					if g.Form == client.GroupPublic {
						a.Say("%s", st.Dim("whoever has it is in at once, and can read along until it is "+
							"closed"))
					}
					a.Say("%s", st.Dim(fmt.Sprintf(
						"good for %s until %s; to close it: %s group link revoke %s %s",
						render.Count(l.Uses, "use"), render.Until(l.Expires, time.Now()), a.Self(),
						render.Quote(refs.GroupArg(g)), view.ShortSerial(l.Serial))))
				})
		},
	}
	c.Flags().StringVar(&expires, "expires", linkLife, "it is good for `D`, such as 12h or 7d, at most 30d")
	c.Flags().IntVar(&uses, "uses", linkUses, "`N` people may join by it")
	c.Flags().IntVar(&history, "history", 0, "they can read the last `DAYS`, about 16 at most")
	c.Flags().BoolVar(&qr, "qr", false, "draw it as a QR code, too")
	c.AddCommand(a.groupLinkListCommand(), a.groupLinkRevokeCommand())
	return c
}

func (a *app) groupLinkListCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "list G",
		Aliases:           []string{"ls"},
		Short:             "List the open links of a group",
		Example:           "  sessionctl group link list team",
		Args:              exactly("G"),
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, g, err := a.openGroup(cmd.Context(), a.FreshOrOffline, args[0])
			if err != nil {
				return err
			}
			doc := sessionapi.GroupLinks{GroupID: g.ID.String(), Links: []sessionapi.GroupLink{}}
			for _, l := range g.Links {
				doc.Links = append(doc.Links, sessionapi.GroupLinkOf(l))
			}
			return a.Answer("group.links", doc, func(w io.Writer, st render.Style) {
				if len(g.Links) == 0 {
					fmt.Fprintln(w, "no open links")
					return
				}
				view.WriteGroupLinks(w, g.Links, time.Now())
			})
		},
	}
}

func (a *app) groupLinkRevokeCommand() *cobra.Command {
	var all bool
	c := a.onGroup(groupVerb{
		use: "revoke G NUMBER|--all", short: "Close a link, or all: nobody joins by it any more",
		long: `revoke closes a link. Who came by it stays; group remove takes them out. In a public group all
members get new keys, since whoever has the link holds the present ones.`,
		example: `  sessionctl group link revoke team 50939898
  sessionctl group link revoke team --all`,
		args: func(cmd *cobra.Command, args []string) error {
			if all {
				return exactly("G")(cmd, args)
			}
			return exactly("G", "NUMBER")(cmd, args)
		},
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			if all {
				return closeLinks(ctx, c, g, g.Links)
			}
			var found []client.GroupLink
			for _, l := range g.Links {
				if args[0] != "" && strings.HasPrefix(fmt.Sprint(l.Serial), args[0]) {
					found = append(found, l)
				}
			}
			switch len(found) {
			case 0:
				return "", cli.Fail("group link revoke",
					fault.New(fault.NotFound, "", "no open link begins with %s", render.Printable(args[0])),
					a.Self()+" group link list "+render.Quote(refs.GroupArg(g)))
			case 1:
				return closeLinks(ctx, c, g, found)
			}
			return "", cli.Usage("link %s: %d links begin so", render.Printable(args[0]), len(found))
		},
	})
	c.Flags().BoolVar(&all, "all", false, "all links of the group that are open")
	return c
}

// closeLinks closes links, one after the other, and says so. One that somebody else closed meanwhile is
// closed.
func closeLinks(ctx context.Context, c *client.Client, g client.Group,
	links []client.GroupLink) (string, error) {
	for _, l := range links {
		if err := c.Group(g.ID).RevokeLink(ctx, l.Serial); err != nil && !errors.Is(err, fault.NotFound) {
			return "", err
		}
	}
	line := render.Count(len(links), "link") + " of " + refs.GroupLabel(g) + " closed"
	if len(links) == 1 {
		line = "link " + view.ShortSerial(links[0].Serial) + " is closed"
	}
	if g.Form == client.GroupPublic && len(links) > 0 {
		line += ", and all members have new keys"
	}
	return line, nil
}
