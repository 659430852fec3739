package sessionapi

import (
	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// NetStatus is the cluster as a client sees it; kind net.status.
type NetStatus struct {
	Nodes       int       `json:"nodes"`
	Swarms      int       `json:"swarms"`
	Version     uint64    `json:"version"`
	Circuits    []Circuit `json:"circuits"`
	ClockSkewMS int64     `json:"clock_skew_ms"`
	Notes       []string  `json:"notes"`
}

// Circuit is a path of three relays that is in use.
type Circuit struct {
	Purpose string   `json:"purpose"`
	Path    []string `json:"path"`
	AgeMS   int64    `json:"age_ms"`
	RTTMS   float64  `json:"rtt_ms"`
}

// NetStatusOf is the document of the cluster as a client sees it.
func NetStatusOf(n client.NetStatus) NetStatus {
	doc := NetStatus{Nodes: n.Nodes, Swarms: n.Swarms, Version: n.Version, Circuits: []Circuit{},
		ClockSkewMS: n.ClockSkew.Milliseconds(), Notes: []string{}}
	for _, c := range n.Circuits {
		doc.Circuits = append(doc.Circuits,
			Circuit{Purpose: c.Purpose, Path: pathIDs(c.Path), AgeMS: c.Age.Milliseconds(),
				RTTMS: Milliseconds(c.RTT)})
	}
	doc.Notes = append(doc.Notes, n.Notes...)
	return doc
}

func pathIDs(path [3]ident.NodeID) []string {
	if path == ([3]ident.NodeID{}) {
		return nil
	}
	return []string{path[0].String(), path[1].String(), path[2].String()}
}

// Contexts are the clusters that this machine knows by name; kind context.list.
type Contexts struct {
	Current  string    `json:"current"`
	Contexts []Context `json:"contexts"`
}

// Context is a cluster by name; kind context.
type Context struct {
	Name      string `json:"name"`
	Current   bool   `json:"current"`
	Path      string `json:"path"`
	Cluster   string `json:"cluster,omitempty"`
	ClusterID string `json:"cluster_id,omitempty"`
}

// Cluster is a cluster that answered; kind cluster.
type Cluster struct {
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	Version   uint64 `json:"version"`
	Nodes     int    `json:"nodes"`
	Swarms    int    `json:"swarms"`
}
