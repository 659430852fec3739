package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/terminal"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// restoreTimeout is how long restore waits for a live device: a person has to walk to it.
const restoreTimeout = 10 * time.Minute

func (a *app) restoreCommand() *cobra.Command {
	var wordsFile string
	var o client.RestoreOptions
	c := &cobra.Command{
		Use:   "restore --words-file FILE|- [--name NAME] [--no-wait]",
		Short: "Bring an account back from its recovery phrase, or link another device",
		Long: `restore adds this device to the account of a recovery phrase.

If another device of the account is alive, type the printed code there ("device approve CODE"): the new device
is linked and contacts notice nothing. If none answers, --no-wait recovers the account at once, and contacts
see that. Without --words-file the words are asked for. An interrupted restore goes on where it was when it is
run again.`,
		Example: `  sessionctl -p laptop restore --words-file phrase.txt
  sessionctl -p laptop restore --words-file - --no-wait < phrase.txt`,
		GroupID: "start",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			words, err := a.ReadPhrase(wordsFile)
			if err != nil {
				return err
			}
			if err := terminal.CheckPhrase(words); err != nil {
				return err
			}
			cfg, err := a.Config(cmd.Context())
			if err != nil {
				return err
			}
			return a.restore(cmd, cfg, words, o)
		},
	}
	c.Flags().StringVar(&wordsFile, "words-file", "", "`FILE` with the 24 words; - is stdin")
	c.Flags().StringVar(&o.Name, "name", "", "`NAME` that contacts see, if the account itself does not say")
	c.Flags().BoolVar(&o.NoWait, "no-wait", false,
		"recover at once without asking a live device; contacts see it")
	return c
}

func (a *app) restore(cmd *cobra.Command, cfg client.Config, words string, o client.RestoreOptions) error {
	ctx, cancel := a.Deadline(cmd.Context(), restoreTimeout)
	defer cancel()
	stop := func() {}
	defer func() { stop() }()
	o.OnPending = func(code string, device ident.DeviceID) {
		if a.JSON {
			_ = cli.WriteJSON(a.Err, "restore.pending",
				sessionapi.RestorePending{Code: code, DeviceID: device.String()})
			return
		}
		st := render.StyleFor(a.Err)
		fmt.Fprintf(a.Err, "Code of this device: %s\n", st.Bold(refs.SplitCode(code)))
		a.Say("On a device that is in the account: sessionctl device approve %s", refs.SplitCode(code))
		a.Say("No such device left? Stop with Ctrl-C and add --no-wait; contacts will see the recovery.")
		stop = a.Waiting("waiting for approval")
	}
	c, recovered, err := client.Restore(ctx, cfg, words, o)
	stop()
	if err != nil {
		return a.restoreError(err)
	}
	a.Client = c
	acc := c.Account()
	doc := sessionapi.Restored{AccountID: acc.ID.String(), DeviceID: acc.Device.String(),
		Recovered: recovered,
		Name:      acc.Name}
	if recovered {
		doc.Missing = []string{"messages"}
	}
	err = a.Answer("restore", doc, func(w io.Writer, st render.Style) {
		how := "linked"
		if recovered {
			how = "recovered; contacts see that the account was restored"
		}
		fmt.Fprintf(w, "%s %s %s\n", st.Green("✓"), how, st.Bold(acc.ID.String()))
		if recovered {
			fmt.Fprintln(w, "  Contacts and settings are here. Messages from before are not and cannot be "+
				"fetched: only the devices of then could read them.")
		}
		a.Next("%s contact list", a.Self())
	})
	if !recovered {
		a.awaitHistory(cmd, c)
	}
	return err
}

func (a *app) restoreError(err error) error {
	again := a.Self() + " restore --words-file FILE"
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &cli.Error{What: "restore: no device has approved yet", Cause: err, Try: []string{
			again + "             # goes on with the same code",
			again + " --no-wait   # recover without them; contacts see it"}}
	case errors.Is(err, context.Canceled):
		return &cli.Error{What: "restore: stopped while waiting for approval", Cause: err,
			Try: []string{again + "   # goes on with the same code"}}
	case errors.Is(err, fault.NotFound):
		return cli.Fail("restore: this cluster does not know the account of the phrase", err,
			"sessionctl context list   # see which cluster this is")
	case errors.Is(err, fault.Stale):
		// No valid day key is published: nobody can be asked, but the root of the account can still act.
		return cli.Fail("restore", err, again+" --no-wait")
	}
	return a.createError(err)
}
