package ident_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestPeersRoundTrip(t *testing.T) {
	rest := strings.Repeat("ab", 32)
	for _, want := range []ident.Peer{ident.AccountID{0: ident.AccountType, 32: 7},
		ident.GroupID{0: ident.GroupType, 1: 9}} {
		got, err := ident.ParsePeer(want.String())
		if err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
		if back, ok := ident.PeerOf(want.Key()); !ok || back != want {
			t.Errorf("got %v from its bytes, want %v", back, want)
		}
	}
	for _, s := range []string{"", "05", "04" + rest, "05" + rest[2:], "05" + rest[2:] + "zz"} {
		if p, err := ident.ParsePeer(s); !errors.Is(err, fault.Invalid) {
			t.Errorf("got %v, %v of %q, want Invalid", p, err, s)
		}
	}
}
