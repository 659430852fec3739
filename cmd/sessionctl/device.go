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
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/terminal"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) deviceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "device",
		Short:   "The devices of this account",
		GroupID: "account",
		Example: `  sessionctl device list
  sessionctl device link
  sessionctl device approve 7K2M-9QXD`,
	}
	c.AddCommand(a.deviceLinkCommand(), a.historySendCommand(), a.deviceRenameCommand(),
		a.deviceRevokeCommand(),
		a.deviceContestCommand())
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List devices, those that ask to be linked, and what happened",
		Example: "  sessionctl device list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.FreshOrOffline(cmd.Context())
			if err != nil {
				return err
			}
			ds, err := c.Devices(cmd.Context())
			if err != nil {
				return err
			}
			return a.Answer("device.list", sessionapi.DevicesOf(ds),
				func(w io.Writer, st render.Style) { view.WriteDevices(w, st, ds, a.Self(), time.Now()) })
		},
	})
	var keep bool
	approve := &cobra.Command{
		Use:   "approve CODE",
		Short: "Link the device that shows CODE",
		Long: `approve lets a device into the account. CODE is what the new device's own screen shows: type it from
there, never from a message, because somebody else who has the recovery phrase would show another one.

The new device gets the messages of this one, unless --no-history is given.`,
		Example: "  sessionctl device approve 7K2M-9QXD",
		Args:    exactly("CODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Fresh(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
			defer cancel()
			c.KeepHistory(keep)
			stop := a.Waiting("linking")
			d, err := c.Approve(ctx, refs.PlainCode(args[0]))
			stop()
			if errors.Is(err, fault.NotFound) {
				return cli.Fail("device approve: no device waits with the code "+render.Printable(args[0]),
					err,
					a.Self()+" device list   # see whether a device asks")
			}
			if err != nil {
				return a.Unreachable("device approve", err)
			}
			err = a.Answer("device", sessionapi.DeviceOf(d), func(w io.Writer, st render.Style) {
				fmt.Fprintf(w, "%s linked %s  %s\n", st.Green("✓"), render.Printable(d.Label), d.ID)
			})
			a.handHistory(cmd, c, d)
			a.Linger(cmd.Context(), c)
			return err
		},
	}
	approve.Flags().BoolVar(&keep, "no-history", false,
		"do not hand the messages of this device to the new one")
	c.AddCommand(approve)
	return c
}

// changeDevice finds a device, changes it and shows it.
func (a *app) changeDevice(cmd *cobra.Command, name, doing string,
	change func(context.Context, *client.Client, client.Device) (client.Device, string, error)) error {
	c, err := a.Fresh(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
	defer cancel()
	d, err := a.find(c).Device(ctx, name)
	if err != nil {
		return err
	}
	stop := a.Waiting(doing)
	d, done, err := change(ctx, c, d)
	stop()
	if err != nil {
		return a.Unreachable(cmd.CommandPath(), err)
	}
	err = a.Answer("device", sessionapi.DeviceOf(d), func(w io.Writer, st render.Style) {
		fmt.Fprintf(w, "%s %s %s  %s\n", st.Green("✓"), done, render.Printable(d.Label), d.ID)
	})
	a.Linger(cmd.Context(), c)
	return err
}

func (a *app) deviceRenameCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rename DEVICE LABEL",
		Short:   "Call a device something else, on all devices",
		Long:    "rename gives a device another label. DEVICE is its ID, the beginning of it, or its label.",
		Example: `  sessionctl device rename 3f2a9c01 "kitchen tablet"`,
		Args:    exactly("DEVICE", "LABEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeDevice(cmd, args[0], "renaming",
				func(ctx context.Context, c *client.Client, d client.Device) (client.Device, string, error) {
					d, err := c.Device(d.ID).Rename(ctx, args[1])
					return d, "renamed", err
				})
		},
	}
}

