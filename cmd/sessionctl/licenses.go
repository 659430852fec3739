package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
)

type licensesDoc struct {
	License string      `json:"license"`
	Modules []moduleDoc `json:"modules"`
}

type moduleDoc struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	URL     string `json:"url"`
}

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
			doc := licensesDoc{License: "AGPL-3.0-or-later", Modules: []moduleDoc{}}
			for _, m := range info.Deps {
				doc.Modules = append(doc.Modules, moduleDoc{m.Path, m.Version, "https://pkg.go.dev/" + m.Path + "@" + m.Version + "?tab=licenses"})
			}
			return a.answer("licenses", doc, func(w io.Writer, _ style) {
				fmt.Fprintf(w, "Starling is free software under %s. It is built from:\n", doc.License)
				t := newTable("MODULE", "VERSION", "LICENCE TEXT")
				for _, m := range doc.Modules {
					t.row(m.Path, m.Version, m.URL)
				}
				t.write(w)
			})
		},
	}
}
