package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/clictx"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/rpc"
)

// linkTimeout bounds fetching the cluster file that a link names.
const linkTimeout = 10 * time.Second

// loadCluster reads the cluster file that name means: "" is the current context, else a link, a context, or a file.
func loadCluster(home, name string) (*directory.ClusterFile, error) {
	if directory.IsLink(name) {
		return followLink(name)
	}
	path, err := clictx.Resolve(home, name)
	if err != nil {
		return nil, err
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(fault.NotFound, "read cluster file", err)
	}
	return directory.ParseClusterFile(body)
}

// followLink fetches the cluster file from the nodes that the link names; the link's ID decides whether it is right.
func followLink(text string) (*directory.ClusterFile, error) {
	link, err := directory.ParseLink(text)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), linkTimeout)
	defer cancel()
	cf, err := askNodes(ctx, link.Bootstrap, func(ctx context.Context, n nodeConn) (*directory.ClusterFile, error) {
		cf, err := rpc.FetchClusterFile(ctx, n)
		if err != nil {
			return nil, err
		}
		return cf, link.Accept(cf)
	})
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "follow cluster link", err)
	}
	return cf, nil
}

// clusterFile loads the cluster that the flags, the environment or the current context name.
func (a *app) clusterFile() (*directory.ClusterFile, error) {
	cf, err := loadCluster(a.flags.home, a.flags.cluster)
	switch {
	case err == nil:
		return cf, nil
	case !errors.Is(err, fault.NotFound):
		return nil, a.unreachable("read cluster", err)
	}
	e := &cli.Error{What: "no cluster", Cause: err, Code: "NET-103", Exit: cli.ExitNetwork}
	if c, err := clictx.Load(a.flags.home); err == nil && a.flags.cluster != "" {
		for _, n := range nearest(a.flags.cluster, c.Names()) {
			e.Try = append(e.Try, "sessionctl --cluster "+n)
		}
	}
	e.Try = append(e.Try,
		"swarmd dev                                  # start one on this machine",
		"sessionctl context add NAME cluster.json    # or use the file that its operator gave you")
	return nil, e
}
