package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/node"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show the configuration of a node"}
	var file string
	explain := &cobra.Command{
		Use:   "explain [KEY]",
		Short: "Show every value, where it comes from and what it means",
		Example: `  swarmd config explain --config node-1/swarmd.yaml
  SWARMD_LOG_LEVEL=debug swarmd config explain log.level`,
		Args: cobra.MaximumNArgs(1),
	}
	configFlag(explain, &file)
	typed := layerFlags(explain)
	explain.RunE = func(cmd *cobra.Command, args []string) error {
		// The values are shown even if they are wrong: this is the verb to find out why.
		loaded, err := a.load(file, typed())
		if loaded == nil {
			return err
		}
		keys := node.Keys()
		if len(args) == 1 {
			if keys = matching(keys, args[0]); len(keys) == 0 {
				e := cli.Usage("no key %q in the configuration", args[0])
				e.Try = []string{"swarmd config explain"}
				return e
			}
		}
		if werr := a.printKeys(cmd, loaded, keys); werr != nil {
			return werr
		}
		return err
	}
	cmd.AddCommand(explain)
	return cmd
}

// matching returns the key of that name, or the keys of that section.
func matching(keys []node.Key, name string) (out []node.Key) {
	for _, k := range keys {
		if k.Name == name || strings.HasPrefix(k.Name, name+".") {
			out = append(out, k)
		}
	}
	return out
}

func (a *app) printKeys(cmd *cobra.Command, l *node.Loaded, keys []node.Key) error {
	type row struct {
		Key    string `json:"key"`
		Value  any    `json:"value"`
		Source string `json:"source"`
		Env    string `json:"env"`
		Doc    string `json:"doc"`
	}
	var rows []row
	for _, k := range keys {
		v := l.Config.Value(k)
		if s, ok := v.(fmt.Stringer); ok {
			v = s.String()
		}
		rows = append(rows, row{k.Name, v, l.Source[k.Name], k.Env, k.Doc})
	}
	if a.json {
		return cli.WriteJSON(cmd.OutOrStdout(), "config", map[string]any{"keys": rows})
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tVALUE\tFROM\tMEANING")
	for _, r := range rows {
		value := fmt.Sprint(r.Value)
		if list, ok := r.Value.([]string); ok {
			value = strings.Join(list, ",")
		}
		if value == "" {
			value = `""`
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Key, value, r.Source, r.Doc)
	}
	return w.Flush()
}
