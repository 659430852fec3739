package consensus

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/fault"
)

// Servers returns the members that this replica knows, and the version of the list for AddServer and
// RemoveServer.
func (g *Group) Servers() ([]Server, uint64, error) {
	f := g.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, 0, g.classify("list servers of", err)
	}
	version, err := g.versionOf(f.Configuration())
	if err != nil {
		return nil, 0, err
	}
	var servers []Server
	for _, s := range f.Configuration().Servers {
		id, err := ParseServerID(string(s.ID))
		if err != nil {
			return nil, 0, fault.Wrap(fault.Internal, g.op("list servers of"), err)
		}
		servers = append(servers, Server{ID: id, NonVoter: s.Suffrage != raft.Voter})
	}
	return servers, version, nil
}

// versionOf returns the index of the entry, or of the snapshot's entry, that holds the list conf. Raft does
// not tell, and the newest list in the log may be one that is not in force yet.
func (g *Group) versionOf(conf raft.Configuration) (uint64, error) {
	if index := g.log.indexOf(conf); index > 0 {
		return index, nil
	}
	metas, err := g.snaps.List()
	if err != nil {
		return 0, fault.Wrap(fault.Internal, g.op("list servers of"), err)
	}
	for _, m := range metas {
		if slices.Equal(m.Configuration.Servers, conf.Servers) {
			return m.ConfigurationIndex, nil
		}
	}
	return 0, nil // no list yet: the replica was never founded
}

// AddServer adds a member, or makes a non-voter a voter, if the list of members still has the given version
// (0: any). A new voter counts at once: add it as a non-voter first and let it catch up.
func (g *Group) AddServer(ctx context.Context, s Server, version uint64) error {
	id, addr := raft.ServerID(s.ID.String()), raft.ServerAddress(s.ID.String())
	if s.NonVoter {
		return g.await(ctx, "add server to", g.raft.AddNonvoter(id, addr, version, timeoutOf(ctx)))
	}
	return g.await(ctx, "add server to", g.raft.AddVoter(id, addr, version, timeoutOf(ctx)))
}

// RemoveServer removes a member, if the list of members still has the given version (0: any).
func (g *Group) RemoveServer(ctx context.Context, id ServerID, version uint64) error {
	return g.await(ctx, "remove server from", g.raft.RemoveServer(raft.ServerID(id.String()), version,
		timeoutOf(ctx)))
}

func timeoutOf(ctx context.Context) time.Duration {
	if d, ok := ctx.Deadline(); ok {
		return max(time.Until(d), time.Millisecond)
	}
	return 0
}
