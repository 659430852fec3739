package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

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
			line := groupLabel(g) + " has no picture any more"
			if !none {
				var err error
				if picture, err = readPicture(args[0]); err != nil {
					return "", err
				}
				line = groupLabel(g) + " has a picture"
			}
			return line, c.GroupSetInfo(ctx, g.ID, client.GroupInfo{Picture: &picture})
		},
	})
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return a.complete(groupNames)
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
		return nil, cli.Fail("group picture", fault.New(fault.Invalid, "", "%s is larger than 16 KiB: all members keep it in the group's log, so make it small", path))
	case !strings.HasPrefix(http.DetectContentType(b), "image/"):
		return nil, cli.Fail("group picture", fault.New(fault.Invalid, "", "%s is no image", path))
	}
	return b, nil
}
