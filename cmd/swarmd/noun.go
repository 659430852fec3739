package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/node"
)

// noun is a thing that an operator lists and looks at.
type noun struct {
	name, short string
	list        func(*node.Status) map[string]any
	printList   func(io.Writer, *node.Status) error
	// find returns the one that id means, as JSON and as text; nil if there is none.
	find func(s *node.Status, id string) (value map[string]any, text string)
}

func (a *app) nounCommand(n noun) *cobra.Command {
	cmd := &cobra.Command{Use: n.name, Short: n.short}
	verb := func(use, short string, args cobra.PositionalArgs, show func(cmd *cobra.Command, s *node.Status,
		args []string) error) *cobra.Command {
		var t target
		c := &cobra.Command{
			Use: use, Short: short, Args: args,
			Example: "  swarmd " + n.name + " " + use + " --config ./home/node-1/swarmd.yaml",
			RunE: func(cmd *cobra.Command, args []string) error {
				s, err := a.ask(cmd.Context(), t)
				if err != nil {
					return err
				}
				return show(cmd, s, args)
			},
		}
		t.flags(c)
		cmd.AddCommand(c)
		return c
	}
	list := verb("list", "List them", cobra.NoArgs, func(cmd *cobra.Command, s *node.Status,
		_ []string) error {
		if a.json {
			return cli.WriteJSON(cmd.OutOrStdout(), n.name+".list", n.list(s))
		}
		return n.printList(cmd.OutOrStdout(), s)
	})
	list.Aliases = []string{"ls"}
	verb("show ID", "Show one", cobra.ExactArgs(1), func(cmd *cobra.Command, s *node.Status,
		args []string) error {
		value, text := n.find(s, args[0])
		switch {
		case value == nil:
			return cli.Fail("find "+n.name+" "+args[0], fault.NotFound, "swarmd "+n.name+" list")
		case a.json:
			return cli.WriteJSON(cmd.OutOrStdout(), n.name, value)
		}
		_, err := io.WriteString(cmd.OutOrStdout(), text)
		return err
	})
	return cmd
}

func (a *app) nodeCommand() *cobra.Command {
	return a.nounCommand(noun{
		name: "node", short: "Look at the nodes of the cluster",
		list:      func(s *node.Status) map[string]any { return map[string]any{"nodes": s.Nodes} },
		printList: printNodes,
		find:      findNode,
	})
}

func (a *app) swarmCommand() *cobra.Command {
	return a.nounCommand(noun{
		name: "swarm", short: "Look at the swarms and their replicas",
		list:      func(s *node.Status) map[string]any { return map[string]any{"swarms": s.Swarms} },
		printList: printSwarms,
		find:      findSwarm,
	})
}

// findNode takes a node's ID or the beginning of it that names no other.
func findNode(s *node.Status, id string) (map[string]any, string) {
	var found []node.NodeStatus
	for _, n := range s.Nodes {
		if id != "" && strings.HasPrefix(n.ID, id) {
			found = append(found, n)
		}
	}
	if len(found) != 1 {
		return nil, ""
	}
	n := found[0]
	var replicas []string
	for _, sw := range s.Swarms {
		for _, r := range sw.Replicas {
			if r.Node != n.ID {
				continue
			}
			switch {
			case !r.Known:
				replicas = append(replicas, sw.Title()+" (no answer)")
			case sw.Leader == n.ID:
				replicas = append(replicas, sw.Title()+" (leads)")
			default:
				replicas = append(replicas, sw.Title())
			}
		}
	}
	seen := "yes"
	if !n.Reachable {
		seen = "no: it does not answer; is its process alive, and its network?"
	}
	text := fmt.Sprintf("node       %s\nstate      %s\nseen       %s\npeers at   %s\nclients at %s\n"+
		"roles      %s\ndisk       %s\ndirectory  version %d\nreplicas   %s\n",
		n.ID, n.State, seen, n.PeerAddr, n.Addrs(), n.RoleList(), n.Disk(), n.DirectoryVersion,
		strings.Join(replicas, ", "))
	return map[string]any{"node": n, "replicas": replicas}, text
}

// findSwarm takes a swarm's number; 0 is the directory.
func findSwarm(s *node.Status, id string) (map[string]any, string) {
	for _, sw := range s.Swarms {
		if strconv.FormatUint(uint64(sw.ID), 10) != id {
			continue
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s, configuration %d, %d slots\n", sw.Title(), sw.Config, sw.Slots)
		if sw.Leader == "" {
			b.WriteString("no leader: a majority of the replicas below must answer\n")
		}
		for _, r := range sw.Replicas {
			state := "does not answer"
			switch {
			case r.Known && r.Leader:
				state = fmt.Sprintf("leads, position %d", r.Applied)
			case r.Known:
				state = fmt.Sprintf("follows, position %d, %d behind", r.Applied, r.Lag)
			}
			fmt.Fprintf(&b, "  %s  %s\n", r.Short(), state)
		}
		return map[string]any{"swarm": sw}, b.String()
	}
	return nil, ""
}
