package session

import (
	"context"
	"errors"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/clictx"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/rpc"
)

// linkTimeout bounds fetching the cluster file that a link names.
const linkTimeout = 10 * time.Second

// LoadCluster reads the cluster file that name means: "" is the current context, else a link, a context, or a
// file. Errors: NotFound without such a context or file, Invalid for what is no cluster file or link,
// Unavailable if no node that a link names gives the file out before ctx ends.
func LoadCluster(ctx context.Context, home, name string) (*directory.ClusterFile, error) {
	if directory.IsLink(name) {
		return followLink(ctx, name)
	}
	return readCluster(home, name)
}

// readCluster is LoadCluster for what lies on this machine.
func readCluster(home, name string) (*directory.ClusterFile, error) {
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

// followLink fetches the cluster file from the nodes that the link names; the link's ID decides whether it is
// right.
func followLink(ctx context.Context, text string) (*directory.ClusterFile, error) {
	link, err := directory.ParseLink(text)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	cf, err := askNodes(ctx, link.Bootstrap,
		func(ctx context.Context, n nodeConn) (*directory.ClusterFile, error) {
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

// ClusterFile loads the cluster that the user named, or that of the current context. Errors: those of
// LoadCluster, with what to type.
func (s *Session) ClusterFile(ctx context.Context) (*directory.ClusterFile, error) {
	cf, err := LoadCluster(ctx, s.Home, s.Cluster)
	switch {
	case err == nil:
		return cf, nil
	case !errors.Is(err, fault.NotFound):
		return nil, s.Unreachable("read cluster", err)
	}
	e := &cli.Error{What: "no cluster", Cause: err, Code: "NET-103", Exit: cli.ExitNetwork}
	if c, err := clictx.Load(s.Home); err == nil && s.Cluster != "" {
		for _, n := range refs.Nearest(s.Cluster, c.Names()) {
			e.Try = append(e.Try, "sessionctl --cluster "+n)
		}
	}
	e.Try = append(e.Try,
		"swarmd dev                                  # start one on this machine",
		"sessionctl context add NAME cluster.json    # or use the file that its operator gave you")
	return nil, e
}

// nodeConn is a connection to one node's client listener.
type nodeConn = grpc.ClientConnInterface

// askNodes puts a question to all nodes at once and returns the first answer.
func askNodes[T any](ctx context.Context, nodes []directory.Bootstrap,
	ask func(context.Context, nodeConn) (T, error)) (answer T, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		answer T
		err    error
	}
	results := make(chan result, len(nodes))
	for _, b := range nodes {
		go func() {
			var r result
			conn, err := rpc.DialNode(b.NodeID, b.ClientAddrs, nil)
			if err != nil {
				results <- result{err: err}
				return
			}
			defer conn.Close()
			r.answer, r.err = ask(ctx, conn)
			results <- r
		}()
	}
	err = fault.New(fault.Unavailable, "ask cluster", "it names no nodes")
	for range nodes {
		r := <-results
		if r.err == nil {
			return r.answer, nil
		}
		err = r.err
	}
	return answer, err
}

// completeDirectory fetches a directory that the cluster's signers signed and whose swarms exist.
func completeDirectory(ctx context.Context, cf *directory.ClusterFile) (*directory.Directory, error) {
	return askNodes(ctx, cf.Bootstrap, func(ctx context.Context, n nodeConn) (*directory.Directory, error) {
		signed, _, err := rpc.FetchDirectory(ctx, n, 0)
		if err != nil {
			return nil, err
		}
		if signed == nil {
			return nil, fault.New(fault.Unavailable, "fetch directory", "the cluster is still forming")
		}
		d, err := cf.Verify(signed)
		if err != nil {
			return nil, err
		}
		if _, ok := d.SwarmOf(ident.MailboxID{}); !ok {
			return nil, fault.New(fault.Unavailable, "fetch directory", "the cluster has no swarms yet")
		}
		return d, nil
	})
}

// clusterPoll is how often waitCluster asks again.
const clusterPoll = 200 * time.Millisecond

// WaitCluster asks until the cluster answers with a complete, signed directory. Errors: that of ctx, joined
// with the last answer.
func WaitCluster(ctx context.Context, cf *directory.ClusterFile) (*directory.Directory, error) {
	poll := time.NewTicker(clusterPoll)
	defer poll.Stop()
	var last error
	for {
		d, err := completeDirectory(ctx, cf)
		if err == nil {
			return d, nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), last)
		}
	}
}
