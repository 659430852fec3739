package client

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/starling-swarm/starling/client/internal/closed"
	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Timer makes messages disappear. The zero Timer does not.
type Timer struct {
	After     time.Duration // whole seconds
	AfterRead bool          // the time runs from when a message is read, not from when it was sent
}

// SetTimer sets the timer of a conversation, for everybody in it: messages from now on carry it. In a group
// admins do, and the time runs from when a message was sent. Errors: Invalid (limits), Denied (no admin).
func (h ConversationHandle) SetTimer(ctx context.Context, timer Timer) error {
	c, to := h.c, h.peer
	t := conv.Timer(timer)
	if err := c.checkWrite("set timer", to); err != nil {
		return err
	}
	if err := t.Check(); err != nil {
		return err
	}
	if id, ok := to.(ident.GroupID); ok {
		return c.groups.SetInfo(ctx, id, closed.Info{Timer: &t})
	}
	peer := ident.AccountID(to.Key())
	return c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		body := &bodyv1.Body{Kind: &bodyv1.Body_Timer{Timer: t.Body()}}
		s := conv.Said{By: c.core.Me, Conversation: peer.String(), Stamp: store.Stamp{At: c.core.NowMS()}}
		if last := devicesync.UnpackTimer(c.core.Docs.Number(devicesync.ContactTimer,
			string(peer[:]))); int64(last.SetAt)*1000 >= s.Stamp.At-999 {
			s.Stamp.At = (int64(last.SetAt) + 1) * 1000 // later than the one in force
		}
		rand.Read(s.Stamp.Change[:])
		a.Kick(peer, c.core.Me)
		if _, err := c.queueChange(tx, peer, s.Stamp, body); err != nil {
			return err
		}
		c.rows.Timer(tx, a, s, body.GetTimer())
		return c.core.SaveDocuments(tx)
	})
}
