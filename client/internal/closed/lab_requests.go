package closed

import (
	"context"
	"crypto/ed25519"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// ForgeRequests asks n times to join by a link, each time for an account that does not exist.
func (c *Groups) ForgeRequests(ctx context.Context, t TB, text string, n int) {
	t.Helper()
	link, err := groups.ParseLink(text)
	if err != nil {
		t.Fatal(err)
	}
	in, _, err := c.fetchLink(ctx, link)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		pub, _, err := ed25519.GenerateKey(cryptoRand)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := groups.NewKeys(cryptoRand)
		if err != nil {
			t.Fatal(err)
		}
		credential, err := c.groupCredential(in.Group, keys.SignPublic())
		if err != nil {
			t.Fatal(err)
		}
		nobody := c.core.Me
		copy(nobody[1:], pub)
		request, err := in.Request(nobody, keys, credential)
		if err != nil {
			t.Fatal(err)
		}
		put := envelope.Store{Namespace: envelope.GroupAsk, TTL: requestTTL, Body: request}
		if _, _, err := c.request(ctx, in.Group, seedKey{in.RequestSigner()}, put); err != nil {
			t.Fatal(err)
		}
	}
}

// AskWithUsedKeys asks n times to join by a link, with a signing key that the nodes let nobody have: that of
// the invitation.
func (c *Groups) AskWithUsedKeys(ctx context.Context, t TB, text string, n int) {
	t.Helper()
	link, err := groups.ParseLink(text)
	if err != nil {
		t.Fatal(err)
	}
	in, _, err := c.fetchLink(ctx, link)
	if err != nil {
		t.Fatal(err)
	}
	used := in.RequestSigner()
	for range n {
		keys, err := groups.NewKeys(cryptoRand)
		if err != nil {
			t.Fatal(err)
		}
		b := keys.Marshal()
		plain := used.Reveal()
		copy(b[1:], plain[:])
		if keys, err = groups.UnmarshalKeys(b); err != nil {
			t.Fatal(err)
		}
		credential, err := c.groupCredential(in.Group, keys.SignPublic())
		if err != nil {
			t.Fatal(err)
		}
		request, err := in.Request(c.core.Me, keys, credential)
		if err != nil {
			t.Fatal(err)
		}
		put := envelope.Store{Namespace: envelope.GroupAsk, TTL: requestTTL, Body: request}
		if _, _, err := c.request(ctx, in.Group, seedKey{used}, put); err != nil {
			t.Fatal(err)
		}
	}
}

// GroupRequests counts the requests to join that a group's nodes have, and those that this device keeps.
func (c *Groups) GroupRequests(ctx context.Context, t TB, id ident.GroupID) (nodes, here int) {
	t.Helper()
	var key seedKey
	err := c.core.View(func(tx *store.Tx) error {
		g, err := c.get(tx, id)
		if err == nil {
			seed, _ := g.state.AdminKey()
			key, here = seedKey{seed}, len(tx.GroupAsks(id))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, _, err := c.request(ctx, id, key, envelope.DeleteBefore{Namespace: envelope.GroupNotice},
		envelope.Retrieve{Namespaces: []envelope.Namespace{envelope.GroupAsk}})
	if err != nil {
		t.Fatal(err)
	}
	return len(resp.Results[1].Envelopes), here
}

// KickGroup makes a group's worker look at it.
func (c *Groups) KickGroup(id ident.GroupID) { c.kick(id) }
