package view

import (
	"fmt"
	"io"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
)

// WriteSync lists the documents that devices share, and how far each device is.
func WriteSync(w io.Writer, s client.SyncStatus, now time.Time) {
	t := render.NewTable("DOCUMENT", "VERSION", "PENDING", "MERGED")
	for _, d := range s.Documents {
		if d.Version != "" || d.Pending > 0 {
			t.Row(d.Name, d.Version, fmt.Sprint(d.Pending), render.Ago(d.MergedAt, now))
		}
	}
	t.Write(w)
	fmt.Fprintln(w)
	t = render.NewTable("DEVICE", "BEHIND")
	for _, d := range s.Devices {
		id, behind := d.ID.String(), "has not said yet"
		if d.This {
			id += " (this one)"
		}
		if d.Known {
			behind = fmt.Sprint(d.Behind)
		}
		t.Row(id, behind)
	}
	t.Write(w)
}
