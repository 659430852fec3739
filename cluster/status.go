package cluster

import (
	"context"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/wire"
)

// Status is this node's view of the cluster, for `swarmd status`.
type Status struct {
	Node             ident.NodeID
	Cluster          string
	DirectoryVersion uint64
	ValidUntil       time.Time // zero: no directory yet
	Nodes            []NodeStatus
	Swarms           []SwarmStatus // in order of their numbers; 0 is the directory
	DiskBytes        uint64        // used by this node
	Problems         []Problem
}

// NodeStatus is one node in a Status.
type NodeStatus struct {
	ID          ident.NodeID
	PeerAddr    string
	ClientAddrs []string
	Roles       directory.Role
	State       directory.State
	Zone        string
	Operator    string
	Reachable   bool   // it answered
	DiskBytes   uint64 // 0: not known here
	Version     uint64 // of its directory; 0: not known here
}

// SwarmStatus is one Raft group in a Status; ID 0 is the directory.
type SwarmStatus struct {
	ID       ident.SwarmID
	Config   uint64
	Slots    int
	Leader   ident.NodeID // zero: none known
	Replicas []ReplicaStatus
}

// ReplicaStatus is one replica in a SwarmStatus.
type ReplicaStatus struct {
	Node    ident.NodeID
	Known   bool   // the node answered
	Leads   bool   // by its own word
	Applied uint64 // position in the swarm's log
	Lag     uint64 // behind the furthest replica
}

// Problem is something an operator should look at, with what to type.
type Problem struct {
	What string
	Try  string
}

// statusTimeout bounds how long Status waits for a node that does not answer.
const statusTimeout = 2 * time.Second

// Status asks the other nodes what they host, for at most two seconds, and puts the answers together.
func (n *Node) Status(ctx context.Context) Status {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	own := n.ownStatus(false)
	s := Status{Node: n.id, Cluster: n.cfg.ClusterFile.Name, DirectoryVersion: own.DirectoryVersion,
		DiskBytes: own.DiskBytes}
	d, _ := n.view.current()
	if d == nil {
		s.Problems = append(s.Problems, Problem{What: "there is no signed directory yet: " +
			n.Ready().Error(), Try: "swarmd health --ready"})
		return s
	}
	s.ValidUntil = time.UnixMilli(d.ValidUntil)
	answers := n.ask(ctx, d)
	answers[n.id] = own
	for i := range d.Nodes {
		e := &d.Nodes[i]
		ns := NodeStatus{
			ID: e.ID, PeerAddr: e.PeerAddr, ClientAddrs: e.ClientAddrs, Roles: e.Roles, State: e.State,
			Zone: e.Zone, Operator: e.Operator,
		}
		if a := answers[e.ID]; a != nil {
			ns.Reachable, ns.DiskBytes, ns.Version = true, a.DiskBytes, a.DirectoryVersion
			for _, p := range a.Problems {
				s.Problems = append(s.Problems, Problem{What: "node " + e.ID.Short() + ": " + p,
					Try: "swarmd node show " + e.ID.Short()})
			}
		} else {
			s.Problems = append(s.Problems, Problem{What: "node " + e.ID.Short() + " at " + e.PeerAddr +
				" does not answer", Try: "swarmd node show " + e.ID.Short()})
		}
		s.Nodes = append(s.Nodes, ns)
	}
	var signers []ident.NodeID
	for _, key := range n.cfg.ClusterFile.Signers {
		signers = append(signers, ident.NodeIDOf(key[:]))
	}
	s.Swarms = append(s.Swarms, groupStatus(ident.DirectoryGroup, signers, answers))
	for i := range d.Swarms {
		w := groupStatus(d.Swarms[i].ID, d.Swarms[i].Replicas, answers)
		w.Config = d.Swarms[i].Config
		for _, r := range d.Slots {
			if r.Swarm == w.ID {
				w.Slots += int(r.Last-r.First) + 1
			}
		}
		s.Swarms = append(s.Swarms, w)
	}
	for _, w := range s.Swarms {
		if w.Leader.IsZero() {
			s.Problems = append(s.Problems, Problem{What: "swarm " + w.ID.String() +
				" has no leader: it takes no stores", Try: "swarmd swarm show " + w.ID.String()})
		}
	}
	if _, err := d.CheckTime(n.now()); err != nil || n.now().After(s.ValidUntil) {
		s.Problems = append(s.Problems,
			Problem{What: "the directory is past its validity: the signers have no quorum, or a clock is " +
				"wrong", Try: "swarmd swarm show 0"})
	}
	return s
}

