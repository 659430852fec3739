package closed

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// SayAhead writes to a group as if a commit were in its log that no node has.
func (c *Groups) SayAhead(ctx context.Context, t TB, id ident.GroupID, commit []byte, text string) {
	t.Helper()
	var s *groups.State
	err := c.core.View(func(tx *store.Tx) error {
		g, err := c.get(tx, id)
		if err == nil {
			s = g.state.Clone()
		}
		return err
	})
	if err == nil {
		err = s.Apply(c.core.Net.Now(), commit, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_Text{Text: &bodyv1.Text{Text: text}}})
	if err != nil {
		t.Fatal(err)
	}
	var mid ident.MessageID
	cryptoRand.Read(mid[:])
	blob, err := s.Seal(cryptoRand, c.core.Net.Now(), mid, body)
	if err != nil {
		t.Fatal(err)
	}
	put := envelope.Store{Namespace: envelope.GroupMail, TTL: mailTTL, Body: blob}
	if _, _, err := c.request(ctx, id, seedKey{s.WriteKey()}, put); err != nil {
		t.Fatal(err)
	}
}

// Doubted counts the members of a group that were found at fault.
func (c *Groups) Doubted(id ident.GroupID) (n int) {
	c.core.View(func(tx *store.Tx) error {
		for _, e := range tx.GroupErrands() {
			if e.Group == id && strings.HasPrefix(e.Kind, errandDoubted) {
				n++
			}
		}
		return nil
	})
	return n
}
