package account

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

func TestGroupMailboxIsThatOfItsKeyAndOfNoAccount(t *testing.T) {
	seed := [32]byte{7}
	pub := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	group := ident.GroupID{ident.GroupType}
	copy(group[1:], pub)
	k := GroupMailboxKey(private.KeyOf(seed), testCluster)
	m, err := GroupMailboxOf(group, testCluster)
	if err != nil || k.Public() != [32]byte(m) {
		t.Fatalf("got mailbox %v, %v, want the public half %x", m, err, k.Public())
	}
	sig := k.Sign([]byte("genesis"))
	if !ed25519.Verify(m[:], []byte("genesis"), sig[:]) {
		t.Error("a signature of the group's mailbox key does not verify")
	}
	if other, err := MailboxOf(ident.AccountIDOf(pub), testCluster); err != nil || other == m {
		t.Errorf("an account with the same key: got %v, %v, want another mailbox", other, err)
	}
	for name, id := range map[string]ident.GroupID{"an account": ident.GroupID(ident.AccountIDOf(pub)),
		"no point of prime order": {ident.GroupType}} {
		if _, err := GroupMailboxOf(id, testCluster); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: got %v, want not found", name, err)
		}
	}
}
