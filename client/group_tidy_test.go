package client_test

import (
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
)

func TestLeftoversOfGroupsGo(t *testing.T) {
	cluster := shared(t)
	var k clock
	alice, _ := create(t, cluster, "Alice")
	bob, _ := createWith(t, k.config(t, cluster, "bob-1"), "Bob")
	carol, _ := create(t, cluster, "Carol")
	offered := alice.group(t, "no, thanks").ID
	alice.add(t, offered, bob)
	bob.in(t, offered, "invited", status(client.GroupInvited))
	ok(t, "decline", bob.Group(offered).Decline(patient(t)))
	if _, kept := bob.Lab().GroupLeftovers(offered); !kept {
		t.Error("the invitation is gone: it would count as new when it comes again")
	}
	own := bob.group(t, "own").ID
	ok(t, "note", bob.Lab().NoteReturn(own, carol.id()))
	bob.stop()
	k.pass(15 * day)
	bob = bob.reopen(t)
	ctx := patient(t)
	for {
		_, invitation := bob.Lab().GroupLeftovers(offered)
		back, _ := bob.Lab().GroupLeftovers(own)
		if !invitation && back == 0 {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("an invitation that was declined and is over is kept: %t; returns that nobody waits "+
				"for: %d, want none", invitation, back)
		}
	}
}
