package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

type deviceListDoc struct {
	Devices []deviceDoc      `json:"devices"`
	Pending []pendingLinkDoc `json:"pending"`
	Events  []deviceEventDoc `json:"events"`
}

type deviceDoc struct {
	ID       string `json:"id"`
	Label    string `json:"label"`
	This     bool   `json:"this"`
	AddedAt  millis `json:"added_at"`
	LastSeen millis `json:"last_seen"`
	Status   string `json:"status"`
}

type pendingLinkDoc struct {
	ID      string `json:"id"`
	Code    string `json:"code"`
	Label   string `json:"label"`
	AskedAt millis `json:"asked_at"`
}

type deviceEventDoc struct {
	Kind string `json:"kind"`
	At   millis `json:"at"`
	By   string `json:"by,omitempty"`
}

func deviceOf(d client.Device) deviceDoc {
	return deviceDoc{d.ID.String(), d.Label, d.This, millis(d.AddedAt), millis(d.LastSeen), d.Status}
}

func devicesOf(ds client.Devices) deviceListDoc {
	doc := deviceListDoc{[]deviceDoc{}, []pendingLinkDoc{}, []deviceEventDoc{}}
	for _, d := range ds.Devices {
		doc.Devices = append(doc.Devices, deviceOf(d))
	}
	for _, p := range ds.Pending {
		doc.Pending = append(doc.Pending, pendingLinkDoc{p.ID.String(), p.Code, p.Label, millis(p.AskedAt)})
	}
	for _, e := range ds.Events {
		ev := deviceEventDoc{Kind: e.Kind, At: millis(e.At)}
		if e.By != nil {
			ev.By = e.By.String()
		}
		doc.Events = append(doc.Events, ev)
	}
	return doc
}

func (a *app) deviceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "device",
		Short:   "The devices of this account",
		GroupID: "account",
		Example: `  sessionctl device list
  sessionctl device link
  sessionctl device approve 7K2M-9QXD`,
	}
	c.AddCommand(a.deviceLinkCommand(), a.historySendCommand(), a.deviceRenameCommand(), a.deviceRevokeCommand(), a.deviceContestCommand())
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List devices, those that ask to be linked, and what happened",
		Example: "  sessionctl device list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.fresh(cmd, false)
			if err != nil {
				return err
			}
			ds, err := c.Devices(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer("device.list", devicesOf(ds), func(w io.Writer, st style) { a.writeDevices(w, st, ds, time.Now()) })
		},
	})
	var keep bool
	approve := &cobra.Command{
		Use:   "approve CODE",
		Short: "Link the device that shows CODE",
		Long: `approve lets a device into the account. CODE is what the new device's own screen shows: type it from there, never
from a message, because somebody else who has the recovery phrase would show another one.

The new device gets the messages of this one, unless --no-history is given.`,
		Example: "  sessionctl device approve 7K2M-9QXD",
		Args:    exactly("CODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.fresh(cmd, true)
			if err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd, defaultTimeout)
			defer cancel()
			c.KeepHistory(keep)
			stop := a.waiting("linking")
			d, err := c.Approve(ctx, plainCode(args[0]))
			stop()
			if errors.Is(err, fault.NotFound) {
				return cli.Fail("device approve: no device waits with the code "+printable(args[0]), err,
					"sessionctl"+a.profileFlag()+" device list   # see whether a device asks")
			}
			if err != nil {
				return a.unreachable("device approve", err)
			}
			err = a.answer("device", deviceOf(d), func(w io.Writer, st style) {
				fmt.Fprintf(w, "%s linked %s  %s\n", st.green("✓"), printable(d.Label), d.ID)
			})
			a.handHistory(cmd, c, d)
			a.linger(cmd.Context(), c)
			return err
		},
	}
	approve.Flags().BoolVar(&keep, "no-history", false, "do not hand the messages of this device to the new one")
	c.AddCommand(approve)
	return c
}

// plainCode undoes the grouping of a code and the look-alikes of Crockford's base 32.
func plainCode(s string) string {
	s = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(s))
	return strings.NewReplacer("O", "0", "I", "1", "L", "1").Replace(s)
}

func (a *app) writeDevices(w io.Writer, st style, ds client.Devices, now time.Time) {
	t := newTable("LABEL", "STATUS", "ADDED", "LAST SEEN", "ID")
	for _, d := range ds.Devices {
		label := d.Label
		if d.This {
			label += " (this one)"
		}
		t.row(label, d.Status, ago(d.AddedAt, now), onDay(d.LastSeen, now), d.ID.String())
	}
	t.write(w)
	for _, p := range ds.Pending {
		// The code is left out on purpose: it must come from the new device's own screen.
		fmt.Fprintf(w, "\n%s %s asks to be linked (%s). Type the code that its screen shows:\n  sessionctl%s device approve CODE\n",
			st.yellow("!"), printable(p.Label), ago(p.AskedAt, now), a.profileFlag())
	}
	if len(ds.Events) > 0 {
		fmt.Fprintln(w)
		t := newTable("WHEN", "WHAT", "BY")
		for _, e := range ds.Events {
			by := ""
			if e.By != nil {
				by = e.By.String()
			}
			t.row(e.At.Local().Format("2006-01-02 15:04"), e.Kind, by)
		}
		t.write(w)
	}
}
