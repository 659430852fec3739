package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) accountCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "account",
		Short:   "Show who this profile is",
		GroupID: "account",
		Example: `  sessionctl account show
  sessionctl account qr`,
	}
	c.AddCommand(&cobra.Command{
		Use:     "show",
		Short:   "Print the account ID, the name, the cluster and the link to share",
		Example: "  sessionctl account show --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Open(cmd.Context())
			if err != nil {
				return err
			}
			acc := c.Account()
			return a.Answer("account", sessionapi.AccountOf(acc), func(w io.Writer, st render.Style) {
				for _, r := range [][2]string{
					{"account", st.Bold(acc.ID.String())}, {"name", render.Printable(acc.Name)},
					{"device", acc.Device.String() + " (" + render.Printable(acc.Label) + ")"},
					{"cluster", render.Printable(acc.ClusterName)}, {"link", acc.Link},
				} {
					fmt.Fprintf(w, "%s %s\n", st.Dim(fmt.Sprintf("%-8s", r[0])), r[1])
				}
				if acc.Revoked {
					fmt.Fprintln(w, st.Red("This device was removed from the account: it can neither fetch "+
						"nor send."))
					for _, line := range a.WhenRemoved() {
						fmt.Fprintln(w, "  "+line)
					}
				}
			})
		},
	})
	c.AddCommand(&cobra.Command{
		Use:     "qr",
		Short:   "Draw the link to this account as a QR code",
		Example: "  sessionctl account qr",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Open(cmd.Context())
			if err != nil {
				return err
			}
			acc := c.Account()
			return a.Answer("account", sessionapi.AccountOf(acc), func(w io.Writer, st render.Style) {
				qrterminal.GenerateWithConfig(acc.Link, qrterminal.Config{
					Level: qrterminal.L, Writer: w, HalfBlocks: true, QuietZone: 2,
					BlackChar: qrterminal.BLACK_BLACK, WhiteChar: qrterminal.WHITE_WHITE,
					BlackWhiteChar: qrterminal.BLACK_WHITE, WhiteBlackChar: qrterminal.WHITE_BLACK,
				})
				fmt.Fprintln(w, acc.Link)
			})
		},
	})
	c.AddCommand(a.wipeCommand())
	c.AddCommand(a.accountRenameCommand())
	return c
}

func (a *app) wipeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "wipe",
		Short: "Remove the profile from this machine; the account itself stays",
		Long: `wipe deletes the profile's keys and messages from this machine. The account stays in the cluster: its
other devices go on, and the recovery phrase brings it back.`,
		Example: "  sessionctl -p old account wipe",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir := a.ProfileDir()
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				return a.NoProfile()
			}
			// Only a profile that nobody uses may go; one that does not open for another reason may go as
			// well.
			c, err := client.Open(client.Config{Dir: dir})
			if client.IsBusy(err) {
				return a.OpenError(err)
			}
			if err == nil {
				a.Client = c
			}
			if err := a.Confirm("Type the profile's name to delete its keys and messages from this machine",
				a.Profile); err != nil {
				return err
			}
			a.Close()
			if err := os.RemoveAll(dir); err != nil {
				return cli.Fail("account wipe", err)
			}
			return a.Answer("profile.wiped", sessionapi.Profile{Name: a.Profile, Dir: dir},
				func(w io.Writer, st render.Style) {
					fmt.Fprintf(w, "%s profile %s is gone from this machine\n", st.Green("✓"), a.Profile)
				})
		},
	}
}

func (a *app) accountRenameCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rename NAME",
		Short:   "Give the account another name, on all your devices; contacts see it with your next message",
		Example: `  sessionctl account rename "Alice B."`,
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Online(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.Rename(cmd.Context(), args[0]); err != nil {
				return cli.Fail("account rename", err)
			}
			if err := a.Answer("account", sessionapi.AccountOf(c.Account()),
				func(w io.Writer, st render.Style) {
					fmt.Fprintf(w, "%s your name is %s\n", st.Green("✓"), render.Printable(args[0]))
				}); err != nil {
				return err
			}
			return a.Share(cmd.Context(), c, "account rename")
		},
	}
}
