package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/clictx"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) contextCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "context",
		Short:   "The clusters this machine knows, by name",
		GroupID: "network",
		Example: `  sessionctl context add work cluster.json
  sessionctl context use work`,
	}
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List contexts",
		Example: "  sessionctl context list --json",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.contextList(cmd.Context()) },
	}, &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a context the current one",
		Example:           "  sessionctl context use dev",
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := clictx.Use(a.Home, args[0]); err != nil {
				return a.contextError(args[0], err)
			}
			return a.Answer("context", sessionapi.Context{Name: args[0], Current: true},
				func(w io.Writer, st render.Style) {
					fmt.Fprintf(w, "%s the current context is %s\n", st.Green("✓"), args[0])
				})
		},
	}, &cobra.Command{
		Use:   "add NAME FILE|LINK",
		Short: "Remember a cluster by a name",
		Long: "add checks the cluster file that a cluster's operator gave out and keeps a copy of it. The " +
			"first context added becomes the current one.",
		Example: "  sessionctl context add work cluster.json",
		Args:    exactly("NAME", "FILE or LINK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.contextAdd(cmd.Context(), args[0], args[1])
		},
	})
	return c
}

func (a *app) contextList(ctx context.Context) error {
	ctxs, err := clictx.Load(a.Home)
	if err != nil {
		return err
	}
	doc := sessionapi.Contexts{Current: ctxs.Current, Contexts: []sessionapi.Context{}}
	for _, n := range ctxs.Names() {
		p, err := ctxs.Path(a.Home, n)
		if err != nil {
			return err
		}
		d := sessionapi.Context{Name: n, Current: n == ctxs.Current, Path: p}
		if cf, err := session.LoadCluster(ctx, a.Home, n); err == nil {
			d.Cluster, d.ClusterID = cf.Name, cf.ID.String()
		} else {
			a.Warn("context %s: %v", n, err)
		}
		doc.Contexts = append(doc.Contexts, d)
	}
	return a.Answer("context.list", doc, func(w io.Writer, _ render.Style) {
		if len(doc.Contexts) == 0 {
			fmt.Fprintln(w, "no contexts yet")
			return
		}
		t := render.NewTable("", "CONTEXT", "CLUSTER", "CLUSTER ID")
		for _, d := range doc.Contexts {
			mark := ""
			if d.Current {
				mark = "*"
			}
			t.Row(mark, d.Name, d.Cluster, render.Shorten(d.ClusterID, 16))
		}
		t.Write(w)
	})
}

func (a *app) contextAdd(ctx context.Context, name, source string) error {
	cf, err := session.LoadCluster(ctx, a.Home, source)
	if err != nil {
		return cli.Fail("context add "+name, err)
	}
	body, err := cf.Encode()
	if err != nil {
		return err
	}
	if err := clictx.Add(a.Home, name, body); err != nil {
		return cli.Fail("context add "+name, err)
	}
	return a.Answer("context", sessionapi.Context{Name: name, Cluster: cf.Name, ClusterID: cf.ID.String()},
		func(w io.Writer, st render.Style) {
			fmt.Fprintf(w, "%s context %s is cluster %s\n", st.Green("✓"), name, render.Printable(cf.Name))
		})
}

func (a *app) contextError(name string, err error) error {
	e := cli.Fail("no context "+name, err)
	if c, lerr := clictx.Load(a.Home); lerr == nil {
		for _, n := range refs.Nearest(name, c.Names()) {
			e.Try = append(e.Try, "sessionctl context use "+n)
		}
	}
	e.Try = append(e.Try, "sessionctl context list")
	return e
}
