package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/session"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

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
			c, err := a.FreshOrOffline(cmd.Context())
			if err != nil {
				return err
			}
			contacts, err := c.Contacts(cmd.Context())
			if err != nil {
				return err
			}
			doc := sessionapi.Contacts{Contacts: []sessionapi.Contact{}}
			for _, p := range contacts {
				doc.Contacts = append(doc.Contacts, sessionapi.ContactOf(p))
			}
			return a.Answer("contact.list", doc,
				func(w io.Writer, _ render.Style) { view.WriteContacts(w, contacts) })
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
			c, err := a.Online(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
			defer cancel()
			id, err := a.find(c).Account(ctx, args[0])
			if err != nil {
				return err
			}
			stop := a.Waiting("looking the account up")
			p, err := c.AddContact(ctx, id, nick)
			stop()
			if errors.Is(err, fault.NotFound) {
				return cli.Fail("contact add: no such account in this cluster", err)
			}
			if err != nil {
				return a.Unreachable("contact add", err)
			}
			err = a.Answer("contact", sessionapi.ContactOf(p), func(w io.Writer, st render.Style) {
				fmt.Fprintf(w, "%s %s is a contact\n", st.Green("✓"), render.Printable(refs.ContactName(p)))
			})
			a.Linger(cmd.Context(), c)
			return err
		},
	}
	add.Flags().StringVar(&nick, "nick", "", "what you call them: a `NAME` only you see")
	c.AddCommand(add, a.contactNickCommand(), a.contactRemoveCommand(), a.contactShowCommand(),
		a.contactVerifyCommand())
	return c
}

// contactAnswer shows a contact as it is after a change.
func contactAnswer(cmd *cobra.Command, c *client.Client, id ident.AccountID, line string) (answer, error) {
	p, err := c.Contact(id).Get(cmd.Context())
	return answer{"contact", sessionapi.ContactOf(p), fmt.Sprintf(line, refs.ContactName(p))}, err
}

func (a *app) contactNickCommand() *cobra.Command {
	return a.onAccount("nick PEER NAME", "Call somebody NAME, on all your devices; an empty NAME ends that",
		`  sessionctl contact nick bob "Bob from work"
  sessionctl contact nick bob ""`,
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, args []string) (answer, error) {
			if err := c.Contact(id).SetNick(cmd.Context(), args[0]); err != nil {
				return answer{}, err
			}
			return contactAnswer(cmd, c, id, "they are called %s")
		}, "NAME")
}

func (a *app) contactRemoveCommand() *cobra.Command {
	c := a.onAccount("remove PEER", "Forget a contact and clear the conversation, on all your devices",
		"  sessionctl contact remove bob",
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, _ []string) (answer, error) {
			if err := c.Contact(id).Remove(cmd.Context()); err != nil {
				return answer{}, err
			}
			return answer{"contact.removed", sessionapi.Removed{AccountID: id.String()},
				refs.ShortAccount(id) + " is no contact any more; what they write next is a request"}, nil
		})
	c.Aliases = []string{"rm"}
	return c
}

func (a *app) contactShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show PEER",
		Short:             "Show what is known of somebody",
		Example:           "  sessionctl contact show bob --json",
		Args:              exactly("PEER"),
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.FreshOrOffline(cmd.Context())
			if err != nil {
				return err
			}
			id, err := a.find(c).Account(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			p, err := c.Contact(id).Get(cmd.Context())
			if err != nil {
				return cli.Fail("contact show", err, a.Self()+" contact list")
			}
			return a.Answer("contact", sessionapi.ContactOf(p),
				func(w io.Writer, _ render.Style) { view.WriteContacts(w, []client.Contact{p}) })
		},
	}
}

func (a *app) blockCommand() *cobra.Command {
	c := a.onAccount("block PEER", "Drop what somebody sends from now on, on all your devices",
		"  sessionctl block 05...",
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, _ []string) (answer, error) {
			if err := c.Contact(id).Block(cmd.Context()); err != nil {
				return answer{}, err
			}
			return contactAnswer(cmd, c, id, "%s is blocked; they are not told")
		})
	c.GroupID = "people"
	return c
}

func (a *app) unblockCommand() *cobra.Command {
	c := a.onAccount("unblock PEER", "Take messages of somebody again",
		"  sessionctl unblock 05...",
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, _ []string) (answer, error) {
			if err := c.Contact(id).Unblock(cmd.Context()); err != nil {
				return answer{}, err
			}
			return contactAnswer(cmd, c, id, "%s is not blocked any more")
		})
	c.GroupID = "people"
	return c
}

func (a *app) contactVerifyCommand() *cobra.Command {
	var number string
	var undo bool
	cmd := &cobra.Command{
		Use:   "verify PEER [--number DIGITS]",
		Short: "Compare safety numbers with somebody, and remember that they are equal",
		Long: `verify shows the number that both of you must see, in person or by a call where you know the voice.
If they are equal nobody sits between you. The number stays the same whatever devices come and go.

While the other side is contested, the number of its chain is compared instead: yours is what your own
"contact verify" shows them. --number compares for you; -y says that you have compared.`,
		Example: `  sessionctl contact verify bob
  sessionctl contact verify bob --number "12345 67890 ..."`,
		Args:              exactly("PEER"),
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.FreshOrOffline(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := a.Deadline(cmd.Context(), session.DefaultTimeout)
			defer cancel()
			id, err := a.find(c).Account(ctx, args[0])
			if err != nil {
				return err
			}
			s, err := c.Contact(id).Safety(ctx)
			if err != nil {
				return a.Unreachable("contact verify", err)
			}
			yes := a.Yes || number != ""
			if !a.JSON {
				view.WriteSafety(a.Out, render.StyleFor(a.Out), s, args[0])
				if !yes && !undo && !s.Verified && render.IsTerminal(a.In) && !a.NoInput {
					yes = a.Agree("Do they see the same number?") == nil
				}
			}
			switch {
			case undo:
				_, err = c.Contact(id).Unverify(ctx)
				s.Verified = false
			case yes:
				_, err = c.Contact(id).Verify(ctx, number)
				s.Verified, s.Contested = err == nil, s.Contested && err != nil
			}
			if errors.Is(err, fault.Denied) {
				return cli.Fail("contact verify: the numbers differ", err,
					"write nothing to "+render.Printable(args[0])+" that only they may read, and meet them")
			}
			if err != nil {
				return a.Unreachable("contact verify", err)
			}
			doc := sessionapi.Verification{
				AccountID: id.String(), SafetyNumber: s.Number, Theirs: s.Theirs, Mine: s.Mine,
				Since: sessionapi.Millis(s.Since), Recovered: s.Recovered, Contested: s.Contested,
				Verified: s.Verified,
			}
			err = a.Answer("contact.verify", doc, func(w io.Writer, st render.Style) {
				if s.Verified {
					fmt.Fprintf(w, "%s %s is verified\n", st.Green("✓"), render.Printable(args[0]))
				}
			})
			a.Linger(cmd.Context(), c)
			return err
		},
	}
	cmd.Flags().StringVar(&number, "number", "", "the `DIGITS` that the other side shows")
	cmd.Flags().BoolVar(&undo, "undo", false, "take the mark back")
	return cmd
}
