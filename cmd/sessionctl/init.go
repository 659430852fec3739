package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/terminal"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) initCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "init [--name NAME]",
		Short: "Make an account; prints its ID and, once, the recovery phrase",
		Long: `init makes an account in the profile and publishes its keys in the cluster. It needs no form and no
number.

The recovery phrase is printed once and kept nowhere: whoever has it can bring the account back, and so can
you.`,
		Example: `  sessionctl init --name Alice
  sessionctl -p work init --name Alice --json`,
		GroupID: "start",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.Config(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := a.Deadline(cmd.Context(), 30*time.Second)
			defer cancel()
			stop := a.Waiting("making the account")
			c, phrase, err := client.Create(ctx, cfg, name)
			stop()
			if err != nil {
				return a.createError(err)
			}
			a.Client = c
			acc := c.Account()
			return a.Answer("init", sessionapi.Init{AccountID: acc.ID.String(), Phrase: phrase,
				DeviceID: acc.Device.String(), Name: acc.Name}, func(w io.Writer, st render.Style) {
				fmt.Fprintf(w, "%s %s\n\n", st.Dim("account"), st.Bold(acc.ID.String()))
				fmt.Fprintf(w, "%s\n", st.Yellow(
					"Recovery phrase: write these 24 words down on paper, in this order."))
				fmt.Fprintln(w, "They are shown only now. They bring the account back on any machine; "+
					"whoever has them can take it.")
				fmt.Fprintln(w)
				terminal.WritePhrase(w, st, phrase)
				a.Next("%s send 05... \"hello\"", a.Self())
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "`NAME` that contacts see")
	return c
}

func (a *app) createError(err error) error {
	switch {
	case client.IsBusy(err):
		return a.OpenError(err)
	case errors.Is(err, fault.Exists):
		return cli.Fail("profile "+a.Profile+" has an account already", err,
			a.Self()+" account show", "sessionctl -p OTHER init --name NAME",
			a.Self()+" account wipe   # forget it on this machine")
	}
	return a.Unreachable("make account", err)
}