func (a *app) deviceRevokeCommand() *cobra.Command {
	var lost bool
	var wordsFile string
	cmd := &cobra.Command{
		Use:   "revoke DEVICE [--lost [--words-file FILE|-]]",
		Short: "Remove a device: it can neither fetch nor open anything new",
		Long: `revoke makes new keys without the device. What it has already stays on it. Contacts notice nothing.

Use --lost when the device may be in somebody else's hands: the removal is signed with the recovery phrase,
which outranks whoever holds the device. If the thief was faster and has removed this device, --lost brings
the account back to this device alone. Contacts see that the account was restored.`,
		Example: `  sessionctl device revoke tablet
  sessionctl device revoke 3f2a9c01 --lost --words-file phrase.txt`,
		Args: exactly("DEVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if lost || wordsFile != "" {
				return a.expel(cmd, args[0], wordsFile)
			}
			return a.changeDevice(cmd, args[0], "removing the device",
				func(ctx context.Context, c *client.Client, d client.Device) (client.Device, string, error) {
					if d.This {
						return d, "", cli.Usage(
							"device revoke: %s is this device; revoke it from another one",
							render.Printable(d.Label))
					}
					if err := a.Agree("Remove " + render.Printable(d.Label) +
						" from the account?"); err != nil {
						return d, "", err
					}
					err := c.Device(d.ID).Revoke(ctx)
					d.Status = "revoked"
					return d, "removed", err
				})
		},
	}
	cmd.Flags().BoolVar(&lost, "lost", false,
		"the device was lost or stolen: sign with the recovery phrase; contacts see it")
	cmd.Flags().StringVar(&wordsFile, "words-file", "", "`FILE` with the 24 words; - is stdin")
	return cmd
}

// expel removes a lost device with the phrase. It works on a device that was removed itself, so it does not
// insist on being able to fetch.
func (a *app) expel(cmd *cobra.Command, name, wordsFile string) error {
	words, err := a.ReadPhrase(wordsFile)
	if err != nil {
		return err
	}
	if err := terminal.CheckPhrase(words); err != nil {
		return err
	}
	c, err := a.Online(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.Deadline(cmd.Context(), 2*session.DefaultTimeout)
	defer cancel()
	if err := c.SyncToHeads(ctx); err != nil && !errors.Is(err, fault.Denied) {
		return a.Unreachable("device revoke", err)
	}
	d, err := a.find(c).Device(ctx, name)
	if err != nil {
		return err
	}
	stop := a.Waiting("removing the device")
	err = c.Device(d.ID).Expel(ctx, words)
	stop()
	if err != nil {
		return a.Unreachable("device revoke", err)
	}
	d.Status = "revoked"
	err = a.Answer("device", sessionapi.DeviceOf(d), func(w io.Writer, st render.Style) {
		fmt.Fprintf(w, "%s removed %s  %s; contacts see that the account was restored\n", st.Green("✓"),
			render.Printable(d.Label), d.ID)
	})
	a.Linger(cmd.Context(), c)
	return err
}

func (a *app) deviceContestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "contest",
		Short: "Say that somebody else has restored this account",
		Long: `contest is for a device that learns that its account was restored from the recovery phrase, and not
by its owner. It says so once, where nobody can delete it, and to everybody this account talked to lately:
they stop writing to the account until they have compared numbers with you.

It was you? Then nothing is to be contested: "device link" makes this device one of the account again.`,
		Example: "  sessionctl device contest",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Online(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.Agree("Tell your contacts that somebody else has taken this account over?"); err != nil {
				return err
			}
			ctx, cancel := a.Deadline(cmd.Context(), time.Minute)
			defer cancel()
			stop := a.Waiting("telling contacts")
			r, err := c.Contest(ctx)
			stop()
			if errors.Is(err, fault.NotFound) {
				return cli.Fail("device contest: nobody has restored this account without this device", err)
			}
			if err != nil {
				return a.Unreachable("device contest", err)
			}
			return a.Answer("device.contest",
				sessionapi.DeviceContest{Recorded: r.Recorded, Told: r.Told, Failed: r.Failed},
				func(w io.Writer, st render.Style) {
					fmt.Fprintf(w, "%s contested; %d contacts told", st.Green("✓"), r.Told)
					if r.Failed > 0 {
						fmt.Fprintf(w, ", %d could not be reached: run it again", r.Failed)
					}
					fmt.Fprintln(w)
					if !r.Recorded {
						fmt.Fprintln(w, st.Yellow(
							"It could not be recorded in the cluster: contacts who were not told do "+
								"not see it."))
					}
					fmt.Fprintln(w, "Whoever has the recovery phrase can do this again. Make a new account "+
						"and tell your contacts in person.")
				})
		},
	}
}
