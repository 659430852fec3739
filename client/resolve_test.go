package client

import (
	"errors"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestNamesOfPeersAndGroups(t *testing.T) {
	alice, bob, climbers, cooks := ident.AccountID{0: 5, 1: 1}, ident.AccountID{0: 5,
		1: 2}, ident.GroupID{0: 3, 1: 1}, ident.GroupID{0: 3, 1: 2}
	all := []namedPeer{
		{alice, []string{"Al", "Alice"}}, {bob, []string{"", "Bob"}}, {climbers,
			[]string{"Climbers"}}, {cooks, []string{"Bob's kitchen"}},
	}
	for _, c := range []struct {
		name string
		want ident.Peer
		kind fault.Kind
	}{
		{"al", alice, 0}, {"ALICE", alice, 0}, {"bob", bob, 0}, {"climb", climbers, 0}, {"bob's", cooks, 0},
		{"b", nil, fault.Invalid}, {"", nil, fault.NotFound}, {"dora", nil, fault.NotFound}, {"bo",
			nil, fault.Invalid},
	} {
		got, err := pick(c.name, all, "conversation")
		if got != c.want || err != nil && !errors.Is(err, c.kind) || (err == nil) != (c.want != nil) {
			t.Errorf("%q: got %v, %v, want %v, %v", c.name, got, err, c.want, c.kind)
		}
	}
}
