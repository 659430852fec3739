package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/starling-swarm/starling/cluster"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/ident"
)

// Status is a cluster as one of its nodes sees it: what swarmd status prints, the status page shows and
// scripts read. Times are Unix milliseconds.
type Status struct {
	Node             string          `json:"node"`
	Name             string          `json:"name"`
	Cluster          string          `json:"cluster"`
	Ready            bool            `json:"ready"`
	NotReady         string          `json:"not_ready,omitempty"` // what is missing
	UptimeMS         int64           `json:"uptime_ms"`
	DirectoryVersion uint64          `json:"directory_version"`
	ValidUntil       int64           `json:"valid_until"`
	DiskBytes        uint64          `json:"disk_bytes"`
	Cut              bool            `json:"cut,omitempty"` // test switch
	Nodes            []NodeStatus    `json:"nodes"`
	Swarms           []SwarmStatus   `json:"swarms"`
	Problems         []StatusProblem `json:"problems"`
}

// NodeStatus is one node.
type NodeStatus struct {
	ID               string   `json:"id"`
	PeerAddr         string   `json:"peer_addr"`
	ClientAddrs      []string `json:"client_addrs"`
	Roles            []string `json:"roles"`
	State            string   `json:"state"`
	Zone             string   `json:"zone,omitempty"`
	Operator         string   `json:"operator,omitempty"`
	Reachable        bool     `json:"reachable"`
	DiskBytes        uint64   `json:"disk_bytes"`
	DirectoryVersion uint64   `json:"directory_version"`
	Leads            int      `json:"leads"` // swarms led
}

// SwarmStatus is one swarm; ID 0 is the directory.
type SwarmStatus struct {
	ID       uint32          `json:"id"`
	Config   uint64          `json:"config"`
	Slots    int             `json:"slots"`
	Leader   string          `json:"leader"` // node; empty: none known
	Replicas []ReplicaStatus `json:"replicas"`
}

// ReplicaStatus is one replica of a swarm.
type ReplicaStatus struct {
	Node    string `json:"node"`
	Known   bool   `json:"known"` // it answered
	Leader  bool   `json:"leader"`
	Applied uint64 `json:"applied"`
	Lag     uint64 `json:"lag"`
}

// StatusProblem is what an operator should look at.
type StatusProblem struct {
	What string `json:"what"`
	Try  string `json:"try"`
}

// Status asks the other nodes what they host, for at most two seconds.
func (n *Node) Status(ctx context.Context) Status {
	s := Status{
		Node: n.id.String(), Name: n.cfg.Name, Cluster: n.file.Name,
		UptimeMS: time.Since(n.started).Milliseconds(),
		Cut:      n.faults.IsCut(), Nodes: []NodeStatus{}, Swarms: []SwarmStatus{},
		Problems: []StatusProblem{},
	}
	c, err := n.running()
	if err == nil {
		err = c.Ready()
	}
	s.Ready = err == nil
	if err != nil {
		s.NotReady = err.Error()
	}
	if c == nil {
		return s
	}
	s.add(c.Status(ctx))
	return s
}

func (s *Status) add(c cluster.Status) {
	s.DirectoryVersion, s.DiskBytes = c.DirectoryVersion, c.DiskBytes
	if !c.ValidUntil.IsZero() {
		s.ValidUntil = c.ValidUntil.UnixMilli()
	}
	leads := make(map[ident.NodeID]int)
	for _, sw := range c.Swarms {
		out := SwarmStatus{ID: uint32(sw.ID), Config: sw.Config, Slots: sw.Slots, Replicas: []ReplicaStatus{}}
		if !sw.Leader.IsZero() {
			out.Leader = sw.Leader.String()
			leads[sw.Leader]++
		}
		for _, r := range sw.Replicas {
			out.Replicas = append(out.Replicas, ReplicaStatus{r.Node.String(), r.Known, r.Leads,
				r.Applied, r.Lag})
		}
		s.Swarms = append(s.Swarms, out)
	}
	for _, n := range c.Nodes {
		s.Nodes = append(s.Nodes, NodeStatus{
			ID: n.ID.String(), PeerAddr: n.PeerAddr, ClientAddrs: n.ClientAddrs, Roles: rolesOf(n.Roles),
			State: stateName(n.State),
			Zone:  n.Zone, Operator: n.Operator, Reachable: n.Reachable,
			DiskBytes: n.DiskBytes, DirectoryVersion: n.Version, Leads: leads[n.ID],
		})
	}
	for _, p := range c.Problems {
		s.Problems = append(s.Problems, StatusProblem{p.What, p.Try})
	}
}

func rolesOf(r directory.Role) []string {
	out := []string{}
	for name, role := range roleNames {
		if r&role != 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func stateName(s directory.State) string {
	switch s {
	case directory.Alive:
		return "alive"
	case directory.Draining:
		return "draining"
	case directory.Dead:
		return "dead"
	case directory.Removed:
		return "removed"
	}
	return fmt.Sprintf("state %d", s)
}

// Short returns the first digits of an ID for tables, "-" for none.
func Short(id string) string {
	if id == "" {
		return "-"
	}
	return id[:min(8, len(id))]
}

// Bytes returns a size for people: "12 MiB".
func Bytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// The methods below are what the status page calls.

func (s Status) Uptime() string {
	return (time.Duration(s.UptimeMS) * time.Millisecond).Round(time.Second).String()
}
func (s Status) Disk() string { return Bytes(s.DiskBytes) }
func (n NodeStatus) Short() string {
	return Short(n.ID)
}
func (n NodeStatus) Addrs() string        { return strings.Join(n.ClientAddrs, ", ") }
func (n NodeStatus) RoleList() string     { return strings.Join(n.Roles, ", ") }
func (n NodeStatus) Disk() string         { return Bytes(n.DiskBytes) }
func (s SwarmStatus) LeaderShort() string { return Short(s.Leader) }
func (s SwarmStatus) Title() string {
	if s.ID == 0 {
		return "directory"
	}
	return fmt.Sprintf("swarm %d", s.ID)
}
func (r ReplicaStatus) Short() string { return Short(r.Node) }
