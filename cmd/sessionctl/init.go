package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

type initDoc struct {
	AccountID string `json:"account_id"`
	Phrase    string `json:"recovery_phrase"`
	DeviceID  string `json:"device_id"`
	Name      string `json:"name,omitempty"`
}

func (a *app) initCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "init [--name NAME]",
		Short: "Make an account; prints its ID and, once, the recovery phrase",
		Long: `init makes an account in the profile and publishes its keys in the cluster. It needs no form and no number.

The recovery phrase is printed once and kept nowhere: whoever has it can bring the account back, and so can you.`,
		Example: `  sessionctl init --name Alice
  sessionctl -p work init --name Alice --json`,
		GroupID: "start",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config(false)
			if err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd, 30*time.Second)
			defer cancel()
			stop := a.waiting("making the account")
			c, phrase, err := client.Create(ctx, cfg, name)
			stop()
			if err != nil {
				return a.createError(err)
			}
			a.client = c
			acc := c.Account()
			return a.answer("init", initDoc{acc.ID.String(), phrase, acc.Device.String(), acc.Name}, func(w io.Writer, st style) {
				fmt.Fprintf(w, "%s %s\n\n", st.dim("account"), st.bold(acc.ID.String()))
				fmt.Fprintf(w, "%s\n", st.yellow("Recovery phrase: write these 24 words down on paper, in this order."))
				fmt.Fprintln(w, "They are shown only now. They bring the account back on any machine; whoever has them can take it.")
				fmt.Fprintln(w)
				writePhrase(w, st, phrase)
				a.next("sessionctl%s send 05... \"hello\"", a.profileFlag())
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "`NAME` that contacts see")
	return c
}

func (a *app) createError(err error) error {
	switch {
	case client.IsBusy(err):
		return a.openError(err)
	case errors.Is(err, fault.Exists):
		return cli.Fail("profile "+a.flags.profile+" has an account already", err,
			"sessionctl"+a.profileFlag()+" account show", "sessionctl -p OTHER init --name NAME",
			"sessionctl"+a.profileFlag()+" account wipe   # forget it on this machine")
	}
	return a.unreachable("make account", err)
}

// profileFlag is " -p NAME" for hints, or nothing for the default profile.
func (a *app) profileFlag() string {
	if a.flags.profile == "default" {
		return ""
	}
	return " -p " + a.flags.profile
}
