package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

type contactListDoc struct {
	Contacts []contactDoc `json:"contacts"`
}

type contactDoc struct {
	AccountID string         `json:"account_id"`
	Name      string         `json:"name"`
	Nick      string         `json:"nick"`
	Approved  bool           `json:"approved"`
	Blocked   bool           `json:"blocked"`
	Verified  bool           `json:"verified"`
	Events    []peerEventDoc `json:"events"`
}

type peerEventDoc struct {
	Kind string `json:"kind"`
	At   millis `json:"at"`
}

func contactOf(p client.Contact) contactDoc {
	d := contactDoc{p.ID.String(), p.Name, p.Nick, p.Approved, p.Blocked, p.Verified, []peerEventDoc{}}
	for _, e := range p.Events {
		d.Events = append(d.Events, peerEventDoc{e.Kind, millis(e.At)})
	}
	return d
}

func (a *app) contactCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "contact",
		Short:   "The people this account knows",
		GroupID: "people",
		Example: `  sessionctl contact list
  sessionctl contact add 05... --nick bob`,
	}
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List contacts and requests",
		Example: "  sessionctl contact list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.fresh(cmd, false)
			if err != nil {
				return err
			}
			contacts, err := c.Contacts(cmd.Context())
			if err != nil {
				return err
			}
			doc := contactListDoc{[]contactDoc{}}
			for _, p := range contacts {
				doc.Contacts = append(doc.Contacts, contactOf(p))
			}
			return a.answer("contact.list", doc, func(w io.Writer, _ style) { writeContacts(w, contacts) })
		},
	})
	var nick string
	add := &cobra.Command{
		Use:   "add ID|LINK [--nick NAME]",
		Short: "Add somebody, or rename them; their messages are no requests any more",
		Example: `  sessionctl contact add 05... --nick bob
  sessionctl contact add "$(cat bob.link)"`,
		Args: exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.online(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd, defaultTimeout)
			defer cancel()
			id, err := a.account(ctx, c, args[0])
			if err != nil {
				return err
			}
			stop := a.waiting("looking the account up")
			p, err := c.AddContact(ctx, id, nick)
			stop()
			if errors.Is(err, fault.NotFound) {
				return cli.Fail("contact add: no such account in this cluster", err)
			}
			if err != nil {
				return a.unreachable("contact add", err)
			}
			err = a.answer("contact", contactOf(p), func(w io.Writer, st style) {
				fmt.Fprintf(w, "%s %s is a contact\n", st.green("✓"), printable(contactName(p)))
			})
			a.linger(cmd.Context(), c)
			return err
		},
	}
	add.Flags().StringVar(&nick, "nick", "", "what you call them: a `NAME` only you see")
	c.AddCommand(add, a.contactNickCommand(), a.contactRemoveCommand(), a.contactShowCommand(), a.contactVerifyCommand())
	return c
}

// contactName is what a contact is called here: petname, own name, or the ID.
func contactName(p client.Contact) string {
	switch {
	case p.Nick != "":
		return p.Nick
	case p.Name != "":
		return p.Name
	}
	return shortAccount(p.ID)
}

func writeContacts(w io.Writer, contacts []client.Contact) {
	if len(contacts) == 0 {
		fmt.Fprintln(w, "no contacts yet")
		return
	}
	t := newTable("NAME", "THEIR NAME", "STATUS", "ACCOUNT")
	for _, p := range contacts {
		var status []string
		if !p.Approved && !p.Blocked {
			status = append(status, "request")
		}
		if p.Blocked {
			status = append(status, "blocked")
		}
		if p.Verified {
			status = append(status, "verified")
		}
		if p.Contested {
			status = append(status, "not written to")
		}
		if n := len(p.Events); n > 0 {
			status = append(status, p.Events[n-1].Kind+" "+p.Events[n-1].At.Local().Format("2006-01-02"))
		}
		if status == nil {
			status = []string{"contact"}
		}
		t.row(contactName(p), p.Name, strings.Join(status, ", "), p.ID.String())
	}
	t.write(w)
}
