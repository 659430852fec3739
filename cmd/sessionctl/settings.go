package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (a *app) settingsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "settings",
		Short:   "The settings of this account, the same on all its devices",
		GroupID: "account",
		Example: `  sessionctl settings list
  sessionctl settings set receipts off`,
	}
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the settings",
		Example: "  sessionctl settings list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, all, err := a.settings(cmd)
			if err != nil {
				return err
			}
			doc := sessionapi.Settings{Settings: []sessionapi.Setting{}}
			for _, s := range all {
				doc.Settings = append(doc.Settings, sessionapi.Setting{Name: s.Name, On: s.On,
					About: s.About})
			}
			return a.Answer("settings.list", doc, func(w io.Writer, _ render.Style) {
				t := render.NewTable("NAME", "", "WHAT IT DOES")
				for _, s := range all {
					t.Row(s.Name, onOff(s.On), s.About)
				}
				t.Write(w)
			})
		},
	}, &cobra.Command{
		Use:       "get NAME",
		Short:     "Print one setting",
		Example:   "  sessionctl settings get receipts",
		Args:      exactly("NAME"),
		ValidArgs: client.SettingNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, all, err := a.settings(cmd)
			if err != nil {
				return err
			}
			for _, s := range all {
				if s.Name == args[0] {
					return a.Answer("setting", sessionapi.Setting{Name: s.Name, On: s.On, About: s.About},
						func(w io.Writer, _ render.Style) { fmt.Fprintln(w, onOff(s.On)) })
				}
			}
			return a.noSetting(args[0])
		},
	}, &cobra.Command{
		Use:       "set NAME on|off",
		Short:     "Switch a setting",
		Example:   "  sessionctl settings set receipts off",
		Args:      exactly("NAME", "on|off"),
		ValidArgs: client.SettingNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] != "on" && args[1] != "off" {
				return cli.Usage("settings set %s %s: want on or off", args[0], args[1])
			}
			c, err := a.Online(cmd.Context())
			if err != nil {
				return err
			}
			on := args[1] == "on"
			if err := c.Set(cmd.Context(), args[0], on); err != nil {
				if fault.KindOf(err) == fault.NotFound {
					return a.noSetting(args[0])
				}
				return cli.Fail("settings set", err)
			}
			if err := a.Answer("setting", sessionapi.Setting{Name: args[0], On: on},
				func(w io.Writer, st render.Style) {
					fmt.Fprintf(w, "%s %s is %s\n", st.Green("✓"), args[0], onOff(on))
				}); err != nil {
				return err
			}
			return a.Share(cmd.Context(), c, "settings set")
		},
	})
	return c
}

func (a *app) settings(cmd *cobra.Command) (*client.Client, []client.Setting, error) {
	c, err := a.FreshOrOffline(cmd.Context())
	if err != nil {
		return nil, nil, err
	}
	all, err := c.Settings(cmd.Context())
	return c, all, err
}

func (a *app) noSetting(name string) error {
	e := cli.Fail("no setting "+render.Printable(name),
		fault.New(fault.NotFound, "find setting", "there is none of that name"))
	e.Try = append(refs.Nearest(name, client.SettingNames()), "sessionctl settings list")
	return e
}
