package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
)

type syncStatusDoc struct {
	Documents []documentDoc   `json:"documents"`
	Devices   []deviceSyncDoc `json:"devices"`
}

type documentDoc struct {
	Name     string `json:"name"`
	Version  string `json:"version"` // equal on devices that hold the same
	Pending  int    `json:"pending"`
	MergedAt millis `json:"merged_at"`
}

type deviceSyncDoc struct {
	ID     string `json:"id"`
	Behind *int   `json:"behind"` // null: it has not said yet
}

func syncOf(s client.SyncStatus) syncStatusDoc {
	doc := syncStatusDoc{[]documentDoc{}, []deviceSyncDoc{}}
	for _, d := range s.Documents {
		doc.Documents = append(doc.Documents, documentDoc{d.Name, d.Version, d.Pending, millis(d.MergedAt)})
	}
	for _, d := range s.Devices {
		out := deviceSyncDoc{ID: d.ID.String()}
		if d.Known {
			out.Behind = &d.Behind
		}
		doc.Devices = append(doc.Devices, out)
	}
	return doc
}

func (a *app) syncCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "sync",
		Short:   "What all devices of this account share",
		GroupID: "account",
		Example: `  sessionctl sync status
  sessionctl sync pull`,
	}
	c.AddCommand(&cobra.Command{
		Use:   "status",
		Short: "Show each shared document and how far the devices are",
		Long: `status shows, for each document, a version (equal on devices that hold the same), the changes that wait to be
shared, and when something came from another device last. A device is behind by the changes stored since it last said that it had
fetched everything.`,
		Example: "  sessionctl sync status --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.fresh(cmd, false)
			if err != nil {
				return err
			}
			return a.syncStatus(cmd, c)
		},
	}, &cobra.Command{
		Use:     "pull",
		Short:   "Fetch, open and merge everything that is stored for this account now",
		Example: "  sessionctl sync pull",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.fresh(cmd, true)
			if err != nil {
				return err
			}
			if err := a.syncStatus(cmd, c); err != nil {
				return err
			}
			a.linger(cmd.Context(), c)
			return nil
		},
	}, &cobra.Command{
		Use:     "push",
		Short:   "Store everything that waits here: messages and changes",
		Example: "  sessionctl sync push --timeout 1m",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.online(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd, defaultTimeout)
			defer cancel()
			stop := a.waiting("sharing")
			err = c.Flush(ctx)
			stop()
			if err != nil {
				return a.unreachable("sync push", err)
			}
			return a.syncStatus(cmd, c)
		},
	}, &cobra.Command{
		Use:     "watch",
		Short:   "Print what other devices change, as it comes, until stopped",
		Example: "  sessionctl sync watch --json",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.syncWatch(cmd) },
	})
	return c
}

func (a *app) syncStatus(cmd *cobra.Command, c *client.Client) error {
	s, err := c.SyncStatus(cmd.Context())
	if err != nil {
		return err
	}
	return a.answer("sync.status", syncOf(s), func(w io.Writer, _ style) { writeSync(w, s, time.Now()) })
}

func writeSync(w io.Writer, s client.SyncStatus, now time.Time) {
	t := newTable("DOCUMENT", "VERSION", "PENDING", "MERGED")
	for _, d := range s.Documents {
		if d.Version != "" || d.Pending > 0 {
			t.row(d.Name, d.Version, fmt.Sprint(d.Pending), ago(d.MergedAt, now))
		}
	}
	t.write(w)
	fmt.Fprintln(w)
	t = newTable("DEVICE", "BEHIND")
	for _, d := range s.Devices {
		id, behind := d.ID.String(), "has not said yet"
		if d.This {
			id += " (this one)"
		}
		if d.Known {
			behind = fmt.Sprint(d.Behind)
		}
		t.row(id, behind)
	}
	t.write(w)
}

type syncChangeDoc struct {
	Document string `json:"document"`
	Subject  string `json:"subject,omitempty"` // account or conversation ID
	At       millis `json:"at"`
}

func (a *app) syncWatch(cmd *cobra.Command) error {
	ctx := cmd.Context()
	c, err := a.open()
	if err != nil {
		return err
	}
	events := c.Events()
	defer events.Close()
	a.start(ctx, c)
	a.noteOffline(ctx, c)
	for {
		e, err := events.Next(ctx)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how watching ends
		}
		if err != nil {
			return err
		}
		d := syncChangeDoc{At: millis(e.At)}
		switch {
		case e.Kind == client.EventAccount:
			d.Document = e.Text
		case e.Kind == client.EventContact && e.Contact != nil:
			d.Document, d.Subject = "contacts", e.Contact.String()
		case e.Kind == client.EventConversation:
			d.Document, d.Subject = "conversations", e.Conversation
		default:
			continue
		}
		if err := a.answer("sync.change", d, func(w io.Writer, st style) {
			fmt.Fprintf(w, "%s %s %s\n", st.dim(clock(e.At, time.Now())), d.Document, cut(d.Subject, 10))
		}); err != nil {
			return err
		}
	}
}
