package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) groupInfoCommands() []*cobra.Command {
	set := func(ctx context.Context, c *client.Client, g client.Group, info client.GroupInfo,
		line string) (string, error) {
		return line, c.Group(g.ID).SetInfo(ctx, info)
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
				return set(ctx, c, g, client.GroupInfo{Name: &args[0]}, refs.GroupLabel(g)+
					" is #"+args[0]+" now")
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
					b, err := io.ReadAll(io.LimitReader(a.In, 1<<16))
					if err != nil {
						return "", cli.Fail("read stdin", err)
					}
					text = strings.TrimSpace(string(b))
				}
				return set(ctx, c, g, client.GroupInfo{Description: &text}, refs.GroupLabel(g)+
					" is described")
			},
		}),
		a.groupPictureCommand(),
		a.onGroup(groupVerb{
			use: "expire G D|off", short: "Make new messages of a group disappear some time after they " +
				"were sent",
			example: `  sessionctl group expire team 7d
  sessionctl group expire team off`,
			args: exactly("G", "D"),
			do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
				t, err := groupTimer(args[0])
				if err != nil {
					return "", err
				}
				return set(ctx, c, g, client.GroupInfo{Timer: &t},
					"new messages in "+refs.GroupLabel(g)+" disappear: "+sessionapi.FormatTimer(t))
			},
		}),
		a.onGroup(groupVerb{
			use: "rekey G", short: "Give all members new keys now; otherwise that happens weekly and at " +
				"removals",
			example: "  sessionctl group rekey team",
			args:    exactly("G"),
			do: func(ctx context.Context, c *client.Client, g client.Group, _ []string) (string, error) {
				return refs.GroupLabel(g) + " has new keys", c.Group(g.ID).Rekey(ctx)
			},
		}),
	}
}

// maxPicture is the size of a group's picture, as package client takes it.
const maxPicture = 16 << 10

func (a *app) groupPictureCommand() *cobra.Command {
	var none bool
	c := a.onGroup(groupVerb{
		use: "picture G FILE|--none", short: "Give a group a picture of at most 16 KiB, or take it away",
		example: `  sessionctl group picture team team.png
  sessionctl group picture team --none`,
		args: func(cmd *cobra.Command, args []string) error {
			if none {
				return exactly("G")(cmd, args)
			}
			return exactly("G", "FILE")(cmd, args)
		},
		do: func(ctx context.Context, c *client.Client, g client.Group, args []string) (string, error) {
			picture := []byte{}
			line := refs.GroupLabel(g) + " has no picture any more"
			if !none {
				var err error
				if picture, err = readPicture(args[0]); err != nil {
					return "", err
				}
				line = refs.GroupLabel(g) + " has a picture"
			}
			return line, c.Group(g.ID).SetInfo(ctx, client.GroupInfo{Picture: &picture})
		},
	})
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string,
		cobra.ShellCompDirective) {
		if len(args) == 0 {
			return a.complete(refs.GroupNames)
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
	c.Flags().BoolVar(&none, "none", false, "take the picture away")
	return c
}

// readPicture reads a small image.
func readPicture(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cli.Fail("group picture", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPicture+1))
	switch {
	case err != nil:
		return nil, cli.Fail("group picture", err)
	case len(b) > maxPicture:
		return nil, cli.Fail("group picture",
			fault.New(fault.Invalid, "",
				"%s is larger than 16 KiB: all members keep it in the group's log, so make it small", path))
	case !strings.HasPrefix(http.DetectContentType(b), "image/"):
		return nil, cli.Fail("group picture", fault.New(fault.Invalid, "", "%s is no image", path))
	}
	return b, nil
}