// groupStatus puts together what the members of a group say of it.
func groupStatus(id ident.SwarmID, members []ident.NodeID,
	answers map[ident.NodeID]*wire.NodeStatus) SwarmStatus {
	w := SwarmStatus{ID: id}
	furthest := uint64(0)
	for _, node := range members {
		r := ReplicaStatus{Node: node}
		if a := answers[node]; a != nil {
			if i := slices.IndexFunc(a.Groups,
				func(g wire.GroupStatus) bool { return g.Group == id }); i >= 0 {
				g := a.Groups[i]
				r.Known, r.Leads, r.Applied = true, g.Leads, g.Applied
				furthest = max(furthest, g.Applied, g.Committed)
				if g.Leads {
					w.Leader = node
				}
			}
		}
		w.Replicas = append(w.Replicas, r)
	}
	for i := range w.Replicas {
		if r := &w.Replicas[i]; r.Known {
			r.Lag = furthest - r.Applied
		}
	}
	return w
}

// ask returns the answers of the other nodes that answered.
func (n *Node) ask(ctx context.Context, d *directory.Directory) map[ident.NodeID]*wire.NodeStatus {
	var mu sync.Mutex
	var wg sync.WaitGroup
	answers := make(map[ident.NodeID]*wire.NodeStatus)
	for i := range d.Nodes {
		id := d.Nodes[i].ID
		if id == n.id || d.Nodes[i].State == directory.Removed {
			continue
		}
		wg.Go(func() {
			p, err := n.peer(id)
			if err != nil {
				return
			}
			a, err := p.Status(ctx, false)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers[id] = a
		})
	}
	wg.Wait()
	return answers
}

// ownStatus is what this node says of itself.
func (n *Node) ownStatus(brief bool) *wire.NodeStatus {
	s := &wire.NodeStatus{DirectoryVersion: n.view.version(), Now: n.now()}
	if !brief {
		s.DiskBytes = diskBytes(n.cfg.Dir)
	}
	n.mu.Lock()
	replicas := make([]*replica, 0, len(n.replicas))
	for _, r := range n.replicas {
		replicas = append(replicas, r)
	}
	running := n.running != nil
	n.mu.Unlock()
	slices.SortFunc(replicas, func(a, b *replica) int { return int(a.id) - int(b.id) })
	if g := n.dirGroup; running && g != nil {
		st := g.group.Stats()
		s.Groups = append(s.Groups, wire.GroupStatus{Leads: g.group.IsLeader(), Leader: st.Leader,
			Applied: st.Applied, Committed: st.CommitIndex})
	}
	for _, r := range replicas {
		st := r.group.Stats()
		reign, leader, known, _ := r.role()
		g := wire.GroupStatus{Group: r.id, Leads: reign != nil, Applied: st.Applied,
			Committed: st.CommitIndex}
		if known {
			g.Leader = leader
		}
		s.Groups = append(s.Groups, g)
		if err := r.group.Fatal(); err != nil {
			s.Problems = append(s.Problems, "swarm "+r.id.String()+": its log failed")
		}
	}
	return s
}

// diskBytes adds up the files below a directory.
func diskBytes(dir string) (total uint64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // files come and go
		}
		if info, err := e.Info(); err == nil {
			total += uint64(info.Size())
		}
		return nil
	})
	return total
}

// medianClock asks the replicas of a swarm for their clocks and returns the median, if a majority answers and
// agrees.
func (n *Node) medianClock(ctx context.Context, id ident.SwarmID) (time.Time, error) {
	const op = "ask replicas for their clocks"
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	d, _ := n.view.current()
	w, ok := d.Swarm(id)
	if !ok {
		return time.Time{}, fault.New(fault.Internal, op, "swarm %s is not listed", id)
	}
	clocks := []time.Time{n.now()}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, node := range w.Replicas {
		if node == n.id {
			continue
		}
		wg.Go(func() {
			p, err := n.peer(node)
			if err != nil {
				return
			}
			if a, err := p.Status(ctx, true); err == nil {
				mu.Lock()
				defer mu.Unlock()
				clocks = append(clocks, a.Now)
			}
		})
	}
	wg.Wait()
	slices.SortFunc(clocks, time.Time.Compare)
	median := clocks[len(clocks)/2]
	agree := 0
	for _, c := range clocks {
		if c.Sub(median).Abs() <= clockAgree {
			agree++
		}
	}
	if agree <= len(w.Replicas)/2 {
		return time.Time{}, fault.New(fault.Unavailable, op, "%d of %d replicas of swarm %s agree within %s",
			agree, len(w.Replicas), id, clockAgree)
	}
	return median, nil
}
