package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

const (
	// historyTimeout bounds how long a command stays to see a history through; what is left goes on with the
	// next one.
	historyTimeout = 30 * time.Minute
	// offerWithin is how soon the device that let this one in says that it hands its history over.
	offerWithin = 3 * time.Second
)

func (a *app) historySendCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history-send [DEVICE]",
		Short: "Hand the messages of this device to another one of the account",
		Long: `history-send gives another device all conversations that this one has: message text, states,
reactions, edits. What the other device has already stays. A device that joins gets this by itself from the
device that let it in; use the verb when that was declined, was interrupted for more than two weeks, or when
another device knows more.

DEVICE is an ID, the beginning of one, or a label; without it, the newest other device. The history travels
encrypted through the cluster, where it lies until the other device has it, two weeks at most. Ctrl-C is safe:
it goes on with the next command or the daemon.`,
		Example: `  sessionctl device history-send
  sessionctl device history-send "kitchen tablet"`,
		Args: between(0, "DEVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Fresh(cmd.Context())
			if err != nil {
				return err
			}
			d, err := a.historyTarget(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			if err := c.Device(d.ID).SendHistory(cmd.Context()); err != nil {
				return a.Unreachable("device history-send", err)
			}
			t, err := a.seeHistoryOff(cmd, c, d.ID)
			if err != nil {
				return err
			}
			if !t.Done {
				return &cli.Error{What: fmt.Sprintf(
					"device history-send: %d of %d messages are on their way to %s",
					t.Messages, t.Total, render.Printable(d.Label)),
					Cause: context.DeadlineExceeded,
					Try:   []string{a.Self() + " device history-send " + d.ID.String()[:8] + "   # goes on"}}
			}
			return a.Answer("history", sessionapi.HistoryOf(t), func(w io.Writer, st render.Style) {
				fmt.Fprintf(w, "%s %d messages are there for %s; it takes them in when it is online\n",
					st.Green("✓"),
					t.Total, render.Printable(d.Label))
			})
		},
	}
}

// historyTarget is the device that was named, or the newest other one.
func (a *app) historyTarget(ctx context.Context, c *client.Client, args []string) (client.Device, error) {
	if len(args) > 0 {
		return a.find(c).Device(ctx, args[0])
	}
	ds, err := c.Devices(ctx)
	if err != nil {
		return client.Device{}, err
	}
	var newest client.Device
	for _, d := range ds.Devices {
		if !d.This && d.Status == "active" && !d.AddedAt.Before(newest.AddedAt) {
			newest = d
		}
	}
	if newest.ID == (ident.DeviceID{}) {
		return newest, cli.Fail("device history-send",
			fault.New(fault.NotFound, "find device", "this account has no other device"),
			"sessionctl -p NEW device link   # on the new device")
	}
	return newest, nil
}

// seeHistoryOff stays until what this device hands to another one is stored, with progress, and returns how
// far it came. A second Ctrl-C is not needed: what is left goes on with the next command.
func (a *app) seeHistoryOff(cmd *cobra.Command, c *client.Client,
	to ident.DeviceID) (client.HistoryTransfer, error) {
	ctx, cancel := a.Deadline(cmd.Context(), historyTimeout)
	defer cancel()
	find := func() (t client.HistoryTransfer) {
		all, _ := c.Histories(context.WithoutCancel(ctx))
		for _, h := range all {
			if h.Outgoing && h.Device == to {
				t = h
			}
		}
		return t
	}
	stop := a.Progress("handing the history over", "messages",
		func() (int, int) { t := find(); return t.Messages, t.Total })
	err := c.WaitHistoriesSent(ctx)
	stop()
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return find(), err
}

// handHistory stays for the history that a device gets which was just let in; none of it is part of the
// answer.
func (a *app) handHistory(cmd *cobra.Command, c *client.Client, d client.Device) {
	t, err := a.seeHistoryOff(cmd, c, d.ID)
	switch {
	case t.Total == 0:
	case t.Done:
		a.Say("%d messages are on their way to %s", t.Total, render.Printable(d.Label))
	case err == nil || errors.Is(err, context.Canceled):
		a.Warn("%d of %d messages are on their way to %s; the rest goes with the next command",
			t.Messages, t.Total,
			render.Printable(d.Label))
	default:
		a.Warn("the history was not handed over: %v", err)
	}
}

// awaitHistory stays until a device that has just joined has the history that it is handed. Whoever is
// impatient presses Ctrl-C: contacts and conversations are there first, and the rest comes with the next
// command.
func (a *app) awaitHistory(cmd *cobra.Command, c *client.Client) {
	ctx, cancel := a.Deadline(cmd.Context(), historyTimeout)
	defer cancel()
	events := c.Events()
	defer events.Close()
	a.Start(ctx, c)
	stop := a.Waiting("looking for the history")
	offered := a.offeredHistory(ctx, c, events)
	stop()
	if !offered {
		a.Say("No history came along. On the device that let this one in: sessionctl device history-send")
		return
	}
	find := func() (t client.HistoryTransfer) {
		all, _ := c.Histories(context.WithoutCancel(ctx))
		for _, h := range all {
			if !h.Outgoing {
				t = h
			}
		}
		return t
	}
	stop = a.Progress("fetching the history", "messages",
		func() (int, int) { t := find(); return t.Messages, t.Total })
	err := c.WaitHistories(ctx)
	stop()
	if t := find(); err == nil {
		a.Say("%d messages of before are here", t.Messages)
	} else {
		a.Warn("%d of %d messages of before are here; the rest comes with the next command",
			t.Messages, t.Total)
	}
}

// offeredHistory waits a little for the word that a history comes.
func (a *app) offeredHistory(ctx context.Context, c *client.Client, events *client.Subscription) bool {
	if err := c.WaitOnline(ctx); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, offerWithin)
	defer cancel()
	for {
		if all, err := c.Histories(context.WithoutCancel(ctx)); err == nil && len(all) > 0 {
			return true
		}
		if _, err := events.Next(ctx); err != nil {
			return false
		}
	}
}
