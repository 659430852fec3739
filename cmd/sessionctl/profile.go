package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"
)

type profileListDoc struct {
	Home     string       `json:"home"`
	Profiles []profileDoc `json:"profiles"`
}

type profileDoc struct {
	Name string `json:"name"`
	Dir  string `json:"dir"`
	This bool   `json:"this"`
}

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
			doc := profileListDoc{a.flags.home, []profileDoc{}}
			for _, n := range a.profileNames() {
				doc.Profiles = append(doc.Profiles, profileDoc{n, filepath.Join(a.profilesDir(), n), n == a.flags.profile})
			}
			return a.answer("profile.list", doc, func(w io.Writer, _ style) {
				if len(doc.Profiles) == 0 {
					fmt.Fprintln(w, "no profiles yet")
					return
				}
				t := newTable("PROFILE", "DIRECTORY")
				for _, p := range doc.Profiles {
					t.row(p.Name, p.Dir)
				}
				t.write(w)
			})
		},
	})
	return c
}

func (a *app) completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	if a.settle() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.profileNames(), cobra.ShellCompDirectiveNoFileComp
}
