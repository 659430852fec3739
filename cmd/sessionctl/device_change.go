package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// inviteDoc is what a new device shows, on stderr with --json.
type inviteDoc struct {
	Invite   string `json:"invite"`
	DeviceID string `json:"device_id"`
}

// joinedDoc is what a new device has become.
type joinedDoc struct {
	AccountID string `json:"account_id"`
	DeviceID  string `json:"device_id"`
	Name      string `json:"name,omitempty"`
}

type contestDoc struct {
	Recorded bool `json:"recorded"`
	Told     int  `json:"told"`
	Failed   int  `json:"failed"`
}

func (a *app) deviceLinkCommand() *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use:   "link [INVITATION]",
		Short: "Link a device without typing the recovery phrase: run it on both sides",
		Long: `link without an argument, in a profile that has no account yet, is the new device's side: it shows an invitation as
a QR code and as text, and waits. A device that was removed from the account can come back the same way.

link INVITATION, on a device that is in the account, lets the new device in; - reads the invitation from stdin.

An invitation is for one device and one use. Show it to nobody else: whoever reads it first decides whose account the
new device joins, which it then says.

The new device gets the messages of the one that lets it in, unless --no-history is given there.`,
		Example: `  sessionctl -p tablet device link                      # on the new device
  sessionctl device link STARLING-LINK-04H2-...         # on a device of the account`,
		Args: between(0, "INVITATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.join(cmd)
			}
			return a.linkDevice(cmd, args[0], keep)
		},
	}
	c.Flags().BoolVar(&keep, "no-history", false, "do not hand the messages of this device to the new one")
	return c
}

// join is the new device's side of a link.
func (a *app) join(cmd *cobra.Command) error {
	cfg, err := a.config(false)
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(cmd, restoreTimeout)
	defer cancel()
	stop := func() {}
	defer func() { stop() }()
	c, err := client.Join(ctx, cfg, client.JoinOptions{OnInvite: func(invite string, device ident.DeviceID) {
		if a.flags.json {
			_ = cli.WriteJSON(a.stderr, "device.invite", inviteDoc{invite, device.String()})
			return
		}
		writeQR(a.stderr, invite)
		fmt.Fprintf(a.stderr, "%s\n", styleFor(a.stderr).bold(invite))
		a.say("On a device that is in the account: sessionctl device link INVITATION")
		stop = a.waiting("waiting for a device of the account")
	}})
	stop()
	if err != nil {
		return a.joinError(err)
	}
	a.client = c
	acc := c.Account()
	err = a.answer("device.joined", joinedDoc{acc.ID.String(), acc.Device.String(), acc.Name}, func(w io.Writer, st style) {
		fmt.Fprintf(w, "%s this device is now one of %s %s\n", st.green("✓"), printable(acc.Name), st.bold(acc.ID.String()))
		a.next("sessionctl%s contact list", a.profileFlag())
	})
	a.awaitHistory(cmd, c)
	return err
}

func (a *app) joinError(err error) error {
	again := "sessionctl" + a.profileFlag() + " device link"
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &cli.Error{What: "device link: nobody has read the invitation yet", Cause: err, Try: []string{again + "   # goes on with the same invitation"}}
	case errors.Is(err, fault.Exists) && !client.IsBusy(err):
		return cli.Fail("device link: profile "+a.flags.profile+" has an account already", err,
			"sessionctl -p NEW device link                  # show an invitation on a new device",
			again+" INVITATION   # let a new device in, with what its screen shows")
	case errors.Is(err, fault.Denied):
		return cli.Fail("device link", err, "sessionctl -p OTHER device link")
	}
	return a.createError(err)
}

// linkDevice is the side of a device that is in the account.
func (a *app) linkDevice(cmd *cobra.Command, invite string, keep bool) error {
	if invite == "-" {
		b, err := io.ReadAll(io.LimitReader(a.stdin, maxPhraseBytes))
		if err != nil {
			return fault.Wrap(fault.Invalid, "read invitation", err)
		}
		invite = string(b)
	}
	c, err := a.fresh(cmd, true)
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(cmd, defaultTimeout)
	defer cancel()
	c.KeepHistory(keep)
	stop := a.waiting("linking")
	d, err := c.LinkDevice(ctx, invite)
	stop()
	if err != nil {
		return a.unreachable("device link", err)
	}
	err = a.answer("device", deviceOf(d), func(w io.Writer, st style) {
		fmt.Fprintf(w, "%s linked %s  %s\n", st.green("✓"), printable(d.Label), d.ID)
	})
	a.handHistory(cmd, c, d)
	a.linger(cmd.Context(), c)
	return err
}

// writeQR draws text for a camera.
func writeQR(w io.Writer, text string) {
	qrterminal.GenerateWithConfig(text, qrterminal.Config{
		Level: qrterminal.L, Writer: w, HalfBlocks: true, QuietZone: 2,
		BlackChar: qrterminal.BLACK_BLACK, WhiteChar: qrterminal.WHITE_WHITE,
		BlackWhiteChar: qrterminal.BLACK_WHITE, WhiteBlackChar: qrterminal.WHITE_BLACK,
	})
}

// device finds what a person typed for a device of the account.
func (a *app) device(ctx context.Context, c *client.Client, s string) (client.Device, error) {
	d, err := c.ResolveDevice(ctx, s)
	if err != nil {
		return d, cli.Fail("no such device "+printable(s), err, "sessionctl"+a.profileFlag()+" device list")
	}
	return d, nil
}

