package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/internal/clictx"
)

// namesOf lists names by which something can be called, from the local store.
type namesOf func(context.Context, *client.Client) ([]string, error)

// complete answers the shell with names from the local store, without the network.
func (a *app) complete(names namesOf) ([]string, cobra.ShellCompDirective) {
	if a.settle() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx := context.Background() // a shell's request for completion has none
	c, err := a.Open(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := names(ctx, c)
	return all, cobra.ShellCompDirectiveNoFileComp
}

// completePeers completes names of contacts and groups.
func (a *app) completePeers(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return a.complete(refs.ConversationNames)
}

// completeAccounts completes names of contacts.
func (a *app) completeAccounts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return a.complete(refs.PeerNames)
}

// completeGroups completes the names of groups, and then those of contacts.
func (a *app) completeGroups(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.complete(refs.GroupNames)
	}
	return a.complete(refs.PeerNames)
}

// completeContexts completes names of clusters.
func (a *app) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	if a.settle() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := clictx.Load(a.Home)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.Names(), cobra.ShellCompDirectiveDefault
}

// completeProfiles completes names of profiles.
func (a *app) completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	if a.settle() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.ProfileNames(), cobra.ShellCompDirectiveNoFileComp
}
