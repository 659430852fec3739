package view

import (
	"fmt"
	"io"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
)

// WriteDevices prints the devices of an account; self is how the profile is called on the command line.
func WriteDevices(w io.Writer, st render.Style, ds client.Devices, self string, now time.Time) {
	t := render.NewTable("LABEL", "STATUS", "ADDED", "LAST SEEN", "ID")
	for _, d := range ds.Devices {
		label := d.Label
		if d.This {
			label += " (this one)"
		}
		t.Row(label, d.Status, render.Ago(d.AddedAt, now), render.Day(d.LastSeen, now), d.ID.String())
	}
	t.Write(w)
	for _, p := range ds.Pending {
		// The code is left out on purpose: it must come from the new device's own screen.
		fmt.Fprintf(w, "\n%s %s asks to be linked (%s). Type the code that its screen shows:\n  %s device "+
			"approve CODE\n",
			st.Yellow("!"), render.Printable(p.Label), render.Ago(p.AskedAt, now), self)
	}
	if len(ds.Events) > 0 {
		fmt.Fprintln(w)
		t := render.NewTable("WHEN", "WHAT", "BY")
		for _, e := range ds.Events {
			by := ""
			if e.By != nil {
				by = e.By.String()
			}
			t.Row(e.At.Local().Format("2006-01-02 15:04"), e.Kind, by)
		}
		t.Write(w)
	}
}
