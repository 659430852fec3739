package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

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
		Long: `status shows, for each document, a version (equal on devices that hold the same), the changes that
wait to be shared, and when something came from another device last. A device is behind by the changes stored
since it last said that it had fetched everything.`,
		Example: "  sessionctl sync status --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.FreshOrOffline(cmd.Context())
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
			c, err := a.Fresh(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.syncStatus(cmd, c); err != nil {
				return err
			}
			a.Linger(cmd.Context(), c)
			return nil
		},
	}, &cobra.Command{
		Use:     "push",
		Short:   "Store everything that waits here: messages and changes",
		Example: "  sessionctl sync push --timeout 1m",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Online(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
			defer cancel()
			stop := a.Waiting("sharing")
			err = c.Flush(ctx)
			stop()
			if err != nil {
				return a.Unreachable("sync push", err)
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
	return a.Answer("sync.status", sessionapi.SyncStatusOf(s),
		func(w io.Writer, _ render.Style) { view.WriteSync(w, s, time.Now()) })
}

func (a *app) syncWatch(cmd *cobra.Command) error {
	ctx := cmd.Context()
	c, err := a.Open(ctx)
	if err != nil {
		return err
	}
	events := c.Events()
	defer events.Close()
	a.Start(ctx, c)
	a.NoteOffline(ctx, c)
	for {
		e, err := events.Next(ctx)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how watching ends
		}
		if err != nil {
			return err
		}
		d := sessionapi.SyncChange{At: sessionapi.Millis(e.At)}
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
		if err := a.Answer("sync.change", d, func(w io.Writer, st render.Style) {
			fmt.Fprintf(w, "%s %s %s\n", st.Dim(render.Clock(e.At, time.Now())), d.Document,
				render.Shorten(d.Subject, 10))
		}); err != nil {
			return err
		}
	}
}
