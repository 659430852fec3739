package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/terminal"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) deviceLinkCommand() *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use:   "link [INVITATION]",
		Short: "Link a device without typing the recovery phrase: run it on both sides",
		Long: `link without an argument, in a profile that has no account yet, is the new device's side: it shows an
invitation as a QR code and as text, and waits. A device that was removed from the account can come back the
same way.

link INVITATION, on a device that is in the account, lets the new device in; - reads the invitation from
stdin.

An invitation is for one device and one use. Show it to nobody else: whoever reads it first decides whose
account the new device joins, which it then says.

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
	cfg, err := a.Config(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.Deadline(cmd.Context(), restoreTimeout)
	defer cancel()
	stop := func() {}
	defer func() { stop() }()
	c, err := client.Join(ctx, cfg, client.JoinOptions{OnInvite: func(invite string, device ident.DeviceID) {
		if a.JSON {
			_ = cli.WriteJSON(a.Err, "device.invite",
				sessionapi.DeviceInvite{Invite: invite, DeviceID: device.String()})
			return
		}
		render.WriteQR(a.Err, invite)
		fmt.Fprintf(a.Err, "%s\n", render.StyleFor(a.Err).Bold(invite))
		a.Say("On a device that is in the account: sessionctl device link INVITATION")
		stop = a.Waiting("waiting for a device of the account")
	}})
	stop()
	if err != nil {
		return a.joinError(err)
	}
	a.Client = c
	acc := c.Account()
	err = a.Answer("device.joined",
		sessionapi.DeviceJoined{AccountID: acc.ID.String(), DeviceID: acc.Device.String(), Name: acc.Name},
		func(w io.Writer, st render.Style) {
			fmt.Fprintf(w, "%s this device is now one of %s %s\n", st.Green("✓"), render.Printable(acc.Name),
				st.Bold(acc.ID.String()))
			a.Next("%s contact list", a.Self())
		})
	a.awaitHistory(cmd, c)
	return err
}

func (a *app) joinError(err error) error {
	again := a.Self() + " device link"
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &cli.Error{What: "device link: nobody has read the invitation yet", Cause: err,
			Try: []string{again + "   # goes on with the same invitation"}}
	case errors.Is(err, fault.Exists) && !client.IsBusy(err):
		return cli.Fail("device link: profile "+a.Profile+" has an account already", err,
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
		b, err := io.ReadAll(io.LimitReader(a.In, terminal.MaxPhraseBytes))
		if err != nil {
			return fault.Wrap(fault.Invalid, "read invitation", err)
		}
		invite = string(b)
	}
	c, err := a.Fresh(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
	defer cancel()
	c.KeepHistory(keep)
	stop := a.Waiting("linking")
	d, err := c.LinkDevice(ctx, invite)
	stop()
	if err != nil {
		return a.Unreachable("device link", err)
	}
	err = a.Answer("device", sessionapi.DeviceOf(d), func(w io.Writer, st render.Style) {
		fmt.Fprintf(w, "%s linked %s  %s\n", st.Green("✓"), render.Printable(d.Label), d.ID)
	})
	a.handHistory(cmd, c, d)
	a.Linger(cmd.Context(), c)
	return err
}
