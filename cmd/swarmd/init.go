package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/node"
)

// Default base ports: procs takes four per node, compose publishes one per node.
const (
	procsBasePort   = 17700
	composeBasePort = 17700
)

func (a *app) initCommand() *cobra.Command {
	var plan node.Plan
	var shape, owner, clientFile string
	cmd := &cobra.Command{
		Use:   "init --cluster NAME --nodes N --out DIR",
		Short: "Make the keys and configuration of a new cluster",
		Long: `Makes a cluster: DIR/cluster.json for clients, DIR/admin.key for you (keep it off the nodes), and for each
node a directory DIR/node-1 ... with swarmd.yaml and its secrets. A cluster that exists is left alone.`,
		Example: `  swarmd init --cluster home --nodes 5 --out ./home
  swarmd run --config ./home/node-1/swarmd.yaml

  swarmd init --cluster home --nodes 3 --out ./home --for systemd --hosts a.example.net,b.example.net,c.example.net`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan.Shape = node.Shape(shape)
			if plan.BasePort == 0 {
				plan.BasePort = procsBasePort
				if plan.Shape == node.Compose {
					plan.BasePort = composeBasePort
				}
			}
			return a.init(cmd, plan, owner, clientFile)
		},
	}
	f := cmd.Flags()
	f.StringVar(&plan.Name, "cluster", "", "`NAME` of the cluster")
	f.IntVar(&plan.Nodes, "nodes", 5, "number of nodes, at least 3")
	f.StringVar(&plan.Out, "out", "", "`DIR`ectory to write")
	f.StringVar(&shape, "for", string(node.Procs), "how the nodes will run: procs, compose or systemd")
	f.IntVar(&plan.BasePort, "base-port", 0, "first `PORT` on loopback (default 17700)")
	f.StringSliceVar(&plan.Hosts, "hosts", nil,
		"for systemd: names or addresses of the machines (default node-1,node-2,...)")
	f.IntVar(&plan.Swarms, "swarms", 0, "swarms to make; 0 is the larger of 3 and the number of nodes")
	f.IntVar(&plan.Replication, "replication", 0, "replicas of a swarm; 0 is 3")
	f.IntVar(&plan.Limits.MailboxQuota, "mailbox-quota", 0, "`BYTES` of one mailbox; 0 is the default")
	f.BoolVar(&plan.TestFaults, "test-faults", false, "let tests cut nodes off over the admin socket")
	f.StringVar(&owner, "owner", "", "give the nodes' files to this `UID:GID`")
	f.StringVar(&clientFile, "client-file", "",
		"write the cluster file for clients here as well, owned like its directory")
	_ = cmd.MarkFlagRequired("cluster")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func (a *app) init(cmd *cobra.Command, plan node.Plan, owner, clientFile string) error {
	uid, gid, err := parseOwner(owner)
	if err != nil {
		return err
	}
	cf, made, err := node.Provision(plan)
	var problems node.Problems
	switch {
	case errors.As(err, &problems):
		return &cli.Error{What: "make cluster", Code: "USE-100", Exit: cli.ExitUsage, List: problems,
			Try: []string{"swarmd init --help"}}
	case errors.Is(err, fault.Exists):
		return cli.Fail("", err, "swarmd init with another --out")
	case err != nil:
		return cli.Fail("make cluster", err)
	}
	if owner != "" {
		// Also for a cluster that exists: an interrupted call may have ended before this.
		for i := 1; i <= plan.Nodes; i++ {
			if err := chownTree(plan.NodeDir(i), uid, gid); err != nil {
				return cli.Fail("give files to "+owner, err)
			}
		}
	}
	if clientFile != "" {
		if err := writeClientFile(cf, clientFile); err != nil {
			return cli.Fail("write "+clientFile, err)
		}
	}
	return a.reportInit(cmd, plan, cf, made)
}

func (a *app) reportInit(cmd *cobra.Command, plan node.Plan, cf *directory.ClusterFile, made bool) error {
	file := filepath.Join(plan.Out, "cluster.json")
	if a.json {
		type member struct {
			ID          string   `json:"id"`
			Config      string   `json:"config"`
			ClientAddrs []string `json:"client_addrs"`
		}
		var nodes []member
		for i, b := range cf.Bootstrap {
			nodes = append(nodes, member{b.NodeID.String(), filepath.Join(plan.NodeDir(i+1), "swarmd.yaml"),
				b.ClientAddrs})
		}
		return cli.WriteJSON(cmd.OutOrStdout(), "init", map[string]any{
			"cluster": cf.Name, "cluster_id": cf.ID, "cluster_file": file, "link": cf.Link().String(),
			"made": made, "nodes": nodes,
		})
	}
	out := cmd.OutOrStdout()
	if !made {
		fmt.Fprintf(out, "cluster %q of %d nodes exists in %s; left alone\n", cf.Name, plan.Nodes, plan.Out)
		return nil
	}
	fmt.Fprintf(out, "made cluster %q of %d nodes in %s\n", cf.Name, plan.Nodes, plan.Out)
	fmt.Fprintf(out, "cluster file for clients: %s\n", file)
	hints := cmd.ErrOrStderr()
	fmt.Fprintf(hints, "keep %s away from the nodes\n", filepath.Join(plan.Out, "admin.key"))
	switch plan.Shape {
	case node.Procs:
		fmt.Fprintf(hints, "next: swarmd run --config %s   (and the others)\n",
			filepath.Join(plan.NodeDir(1), "swarmd.yaml"))
	case node.Systemd:
		fmt.Fprintf(hints, "next: copy each node's directory to its machine, then swarmd run --config "+
			"DIR/swarmd.yaml\n")
	}
	return nil
}

func parseOwner(s string) (uid, gid int, err error) {
	if s == "" {
		return -1, -1, nil
	}
	u, g, ok := strings.Cut(s, ":")
	uid, uerr := strconv.Atoi(u)
	gid, gerr := strconv.Atoi(g)
	if !ok || uerr != nil || gerr != nil {
		return 0, 0, cli.Usage("owner %q is no UID:GID", s)
	}
	return uid, gid, nil
}

func chownTree(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// writeClientFile writes the cluster file unless it is there already, and gives it to the owner of its
// directory: in a container this runs as root, and the directory belongs to a person on the host.
func writeClientFile(cf *directory.ClusterFile, path string) error {
	body, err := cf.Encode()
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, body) {
		return nil
	}
	if err := os.WriteFile(path, body, 0o644); err != nil {
		return err
	}
	return ownLikeParent(path)
}
