package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/terminal"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) recoveryCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "recovery",
		Short:   "The recovery phrase: check it, draw it, take it off this device",
		GroupID: "account",
		Example: `  sessionctl recovery verify
  sessionctl recovery hide`,
	}
	c.AddCommand(a.recoveryVerifyCommand(), a.recoveryQRCommand(), &cobra.Command{
		Use:   "hide",
		Short: "Take the recovery phrase off this device, if it is kept here",
		Long: "hide destroys the phrase that \"recovery verify --keep\" put on this device. The paper is " +
			"then the only copy.",
		Example: "  sessionctl recovery hide",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Open(cmd.Context())
			if err != nil {
				return err
			}
			had, err := c.ForgetPhrase()
			if err != nil {
				return err
			}
			return a.Answer("recovery", sessionapi.Recovery{AccountID: c.Account().ID.String()},
				func(w io.Writer, st render.Style) {
					if had {
						fmt.Fprintln(w, st.Green("✓")+" the recovery phrase is no longer on this device")
						return
					}
					fmt.Fprintln(w, "the recovery phrase was not on this device")
				})
		},
	})
	return c
}

func (a *app) recoveryVerifyCommand() *cobra.Command {
	var wordsFile string
	var keep bool
	cmd := &cobra.Command{
		Use:   "verify [--words-file FILE|-] [--keep]",
		Short: "Check that the words you wrote down are this account's phrase",
		Long: `verify reads the 24 words and says whether they bring this account back. Nothing is sent, and nothing
is kept unless --keep asks for it: then "recovery qr" can draw the phrase later, and so can whoever takes the
unlocked device.`,
		Example: `  sessionctl recovery verify
  sessionctl recovery verify --words-file phrase.txt`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Open(cmd.Context())
			if err != nil {
				return err
			}
			words, err := a.ReadPhrase(wordsFile)
			if err != nil {
				return err
			}
			if err := terminal.CheckPhrase(words); err != nil {
				return err
			}
			check := c.CheckPhrase
			if keep {
				check = c.KeepPhrase
			}
			if err := check(words); err != nil {
				return a.phraseError(err)
			}
			valid := true
			return a.Answer("recovery",
				sessionapi.Recovery{AccountID: c.Account().ID.String(), Valid: &valid, Kept: isKept(c)},
				func(w io.Writer, st render.Style) {
					fmt.Fprintln(w, st.Green("✓")+" these words bring this account back")
				})
		},
	}
	cmd.Flags().StringVar(&wordsFile, "words-file", "", "`FILE` with the 24 words; - is stdin")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the phrase on this device")
	return cmd
}

func (a *app) recoveryQRCommand() *cobra.Command {
	var wordsFile string
	cmd := &cobra.Command{
		Use:   "qr [--words-file FILE|-]",
		Short: "Draw the recovery phrase as a QR code",
		Long: `qr draws the phrase that is kept on this device or, since usually none is, the one that you give it.
Whoever sees the picture can take the account.`,
		Example: "  sessionctl recovery qr --words-file phrase.txt",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Open(cmd.Context())
			if err != nil {
				return err
			}
			words, err := c.KeptPhrase()
			if wordsFile != "" || errors.Is(err, fault.NotFound) {
				if words, err = a.ReadPhrase(wordsFile); err == nil {
					err = terminal.CheckPhrase(words)
				}
				if err == nil {
					err = a.phraseError(c.CheckPhrase(words))
				}
			}
			if err != nil {
				return err
			}
			if a.JSON {
				return cli.Usage("recovery qr: a picture has no JSON form")
			}
			render.WriteQR(a.Out, words)
			return nil
		},
	}
	cmd.Flags().StringVar(&wordsFile, "words-file", "", "`FILE` with the 24 words; - is stdin")
	return cmd
}

func (a *app) phraseError(err error) error {
	if errors.Is(err, fault.Denied) {
		return cli.Fail("recovery: these words are the phrase of another account", err,
			"sessionctl profile list")
	}
	return err
}

func isKept(c *client.Client) bool {
	_, err := c.KeptPhrase()
	return err == nil
}
