package client_test

import (
	"testing"

	"github.com/starling-swarm/starling/client"
)

// TestDocumentsMoveToTheNewKeyAfterRevocation: what a revoked device could open is written anew under a key
// it never had.
func TestDocumentsMoveToTheNewKeyAfterRevocation(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	alice3 := link(t, cluster, alice1, words, "alice-3")
	ctx := patient(t)
	_, err := alice1.AddContact(ctx, bob.id(), "bob")
	must(t, err)
	same(t, alice1, alice2, alice3)
	must(t, alice1.Device(alice3.Account().Device).Revoke(ctx))
	alice3.next(t, "revocation", func(e client.Event) bool {
		return e.Kind == client.EventDevice &&
			e.Device.Kind == "revoked"
	})
	must(t, alice2.SyncToHeads(ctx))
	for range 3 { // two devices that write at once: one of them looks again
		for _, d := range []*device{alice1, alice2} {
			must(t, d.Round(ctx))
		}
	}
	for _, d := range []*device{alice1, alice2} {
		if lies, key := d.DocumentKeys(); key < 2 || lies != key {
			t.Errorf("documents lie under the key of generation %d, the newest is of %d", lies, key)
		}
	}
	must(t, alice2.Contact(bob.id()).SetNick(ctx, "bobby"))
	alice1.until(t, "petname", func() bool { return alice1.contact(t, bob.id()).Nick == "bobby" })
	same(t, alice1, alice2)
	alice4 := link(t, cluster, alice2, words, "alice-4")
	if got := alice4.contact(t, bob.id()); got.Nick != "bobby" || !got.Approved {
		t.Errorf("contact on a device linked after it: got %+v, want bobby", got)
	}
	if got := alice3.contact(t, bob.id()).Nick; got != "bob" {
		t.Errorf("petname on the revoked device: got %q, want what it knew", got)
	}
}
