package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/ident"
)

// contactAnswer shows a contact as it is after a change.
func contactAnswer(cmd *cobra.Command, c *client.Client, id ident.AccountID, line string) (answer, error) {
	p, err := c.Contact(cmd.Context(), id)
	return answer{"contact", contactOf(p), fmt.Sprintf(line, contactName(p))}, err
}

func (a *app) contactNickCommand() *cobra.Command {
	return a.onAccount("nick PEER NAME", "Call somebody NAME, on all your devices; an empty NAME ends that",
		`  sessionctl contact nick bob "Bob from work"
  sessionctl contact nick bob ""`,
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, args []string) (answer, error) {
			if err := c.SetNick(cmd.Context(), id, args[0]); err != nil {
				return answer{}, err
			}
			return contactAnswer(cmd, c, id, "they are called %s")
		}, "NAME")
}

type removedDoc struct {
	AccountID string `json:"account_id"`
}

func (a *app) contactRemoveCommand() *cobra.Command {
	c := a.onAccount("remove PEER", "Forget a contact and clear the conversation, on all your devices",
		"  sessionctl contact remove bob",
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, _ []string) (answer, error) {
			if err := c.RemoveContact(cmd.Context(), id); err != nil {
				return answer{}, err
			}
			return answer{"contact.removed", removedDoc{id.String()}, shortAccount(id) + " is no contact any more; what they write next is a request"}, nil
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
			c, err := a.fresh(cmd, false)
			if err != nil {
				return err
			}
			id, err := a.account(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			p, err := c.Contact(cmd.Context(), id)
			if err != nil {
				return cli.Fail("contact show", err, "sessionctl"+a.profileFlag()+" contact list")
			}
			return a.answer("contact", contactOf(p), func(w io.Writer, _ style) { writeContacts(w, []client.Contact{p}) })
		},
	}
}

func (a *app) blockCommand() *cobra.Command {
	c := a.onAccount("block PEER", "Drop what somebody sends from now on, on all your devices",
		"  sessionctl block 05...",
		func(cmd *cobra.Command, c *client.Client, id ident.AccountID, _ []string) (answer, error) {
			if err := c.Block(cmd.Context(), id, true); err != nil {
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
			if err := c.Block(cmd.Context(), id, false); err != nil {
				return answer{}, err
			}
			return contactAnswer(cmd, c, id, "%s is not blocked any more")
		})
	c.GroupID = "people"
	return c
}
