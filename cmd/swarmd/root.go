package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/node"
)

// app is what every verb shares.
type app struct {
	environ []string
	json    bool
}

func newRoot(environ []string) *cobra.Command {
	a := &app{environ: environ}
	root := &cobra.Command{
		Use:   "swarmd",
		Short: "Run and operate the nodes of a private messenger",
		Long: `swarmd runs a node of a Starling cluster and holds the operator's verbs. A cluster keeps end-to-end
encrypted messages for its users and carries them through three hops that each know too little.`,
		Example: `  swarmd dev                                           a cluster of 5 nodes in this process
  swarmd init --cluster home --nodes 5 --out ./home    keys and configuration of 5 nodes
  swarmd run --config ./home/node-1/swarmd.yaml        one of them
  swarmd status --config ./home/node-1/swarmd.yaml     how the cluster is`,
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON")
	root.AddGroup(&cobra.Group{ID: "start", Title: "Start:"}, &cobra.Group{ID: "watch", Title: "Watch:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("start", a.devCommand(), a.initCommand(), a.runCommand(), a.configCommand())
	add("watch", a.statusCommand(), a.nodeCommand(), a.swarmCommand(), a.healthCommand(), a.faultCommand())
	add("", cli.ManCommand("8"), cli.VersionCommand())
	return root
}

// getenv returns a variable of the environment that main was given.
func (a *app) getenv(name string) string {
	for _, kv := range a.environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// configFlag adds --config.
func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "config", "",
		"configuration `FILE` (default $SWARMD_CONFIG, then swarmd.yaml here if there is one)")
}

// layerFlags adds a flag per key of the configuration and returns what was typed.
func layerFlags(cmd *cobra.Command) func() map[string]string {
	for _, k := range node.Keys() {
		cmd.Flags().String(k.Name, "", k.Doc)
	}
	return func() map[string]string {
		typed := make(map[string]string)
		for _, k := range node.Keys() {
			if f := cmd.Flags().Lookup(k.Name); f.Changed {
				typed[k.Name] = f.Value.String()
			}
		}
		return typed
	}
}

// configFile is the configuration file that is meant: the one given, that of the environment, or
// ./swarmd.yaml; "" if none.
func (a *app) configFile(given string) string {
	if given != "" {
		return given
	}
	if file := a.getenv(node.EnvConfig); file != "" {
		return file
	}
	if _, err := os.Stat("swarmd.yaml"); err == nil {
		return "swarmd.yaml"
	}
	return ""
}

// load reads the configuration from all layers and turns its problems into an error with a line each.
func (a *app) load(file string, flags map[string]string) (*node.Loaded, error) {
	file = a.configFile(file)
	loaded, err := node.Load(node.Layers{File: file, Env: a.environ, Flags: flags})
	if err == nil {
		return loaded, nil
	}
	var problems node.Problems
	if errors.As(err, &problems) {
		e := &cli.Error{What: "configuration has " + count(len(problems), "problem"), Code: "CFG-100",
			Exit: cli.ExitFailed, List: problems}
		if file == "" {
			e.Try = []string{"swarmd init --cluster NAME --nodes 5 --out DIR",
				"swarmd run --config DIR/node-1/swarmd.yaml"}
		} else {
			e.Try = []string{"swarmd config explain --config " + file}
		}
		return loaded, e
	}
	if errors.Is(err, fault.NotFound) {
		return nil, &cli.Error{Cause: err, Code: "CFG-101", Exit: cli.ExitFailed,
			Try: []string{"swarmd init --cluster NAME --nodes 5 --out DIR"}}
	}
	return nil, &cli.Error{Cause: err, Code: "CFG-102", Exit: cli.ExitFailed}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
