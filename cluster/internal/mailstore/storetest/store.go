package storetest

import (
	"github.com/starling-swarm/starling/cluster/internal/mailstore"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
)

// Disk is a Core over a store: every command is a Raft entry of its own.
type Disk struct{ *mailstore.Store }

// Apply implements Core.
func (d Disk) Apply(command []byte) statemachine.Result {
	index, _ := d.Applied()
	res := d.ApplyBatch([]mailstore.Batch{{Index: index + 1, Term: 1, Commands: [][]byte{command}}})
	return res[0][0].(statemachine.Result)
}
