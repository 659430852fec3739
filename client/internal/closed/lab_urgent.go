package closed

import (
	"context"
	"crypto/rand"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// Loot is what a thief copies from a device: a group's state.
type Loot struct {
	id    ident.GroupID
	state []byte
}

// Steal copies a group's keys.
func (c *Groups) Steal(id ident.GroupID) (l Loot) {
	c.core.View(func(tx *store.Tx) error {
		l = Loot{id, tx.GroupState(id)}
		return nil
	})
	return l
}

// Read reads messages with a thief's copy, over this client's network.
func (l Loot) Read(ctx context.Context, t TB, c *Groups) error {
	t.Helper()
	s, err := groups.Unmarshal(l.state)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.request(ctx, l.id, seedKey{s.ReadKey()},
		envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.GroupMail}})
	return err
}

// Try does with a thief's copy what members and admins may do, over this client's network, and returns what
// each met.
func (l Loot) Try(ctx context.Context, t TB, c *Groups) map[string]error {
	t.Helper()
	s, err := groups.Unmarshal(l.state)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]error{}
	do := func(what string, key account.Signer, ops ...envelope.Op) {
		_, _, out[what] = c.request(ctx, l.id, key, ops...)
	}
	for out["read messages"] == nil && ctx.Err() == nil { // a replica may lag behind the commit
		out["read messages"] = l.Read(ctx, t, c)
	}
	write := seedKey{s.WriteKey()}
	blob, err := s.SealSent(rand.Reader, c.core.Net.Now(), c.core.NowMS(), ident.MessageID{1},
		[]byte("forged"))
	if err != nil {
		t.Fatal(err)
	}
	do("write a message", write, envelope.Store{Namespace: envelope.GroupMail, TTL: 600, Body: blob})
	u, err := s.NewLeaf(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	word, err := s.SealUrgentLeaf(rand.Reader, u)
	if err != nil {
		t.Fatal(err)
	}
	do("change the leaf key", write, envelope.Store{Namespace: envelope.GroupLeaves, TTL: 600, Body: word})
	admin, ok := s.AdminKey()
	if !ok {
		return out
	}
	do("read what admins are told", seedKey{admin},
		envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.GroupLeaves}})
	p, err := s.Propose(rand.Reader, c.core.Net.Now(), groups.Change{Kind: groups.KindInfo,
		Info: groups.Info{Name: "stolen"}})
	if err != nil {
		t.Fatal(err)
	}
	do("commit", seedKey{admin}, envelope.Store{Namespace: envelope.GroupLog, Body: p.Commit})
	return out
}

// LoseGroup drops the keys of a group, as a damaged device might.
func (c *Groups) LoseGroup(id ident.GroupID) {
	c.core.Commit(func(tx *store.Tx, _ *core.Batch) error {
		g, err := c.get(tx, id)
		if err != nil {
			return err
		}
		g.state = nil
		c.saveState(tx, g)
		return tx.Err()
	})
}

// Leaf tells the admins of a new leaf key with a thief's copy, over this client's network, in a generation
// that may be the group's now.
func (l Loot) Leaf(ctx context.Context, t TB, c *Groups, generation uint32) error {
	t.Helper()
	s, err := groups.Unmarshal(l.state)
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.NewLeaf(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	word, err := s.SealUrgentLeaf(rand.Reader, u)
	if err != nil {
		t.Fatal(err)
	}
	put := envelope.Store{Namespace: envelope.GroupLeaves, TTL: 600, IfGeneration: &generation, Body: word}
	_, _, err = c.request(ctx, l.id, seedKey{s.WriteKey()}, put)
	return err
}
