package closed

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Spam is a message that waits to be stored, with the key to store it with.
type Spam struct {
	group ident.GroupID
	key   seedKey
	put   envelope.Store
}

// Spam seals a message of the own account.
func (c *Groups) Spam(t TB, id ident.GroupID) (s Spam) {
	t.Helper()
	err := c.core.View(func(tx *store.Tx) error {
		out, err := c.sealGroup(tx, id, outgoing{ID: ident.MessageID{byte(c.core.NowMS())},
			SentAt: c.core.NowMS(), Body: []byte("spam")})
		s = Spam{id, out.Write.(seedKey), envelope.Store{Namespace: envelope.GroupMail, TTL: 600,
			IfGeneration: &out.Generation, Body: out.Blob}}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Store stores it over a client's network.
func (s Spam) Store(ctx context.Context, c *Groups) error {
	_, _, err := c.request(ctx, s.group, s.key, s.put)
	return err
}

// Pretend is Store of other bytes, with a generation that may be the group's now.
func (s Spam) Pretend(ctx context.Context, c *Groups, generation uint32) error {
	s.put.IfGeneration = &generation
	s.put.Body = append(slices.Clone(s.put.Body), rand.Text()...)
	return s.Store(ctx, c)
}

// LinkInvitation returns what a link leads to.
func (c *Groups) LinkInvitation(ctx context.Context, text string) ([]byte, error) {
	link, err := groups.ParseLink(text)
	if err != nil {
		return nil, err
	}
	_, raw, err := c.fetchLink(ctx, link)
	return raw, err
}

// JoinWith joins with what a link led to once.
func (c *Groups) JoinWith(ctx context.Context, invitation []byte) (View, error) {
	in, err := groups.DecodeInvitation(invitation)
	if err != nil {
		return View{}, err
	}
	return c.joinBy(ctx, in, invitation)
}

// JoinWithRubbish stores a join that no member can read, and returns what its key lets store.
func (c *Groups) JoinWithRubbish(ctx context.Context, t TB, invitation []byte) Spam {
	t.Helper()
	w, k, keys := c.knockAs(t, invitation, c.core.Me)
	in := k.in
	generation, err := w.storeRubbish(ctx, k)
	for ; errors.Is(err, fault.Stale) ||
		errors.Is(err, fault.Unavailable); generation, err = w.storeRubbish(ctx, k) {
		// a replica may lag
		k.head = max(k.head, core.HeadOf(err))
	}
	if err != nil {
		t.Fatal(err)
	}
	s := Spam{group: in.Group, key: seedKey{private.KeyOf([32]byte(keys.Marshal()[1:33]))}}
	s.put = envelope.Store{Namespace: envelope.GroupMail, TTL: 600, IfGeneration: &generation,
		Body: []byte("spam")}
	return s
}

// knockAs prepares a join by an invitation under an ID, with keys that were drawn for it.
func (c *Groups) knockAs(t TB, invitation []byte, as ident.AccountID) (*worker, *knock, *groups.Keys) {
	t.Helper()
	in, err := groups.DecodeInvitation(invitation)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := groups.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{c: c, id: in.Group}
	if w.mailbox, err = account.GroupMailboxOf(in.Group, c.core.Cluster.ID); err != nil {
		t.Fatal(err)
	}
	return w, &knock{door: new(door), in: in, ticket: in.DoorTicket(as, keys)}, keys
}

func (w *worker) storeRubbish(ctx context.Context, k *knock) (generation uint32, err error) {
	if err := w.readDoor(ctx, k); err != nil {
		return 0, err
	}
	left := k.slots()
	slot, generation, err := w.nextDoorSlot(ctx, k, &left)
	if err != nil {
		return 0, err
	}
	p, write, err := k.shared.Join(rand.Reader, w.c.core.Net.Now(), w.c.core.Cluster.ID, k.ticket, k.in, nil,
		bodies(k.log), slot)
	if err != nil {
		return 0, err
	}
	commit, err := envelope.DecodeCommit(p.Commit)
	if err != nil {
		return 0, err
	}
	rand.Read(commit.Body)
	commit.Signature = write.Signing().Sign(commit.SignedBytes(w.mailbox))
	head := k.log[len(k.log)-1].Seq
	put := envelope.Store{Namespace: envelope.GroupLog, IfHead: &head, Body: commit.Encode()}
	_, _, err = w.c.request(ctx, w.id, seedKey{write}, append([]envelope.Op{put}, p.Ops...)...)
	return generation, err
}

// IsNoKey reports whether an error says that a key may do nothing any more.
func IsNoKey(err error) bool {
	k := fault.KindOf(err)
	return k == fault.Stale || k == fault.Denied
}
