package client

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Seed gives the account contacts, and conversations with the first of them, as if they had been there for
// long. Half of the messages are our own; text is theirs, between a few words and a few lines.
func (c *Client) Seed(contacts, conversations, messages int) error {
	now := c.core.NowMS()
	ids := make([]ident.AccountID, contacts)
	for i := range ids {
		var entropy [32]byte
		rand.Read(entropy[:])
		root := account.NewRoot(private.KeyOf(entropy))
		ids[i] = root.ID()
		root.Wipe()
	}
	if err := c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		for i, id := range ids {
			p, err := c.people.Get(tx, id)
			if err != nil {
				return err
			}
			p.Name, p.NameAt = fmt.Sprintf("Contact %d", i), now
			if _, err := c.people.Approve(tx, &p, now); err != nil {
				return err
			}
			c.people.Save(tx, p)
		}
		return nil
	}); err != nil {
		return err
	}
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		for i := range messages {
			peer := ids[i%conversations]
			text := fmt.Sprintf("message %d: %s", i,
				"the quick brown fox jumps over the lazy dog, and then some more of it happens here and there"[:20+i*7%70])
			body, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_Text{Text: &bodyv1.Text{Text: text}}})
			if err != nil {
				return err
			}
			at := now - int64(messages-i)*time.Minute.Milliseconds()
			m := store.Message{Sender: peer, Conversation: peer.String(), Text: text, Body: body, SentAt: at,
				ReceivedAt: at, HandedOut: true}
			rand.Read(m.ID[:])
			if i%2 == 0 {
				m.Sender, m.Mine, m.State, m.StoredAt, m.DeliveredAt = c.core.Me, true, store.StateDelivered,
					at, at
			} else {
				m.MailboxSeq = uint64(i)
			}
			tx.AddMessage(&m)
		}
		return tx.Err()
	})
}

// Grow replaces the text of every message by one of n bytes.
func (c *Client) Grow(n int) error {
	text := strings.Repeat("x", n)
	body, err := proto.Marshal(&bodyv1.Body{Kind: &bodyv1.Body_Text{Text: &bodyv1.Text{Text: text}}})
	if err != nil {
		return err
	}
	return c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		all, err := tx.Messages(store.Query{})
		for _, m := range all {
			tx.SetText(m.Seq, text, body)
		}
		return err
	})
}
