package client_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/starling-swarm/starling/client"
)

// TestMadeUpInvitationStopsNoJoin: a stranger who knows the group's ID sends one to somebody who has asked to
// join.
func TestMadeUpInvitationStopsNoJoin(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	mallory, _ := create(t, cluster, "Mallory")
	id := alice.group(t, "walkers").ID
	alice.add(t, id, bob)
	bob.in(t, id, "the invitation", status(client.GroupInvited))
	alice.kill(t)
	ok(t, "accept", bob.Group(id).Accept(patient(t)))
	bob.in(t, id, "no admin", status(client.GroupWaiting))
	ok(t, "forge", mallory.Lab().ForgeInvitation(patient(t), id, bob.id()))
	mallory.send(t, bob.id(), "have you seen it?")
	bob.message(t, "have you seen it?")
	alice.reopen(t)
	bob.in(t, id, "joined", status(client.GroupJoined))
}

// TestRemovalEndsAReturn: another admin removes a member whom this one is about to let in again.
func TestRemovalEndsAReturn(t *testing.T) {
	cluster := shared(t)
	var armed atomic.Bool
	staged, removed := make(chan struct{}), make(chan struct{})
	cfg := config(t, cluster, "alice-1")
	cfg.AtCommit(func(ctx context.Context, at string) {
		if at == "staged" && armed.Swap(false) {
			close(staged)
			select {
			case <-removed:
			case <-ctx.Done():
			}
		}
	})
	alice, _ := createWith(t, cfg, "Alice")
	bob, _ := create(t, cluster, "Bob")
	carol, _ := create(t, cluster, "Carol")
	approve(t, alice, bob)
	approve(t, alice, carol)
	id := alice.group(t, "walkers").ID
	alice.let(t, id, bob)
	alice.let(t, id, carol)
	ok(t, "role", alice.Group(id).SetRole(patient(t), bob.id(), client.RoleAdmin))
	bob.in(t, id, "the role", func(g client.Group) bool { return g.Role == client.RoleAdmin })
	armed.Store(true)
	ok(t, "return", alice.Lab().WantReturn(id, carol.id()))
	select {
	case <-staged:
	case <-patient(t).Done():
		t.Fatal("no attempt to let her in again")
	}
	ok(t, "remove", bob.Group(id).Remove(patient(t), carol.id()))
	close(removed)
	ok(t, "another change", alice.Group(id).Rekey(patient(t)))
	g, err := alice.Group(id).Get(t.Context())
	ok(t, "group", err)
	if isMember(carol.id())(g) {
		t.Error("who was removed is a member again")
	}
}
