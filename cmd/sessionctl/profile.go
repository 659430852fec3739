package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) profileCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "profile",
		Short:   "The accounts on this machine",
		GroupID: "account",
		Example: "  sessionctl profile list",
	}
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List profiles",
		Example: "  sessionctl profile list --json",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			doc := sessionapi.Profiles{Home: a.Home, Profiles: []sessionapi.Profile{}}
			for _, n := range a.ProfileNames() {
				doc.Profiles = append(doc.Profiles,
					sessionapi.Profile{Name: n, Dir: filepath.Join(a.ProfilesDir(), n), This: n == a.Profile})
			}
			return a.Answer("profile.list", doc, func(w io.Writer, _ render.Style) {
				if len(doc.Profiles) == 0 {
					fmt.Fprintln(w, "no profiles yet")
					return
				}
				t := render.NewTable("PROFILE", "DIRECTORY")
				for _, p := range doc.Profiles {
					t.Row(p.Name, p.Dir)
				}
				t.Write(w)
			})
		},
	})
	return c
}
