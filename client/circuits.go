package client

import (
	"context"

	"github.com/starling-swarm/starling/client/internal/circuit"
)

// circuits joins the onion network's type to the interface that the engine declares.
type circuits struct{ *circuit.Network }

func newCircuits(cfg networkConfig) (Network, error) {
	n, err := circuit.New(circuit.Config{Cluster: cfg.Cluster, Dir: cfg.Dir, Mailbox: cfg.Mailbox, Logger: cfg.Logger, Clock: cfg.Clock})
	if err != nil {
		return nil, err
	}
	return circuits{n}, nil
}

// Run is circuit.Network.Run; that ctx ended is no error of it.
func (n circuits) Run(ctx context.Context) error {
	err := n.Network.Run(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Status is circuit.Network.Status in this package's words.
func (n circuits) Status() NetStatus {
	s := n.Network.Status()
	out := NetStatus{Nodes: s.Nodes, Swarms: s.Swarms, Version: s.Version, ClockSkew: s.Skew, Notes: s.Notes, Connected: s.Connected}
	for _, c := range s.Circuits {
		out.Circuits = append(out.Circuits, Circuit{Purpose: c.Purpose, Path: c.Path, Storage: c.Storage, Age: c.Age, RTT: c.RTT})
	}
	return out
}
