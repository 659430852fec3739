package closed

import (
	"context"
	"crypto/rand"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// JoinAs comes in with a link under the ID of another account, with a credential that is forged, and writes a
// message.
func (c *Groups) JoinAs(ctx context.Context, t TB, text string, as ident.AccountID, generation uint32) {
	t.Helper()
	invitation, err := c.LinkInvitation(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	w, k, keys := c.knockAs(t, invitation, as)
	s, err := w.joinAs(ctx, k, as, keys, generation)
	for ; errors.Is(err, fault.Stale) || errors.Is(err, fault.Unavailable); s, err = w.joinAs(ctx, k, as,
		keys, generation) {
		// a replica may lag
		k.head = max(k.head, core.HeadOf(err))
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_Text{Text: &bodyv1.Text{Text: "it is me"}}})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := s.SealSent(rand.Reader, c.core.Net.Now(), c.core.NowMS(), ident.MessageID{9}, body)
	if err != nil {
		t.Fatal(err)
	}
	g := s.Generation()
	_, _, err = c.request(ctx, k.in.Group, seedKey{s.WriteKey()},
		envelope.Store{Namespace: envelope.GroupMail, TTL: 600, IfGeneration: &g, Body: blob})
	if err != nil && !errors.Is(err, fault.Stale) { // removed already
		t.Fatal(err)
	}
}

func (w *worker) joinAs(ctx context.Context, k *knock, as ident.AccountID, keys *groups.Keys,
	generation uint32) (*groups.State, error) {
	if err := w.readDoor(ctx, k); err != nil {
		return nil, err
	}
	left := k.slots()
	slot, _, err := w.nextDoorSlot(ctx, k, &left)
	if err != nil {
		return nil, err
	}
	credential, err := w.c.groupCredential(w.id, keys.SignPublic())
	if err != nil {
		return nil, err
	}
	credential[4] += byte(generation) // of the account's generation that it names
	p, write, err := k.shared.Join(rand.Reader, w.c.core.Net.Now(), w.c.core.Cluster.ID, k.ticket, k.in,
		credential, bodies(k.log), slot)
	if err != nil {
		return nil, err
	}
	head := k.log[len(k.log)-1].Seq
	put := envelope.Store{Namespace: envelope.GroupLog, IfHead: &head, Body: p.Commit}
	if _, _, err := w.c.request(ctx, w.id, seedKey{write}, append([]envelope.Op{put},
		p.Ops...)...); err != nil {
		return nil, err
	}
	return groups.Enter(w.c.core.Net.Now(), w.c.core.Cluster.ID, k.ticket, k.in,
		append(bodies(k.log), p.Commit), slot)
}
