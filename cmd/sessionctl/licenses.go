package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) licensesCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "licenses",
		Short:   "The licence of this program and the modules it is built from",
		Example: "  sessionctl licenses",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return cli.Fail("licenses", fmt.Errorf("the binary carries no build information"))
			}
			doc := sessionapi.Licenses{License: "AGPL-3.0-or-later", Modules: []sessionapi.Module{}}
			for _, m := range info.Deps {
				doc.Modules = append(doc.Modules,
					sessionapi.Module{Path: m.Path, Version: m.Version,
						URL: "https://pkg.go.dev/" + m.Path + "@" + m.Version + "?tab=licenses"})
			}
			return a.Answer("licenses", doc, func(w io.Writer, _ render.Style) {
				fmt.Fprintf(w, "Starling is free software under %s. It is built from:\n", doc.License)
				t := render.NewTable("MODULE", "VERSION", "LICENCE TEXT")
				for _, m := range doc.Modules {
					t.Row(m.Path, m.Version, m.URL)
				}
				t.Write(w)
			})
		},
	}
}
