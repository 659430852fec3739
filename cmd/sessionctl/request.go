package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

type requestListDoc struct {
	Requests []requestDoc `json:"requests"`
}

type requestDoc struct {
	AccountID string `json:"account_id"`
	Name      string `json:"name"`
	Messages  int    `json:"messages"`
	LastAt    millis `json:"last_at"`
	Text      string `json:"text"`
}

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
			c, err := a.fresh(cmd, false)
			if err != nil {
				return err
			}
			requests, err := c.Requests(cmd.Context())
			if err != nil {
				return err
			}
			doc := requestListDoc{[]requestDoc{}}
			for _, r := range requests {
				doc.Requests = append(doc.Requests, requestDoc{r.Contact.ID.String(), r.Contact.Name, r.Messages, millis(r.Last.ReceivedAt), r.Last.Text})
			}
			return a.answer("request.list", doc, func(w io.Writer, _ style) { writeRequests(w, requests, time.Now()) })
		},
	})
	c.AddCommand(a.onAccount("accept PEER", "Make somebody who wrote a contact; they are told",
		"  sessionctl request accept 05...",
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, _ []string) (answer, error) {
			if err := a.heads(cmd, c); err != nil {
				return answer{}, err
			}
			p, err := c.AcceptRequest(cmd.Context(), id)
			return answer{"contact", contactOf(p), contactName(p) + " is a contact"}, err
		}))
	block := false
	decline := a.onAccount("decline PEER", "Remove what somebody unknown wrote, on all your devices; they are not told",
		`  sessionctl request decline 05...
  sessionctl request decline 05... --block`,
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, _ []string) (answer, error) {
			if err := a.heads(cmd, c); err != nil {
				return answer{}, err
			}
			if err := c.DeclineRequest(cmd.Context(), id, block); err != nil {
				return answer{}, err
			}
			return answer{"request.declined", removedDoc{id.String()}, "what " + shortAccount(id) + " wrote is gone"}, nil
		})
	decline.Flags().BoolVar(&block, "block", false, "drop what they send from now on, too")
	c.AddCommand(decline)
	return c
}

// heads brings a profile that is open up to what the cluster holds; offline, the local state serves.
func (a *app) heads(cmd *cobra.Command, c *client.Client) error {
	ctx, cancel := a.deadline(cmd, defaultTimeout)
	defer cancel()
	if err := c.SyncToHeads(ctx); err != nil {
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		a.warn("offline, this is what the profile knew last: %v", err)
	}
	return nil
}

func writeRequests(w io.Writer, requests []client.Request, now time.Time) {
	if len(requests) == 0 {
		fmt.Fprintln(w, "no requests")
		return
	}
	t := newTable("NAME", "MESSAGES", "LAST", "", "ACCOUNT")
	for _, r := range requests {
		t.row(r.Contact.Name, fmt.Sprint(r.Messages), ago(r.Last.ReceivedAt, now), cut(strings.ReplaceAll(r.Last.Text, "\n", " "), 40), r.Contact.ID.String())
	}
	t.write(w)
}
