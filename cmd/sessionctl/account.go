package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
)

type accountDoc struct {
	AccountID string `json:"account_id"`
	Name      string `json:"name"`
	DeviceID  string `json:"device_id"`
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	Link      string `json:"link"`
	Revoked   bool   `json:"revoked,omitempty"`
}

func accountOf(acc client.Account) accountDoc {
	return accountDoc{acc.ID.String(), acc.Name, acc.Device.String(), acc.ClusterName, acc.Cluster.String(), acc.Link, acc.Revoked}
}

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
			c, err := a.open()
			if err != nil {
				return err
			}
			acc := c.Account()
			return a.answer("account", accountOf(acc), func(w io.Writer, st style) {
				for _, r := range [][2]string{
					{"account", st.bold(acc.ID.String())}, {"name", printable(acc.Name)},
					{"device", acc.Device.String() + " (" + printable(acc.Label) + ")"},
					{"cluster", printable(acc.ClusterName)}, {"link", acc.Link},
				} {
					fmt.Fprintf(w, "%s %s\n", st.dim(fmt.Sprintf("%-8s", r[0])), r[1])
				}
				if acc.Revoked {
					fmt.Fprintln(w, st.red("This device was removed from the account: it can neither fetch nor send."))
					for _, line := range a.whenRemoved() {
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
			c, err := a.open()
			if err != nil {
				return err
			}
			acc := c.Account()
			return a.answer("account", accountOf(acc), func(w io.Writer, st style) {
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
		Long: `wipe deletes the profile's keys and messages from this machine. The account stays in the cluster: its other devices
go on, and the recovery phrase brings it back.`,
		Example: "  sessionctl -p old account wipe",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir := a.profileDir()
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				return a.noProfile()
			}
			// Only a profile that nobody uses may go; one that does not open for another reason may go as well.
			c, err := client.Open(client.Config{Dir: dir})
			if client.IsBusy(err) {
				return a.openError(err)
			}
			if err == nil {
				a.client = c
			}
			if err := a.confirm("Type the profile's name to delete its keys and messages from this machine", a.flags.profile); err != nil {
				return err
			}
			a.close()
			if err := os.RemoveAll(dir); err != nil {
				return cli.Fail("account wipe", err)
			}
			return a.answer("profile.wiped", profileDoc{Name: a.flags.profile, Dir: dir}, func(w io.Writer, st style) {
				fmt.Fprintf(w, "%s profile %s is gone from this machine\n", st.green("✓"), a.flags.profile)
			})
		},
	}
}

// confirm asks a person to type word before something is lost; --yes answers it.
func (a *app) confirm(question, word string) error {
	if a.flags.yes {
		return nil
	}
	if a.flags.noInput || !isTerminal(a.stdin) {
		return cli.Usage("this asks before it deletes: add --yes where nobody can answer")
	}
	fmt.Fprintf(a.stderr, "%s: ", question)
	line, err := bufio.NewReader(io.LimitReader(a.stdin, 256)).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != word {
		return &cli.Error{What: "nothing was deleted", Code: "USE-101", Exit: cli.ExitCancelled}
	}
	return nil
}
