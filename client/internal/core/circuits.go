package core

import (
	"context"
	"net"

	"github.com/starling-swarm/starling/client/internal/circuit"
	"github.com/starling-swarm/starling/internal/rpc"
)

// circuits joins the onion network's type to the interface that the engine declares.
type circuits struct{ *circuit.Network }

// NewCircuits makes the onion network of a cluster; it connects when it runs. Errors: Invalid, Corrupt (what
// lies in its directory).
func NewCircuits(cfg NetworkConfig) (Network, error) {
	n, err := circuit.New(circuit.Config{
		Cluster: cfg.Cluster, Dir: cfg.Dir, Mailbox: cfg.Mailbox, Logger: cfg.Logger, Clock: cfg.Clock,
		Dial: onTCP(cfg.Dial),
	})
	if err != nil {
		return nil, err
	}
	return circuits{n}, nil
}

// onTCP is a dialer of TCP as package net would have it; nil stays nil.
func onTCP(dial func(context.Context, string) (net.Conn, error)) rpc.DialFunc {
	if dial == nil {
		return nil
	}
	return func(ctx context.Context, _, addr string) (net.Conn, error) { return dial(ctx, addr) }
}

// Run is circuit.Network.Run; that ctx ended is no error of it.
func (n circuits) Run(ctx context.Context) error {
	err := n.Network.Run(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