func (a *app) deviceRenameCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rename DEVICE LABEL",
		Short:   "Call a device something else, on all devices",
		Long:    "rename gives a device another label. DEVICE is its ID, the beginning of it, or its label.",
		Example: `  sessionctl device rename 3f2a9c01 "kitchen tablet"`,
		Args:    exactly("DEVICE", "LABEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeDevice(cmd, args[0], "renaming", func(ctx context.Context, c *client.Client, d client.Device) (client.Device, string, error) {
				d, err := c.RenameDevice(ctx, d.ID, args[1])
				return d, "renamed", err
			})
		},
	}
}

// changeDevice finds a device, changes it and shows it.
func (a *app) changeDevice(cmd *cobra.Command, name, doing string, change func(context.Context, *client.Client, client.Device) (client.Device, string, error)) error {
	c, err := a.fresh(cmd, true)
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(cmd, defaultTimeout)
	defer cancel()
	d, err := a.device(ctx, c, name)
	if err != nil {
		return err
	}
	stop := a.waiting(doing)
	d, done, err := change(ctx, c, d)
	stop()
	if err != nil {
		return a.unreachable(cmd.CommandPath(), err)
	}
	err = a.answer("device", deviceOf(d), func(w io.Writer, st style) {
		fmt.Fprintf(w, "%s %s %s  %s\n", st.green("✓"), done, printable(d.Label), d.ID)
	})
	a.linger(cmd.Context(), c)
	return err
}

func (a *app) deviceRevokeCommand() *cobra.Command {
	var lost bool
	var wordsFile string
	cmd := &cobra.Command{
		Use:   "revoke DEVICE [--lost [--words-file FILE|-]]",
		Short: "Remove a device: it can neither fetch nor open anything new",
		Long: `revoke makes new keys without the device. What it has already stays on it. Contacts notice nothing.

Use --lost when the device may be in somebody else's hands: the removal is signed with the recovery phrase, which
outranks whoever holds the device. If the thief was faster and has removed this device, --lost brings the account back
to this device alone. Contacts see that the account was restored.`,
		Example: `  sessionctl device revoke tablet
  sessionctl device revoke 3f2a9c01 --lost --words-file phrase.txt`,
		Args: exactly("DEVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if lost || wordsFile != "" {
				return a.expel(cmd, args[0], wordsFile)
			}
			return a.changeDevice(cmd, args[0], "removing the device", func(ctx context.Context, c *client.Client, d client.Device) (client.Device, string, error) {
				if d.This {
					return d, "", cli.Usage("device revoke: %s is this device; revoke it from another one", printable(d.Label))
				}
				if err := a.agree("Remove " + printable(d.Label) + " from the account?"); err != nil {
					return d, "", err
				}
				err := c.RevokeDevice(ctx, d.ID)
				d.Status = "revoked"
				return d, "removed", err
			})
		},
	}
	cmd.Flags().BoolVar(&lost, "lost", false, "the device was lost or stolen: sign with the recovery phrase; contacts see it")
	cmd.Flags().StringVar(&wordsFile, "words-file", "", "`FILE` with the 24 words; - is stdin")
	return cmd
}

// expel removes a lost device with the phrase. It works on a device that was removed itself, so it does not insist on
// being able to fetch.
func (a *app) expel(cmd *cobra.Command, name, wordsFile string) error {
	words, err := a.readPhrase(wordsFile)
	if err != nil {
		return err
	}
	if err := checkPhrase(words); err != nil {
		return err
	}
	c, err := a.online(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(cmd, 2*defaultTimeout)
	defer cancel()
	if err := c.SyncToHeads(ctx); err != nil && !errors.Is(err, fault.Denied) {
		return a.unreachable("device revoke", err)
	}
	d, err := a.device(ctx, c, name)
	if err != nil {
		return err
	}
	stop := a.waiting("removing the device")
	err = c.ExpelDevice(ctx, words, d.ID)
	stop()
	if err != nil {
		return a.unreachable("device revoke", err)
	}
	d.Status = "revoked"
	err = a.answer("device", deviceOf(d), func(w io.Writer, st style) {
		fmt.Fprintf(w, "%s removed %s  %s; contacts see that the account was restored\n", st.green("✓"), printable(d.Label), d.ID)
	})
	a.linger(cmd.Context(), c)
	return err
}

func (a *app) deviceContestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "contest",
		Short: "Say that somebody else has restored this account",
		Long: `contest is for a device that learns that its account was restored from the recovery phrase, and not by its owner. It
says so once, where nobody can delete it, and to everybody this account talked to lately: they stop writing to the
account until they have compared numbers with you.

It was you? Then nothing is to be contested: "device link" makes this device one of the account again.`,
		Example: "  sessionctl device contest",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.online(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.agree("Tell your contacts that somebody else has taken this account over?"); err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd, time.Minute)
			defer cancel()
			stop := a.waiting("telling contacts")
			r, err := c.Contest(ctx)
			stop()
			if errors.Is(err, fault.NotFound) {
				return cli.Fail("device contest: nobody has restored this account without this device", err)
			}
			if err != nil {
				return a.unreachable("device contest", err)
			}
			return a.answer("device.contest", contestDoc{r.Recorded, r.Told, r.Failed}, func(w io.Writer, st style) {
				fmt.Fprintf(w, "%s contested; %d contacts told", st.green("✓"), r.Told)
				if r.Failed > 0 {
					fmt.Fprintf(w, ", %d could not be reached: run it again", r.Failed)
				}
				fmt.Fprintln(w)
				if !r.Recorded {
					fmt.Fprintln(w, st.yellow("It could not be recorded in the cluster: contacts who were not told do not see it."))
				}
				fmt.Fprintln(w, "Whoever has the recovery phrase can do this again. Make a new account and tell your contacts in person.")
			})
		},
	}
}
