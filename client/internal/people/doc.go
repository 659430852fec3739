// Package people is what is known of other accounts: their certificates and day keys, whether they are
// approved, blocked or contested, and what to call them.
//
// It reads an account's public records through the cluster, checks every one, and keeps decoded persons in
// memory, under a lock of its own; a transaction that fails makes it forget them. It owns the rows of peers,
// their events and the looks that are still to be taken at accounts. A Person must not be kept beyond its
// transaction.
package people

import (
	"sync"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/internal/ident"
)

// People keeps what is known of accounts: verifying a chain again for every message would cost more than
// opening it.
type People struct {
	core  *core.Core
	heard func() // something was heard of an account that is to be looked into

	mu    sync.Mutex
	known map[ident.AccountID]Person
}

// New makes People. heard is called, perhaps inside a transaction, when LookAtAll has something to do.
func New(c *core.Core, heard func()) *People {
	p := &People{core: c, heard: heard, known: map[ident.AccountID]Person{}}
	c.OnRollback(p.forget)
	return p
}
