package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func (a *app) requestCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "request",
		Short:   "People you do not know who wrote to you",
		GroupID: "people",
		Example: `  sessionctl request list
  sessionctl request accept 05...
  sessionctl request decline 05... --block`,
	}
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List who wrote and is no contact, newest first",
		Example: "  sessionctl request list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.FreshOrOffline(cmd.Context())
			if err != nil {
				return err
			}
			requests, err := c.Requests(cmd.Context())
			if err != nil {
				return err
			}
			doc := sessionapi.Requests{Requests: []sessionapi.Request{}}
			for _, r := range requests {
				doc.Requests = append(doc.Requests,
					sessionapi.Request{AccountID: r.Contact.ID.String(), Name: r.Contact.Name,
						Messages: r.Messages,
						LastAt:   sessionapi.Millis(r.Last.ReceivedAt), Text: r.Last.Text})
			}
			return a.Answer("request.list", doc,
				func(w io.Writer, _ render.Style) { view.WriteRequests(w, requests, time.Now()) })
		},
	})
	c.AddCommand(a.onAccount("accept PEER", "Make somebody who wrote a contact; they are told",
		"  sessionctl request accept 05...",
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, _ []string) (answer, error) {
			if err := a.CatchUp(cmd.Context(), c); err != nil {
				return answer{}, err
			}
			p, err := c.Contact(id).Accept(cmd.Context())
			return answer{"contact", sessionapi.ContactOf(p), refs.ContactName(p) + " is a contact"}, err
		}))
	block := false
	decline := a.onAccount("decline PEER",
		"Remove what somebody unknown wrote, on all your devices; they are not told",
		`  sessionctl request decline 05...
  sessionctl request decline 05... --block`,
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, _ []string) (answer, error) {
			if err := a.CatchUp(cmd.Context(), c); err != nil {
				return answer{}, err
			}
			decline := client.ContactHandle.Decline
			if block {
				decline = client.ContactHandle.DeclineAndBlock
			}
			if err := decline(c.Contact(id), cmd.Context()); err != nil {
				return answer{}, err
			}
			return answer{"request.declined", sessionapi.Removed{AccountID: id.String()},
				"what " + refs.ShortAccount(id) + " wrote is gone"}, nil
		})
	decline.Flags().BoolVar(&block, "block", false, "drop what they send from now on, too")
	c.AddCommand(decline)
	return c
}
