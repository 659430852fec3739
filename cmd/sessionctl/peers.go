package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// peer reads what a person typed for a conversation: me, the name of a contact or a group, an ID, a link. Who is not found
// is answered with the nearest names.
func (a *app) peer(ctx context.Context, c *client.Client, s string) (ident.Peer, error) {
	if strings.HasPrefix(s, "#") {
		g, err := a.group(ctx, c, s)
		return g.ID, err
	}
	p, err := c.ResolveConversation(ctx, s)
	if err == nil {
		return p, nil
	}
	return nil, a.noPeer(ctx, c, s, err, conversationNames)
}

// account is peer for verbs that are about people.
func (a *app) account(ctx context.Context, c *client.Client, s string) (ident.AccountID, error) {
	if strings.HasPrefix(s, "#") || isGroupID(s) {
		e := cli.Usage("%s is a group: this verb is about people", printable(s))
		e.Try = []string{"sessionctl" + a.profileFlag() + " group --help"}
		return ident.AccountID{}, e
	}
	id, err := c.ResolvePeer(ctx, s)
	if err == nil {
		return id, nil
	}
	return id, a.noPeer(ctx, c, s, err, peerNames)
}

func isGroupID(s string) bool {
	_, err := ident.ParseGroupID(strings.ToLower(s))
	return err == nil
}

// noPeer is the error of a peer that was not found, or that fits several.
func (a *app) noPeer(ctx context.Context, c *client.Client, s string, err error, names func(context.Context, *client.Client) ([]string, error)) error {
	e := cli.Fail("no such peer "+strings.TrimSpace(printable(s)), err)
	switch {
	case isGroupLink(s):
		e.Try = []string{"sessionctl" + a.profileFlag() + " group join " + printable(s)}
	case errors.Is(err, fault.NotFound):
		known, _ := names(ctx, c)
		e.Try = nearest(s, known)
		e.Try = append(e.Try, "sessionctl"+a.profileFlag()+" contact list")
	case errors.Is(err, fault.Invalid):
		e.What, e.Exit, e.Code = "peer "+strings.TrimSpace(printable(s)), cli.ExitUsage, "USE-102"
	}
	return e
}

// peerNames are the names by which contacts can be called.
func peerNames(ctx context.Context, c *client.Client) ([]string, error) {
	contacts, err := c.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{"me"}
	for _, p := range contacts {
		if p.Nick != "" {
			names = append(names, p.Nick)
		} else if p.Name != "" {
			names = append(names, p.Name)
		}
	}
	return names, nil
}

// conversationNames are the names by which contacts and groups can be called.
func conversationNames(ctx context.Context, c *client.Client) ([]string, error) {
	people, err := peerNames(ctx, c)
	if err != nil {
		return nil, err
	}
	groups, err := groupNames(ctx, c)
	return append(people, groups...), err
}

// findMessage reads a reference to a message: last, last:PEER, a full ID, or its first 7 or more digits.
func (a *app) findMessage(ctx context.Context, c *client.Client, ref string) (client.Message, error) {
	f := client.Filter{Limit: 2}
	ref = strings.TrimPrefix(ref, "#")
	if ref == "last" || strings.HasPrefix(ref, "last:") {
		return a.lastMessage(ctx, c, ref)
	}
	if id, err := ident.ParseMessageID(ref); err == nil {
		ref = id.String()
	}
	if len(ref) < 7 || strings.Trim(ref, "0123456789abcdef") != "" {
		return client.Message{}, cli.Usage("message %s: want last, last:PEER, or at least 7 digits of an ID", printable(ref))
	}
	f.IDPrefix = ref
	found, err := c.Messages(ctx, f)
	switch {
	case err != nil:
		return client.Message{}, err
	case len(found) == 0:
		return client.Message{}, a.noMessage(ref)
	case len(found) > 1:
		return client.Message{}, cli.Usage("message %s: more than one begins like this", ref)
	}
	return found[0], nil
}

// lastMessage is the newest message that somebody wrote: what happened to a group is none.
func (a *app) lastMessage(ctx context.Context, c *client.Client, ref string) (client.Message, error) {
	f := client.Filter{Newest: true}
	if _, name, ok := strings.Cut(ref, ":"); ok {
		id, err := a.peer(ctx, c, name)
		if err != nil {
			return client.Message{}, err
		}
		f.Conversation = id.String()
	}
	for _, f.Limit = range []int{8, 0} {
		found, err := c.Messages(ctx, f)
		if err != nil {
			return client.Message{}, err
		}
		for i := len(found) - 1; i >= 0; i-- {
			if found[i].Notice == nil {
				return found[i], nil
			}
		}
	}
	return client.Message{}, a.noMessage(ref)
}

func (a *app) noMessage(ref string) error {
	return cli.Fail("no such message", fault.New(fault.NotFound, "find message", "nothing here matches %q", ref), "sessionctl"+a.profileFlag()+" log")
}

// complete answers the shell with names from the local store, without the network.
func (a *app) complete(names func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if a.settle() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := names(context.Background(), c)
	return all, cobra.ShellCompDirectiveNoFileComp
}

// completePeers completes names of contacts and groups.
func (a *app) completePeers(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return a.complete(conversationNames)
}

// completeAccounts completes names of contacts.
func (a *app) completeAccounts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return a.complete(peerNames)
}
