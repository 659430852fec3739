package client

import (
	"context"
	"crypto/rand"
	"math"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	bodyv1 "github.com/starling-swarm/starling/proto/starling/body/v1"
)

// Timer makes messages disappear. The zero Timer does not.
type Timer struct {
	After     time.Duration // whole seconds
	AfterRead bool          // the time runs from when a message is read, not from when it was sent
}

func (t Timer) body() *bodyv1.Timer {
	switch {
	case t.After <= 0:
		return &bodyv1.Timer{Mode: bodyv1.Timer_MODE_OFF}
	case t.AfterRead:
		return &bodyv1.Timer{Mode: bodyv1.Timer_MODE_AFTER_READ, Seconds: uint32(t.After / time.Second)}
	}
	return &bodyv1.Timer{Mode: bodyv1.Timer_MODE_AFTER_SEND, Seconds: uint32(t.After / time.Second)}
}

func (t Timer) check() error {
	if t.After < 0 || t.After > devicesync.MaxTimer*time.Second || t.After > 0 && t.After < time.Second {
		return fault.New(fault.Invalid, "set timer", "%s, want a second to %d days", t.After, devicesync.MaxTimer/86_400)
	}
	return nil
}

// timerOf returns the timer of the conversation with an account.
func (c *Client) timerOf(peer ident.AccountID) Timer {
	t := devicesync.UnpackTimer(c.docs.Number(devicesync.ContactTimer, string(peer[:])))
	return Timer{After: time.Duration(t.Seconds) * time.Second, AfterRead: t.Mode == devicesync.TimerAfterRead}
}

// SetTimer sets the timer of a conversation, for everybody in it: messages from now on carry it. In a group admins do, and
// the time runs from when a message was sent. Errors: Invalid (limits), Denied (no admin).
func (c *Client) SetTimer(ctx context.Context, to ident.Peer, t Timer) error {
	if err := c.checkWrite("set timer", to); err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return err
	}
	if id, ok := to.(ident.GroupID); ok {
		return c.GroupSetInfo(ctx, id, GroupInfo{Timer: &t})
	}
	peer := ident.AccountID(to.Key())
	a := c.newApplied()
	err := c.update(func(tx *store.Tx) error {
		body := &bodyv1.Body{Kind: &bodyv1.Body_Timer{Timer: t.body()}}
		s := said{by: c.me, conversation: peer.String(), stamp: store.Stamp{At: c.nowMS()}}
		if last := devicesync.UnpackTimer(c.docs.Number(devicesync.ContactTimer, string(peer[:]))); int64(last.SetAt)*1000 >= s.stamp.At-999 {
			s.stamp.At = (int64(last.SetAt) + 1) * 1000 // later than the one in force
		}
		rand.Read(s.stamp.Change[:])
		if _, err := c.queueChange(tx, peer, s.stamp, body); err != nil {
			return err
		}
		a.timer(tx, s, body.GetTimer())
		return c.saveDocuments(tx)
	})
	if err != nil {
		return err
	}
	a.kick = append(a.kick, peer, c.me)
	a.publish()
	return nil
}

// timer takes in a timer that either side set. Every device sees the message that sets it, and the largest number counts.
func (a *applied) timer(tx *store.Tx, s said, t *bodyv1.Timer) {
	peer, err := ident.ParseAccountID(s.conversation)
	if err != nil {
		return
	}
	if s.by != a.c.me {
		if p, err := a.c.person(tx, peer); err != nil || !p.Approved {
			return
		}
	}
	if s.stamp.At < 0 || s.stamp.At/1000 > math.MaxUint32 {
		return
	}
	v := devicesync.Timer{SetAt: uint32(s.stamp.At / 1000), Seconds: t.GetSeconds()}
	switch t.GetMode() {
	case bodyv1.Timer_MODE_AFTER_SEND:
		v.Mode = devicesync.TimerAfterSend
	case bodyv1.Timer_MODE_AFTER_READ:
		v.Mode = devicesync.TimerAfterRead
	default:
		v.Seconds = 0
	}
	if v.Seconds > devicesync.MaxTimer || a.c.docs.Raise(devicesync.ContactTimer, string(peer[:]), v.Pack()) != nil {
		return
	}
	if a.c.saveDocuments(tx) == nil {
		a.kick = append(a.kick, a.c.me)
		a.conversationChanged(s.conversation)
	}
}

// expireOf is the timer that a new message to an account carries.
func (c *Client) expireOf(peer ident.AccountID, own *Timer) *bodyv1.Timer {
	t := c.timerOf(peer)
	if own != nil {
		t = *own
	}
	if t.After <= 0 {
		return nil
	}
	return t.body()
}

// setExpiry says when m disappears. It returns false if that is over.
func (c *Client) setExpiry(m *store.Message, t *bodyv1.Timer, now int64) bool {
	if t == nil || t.GetSeconds() == 0 || t.GetSeconds() > devicesync.MaxTimer {
		return true
	}
	switch {
	case t.GetMode() == bodyv1.Timer_MODE_AFTER_SEND, t.GetMode() == bodyv1.Timer_MODE_AFTER_READ && m.Mine:
		m.ExpiresAt = m.SentAt + 1000*int64(t.GetSeconds())
	case t.GetMode() == bodyv1.Timer_MODE_AFTER_READ:
		m.ExpireAfter = t.GetSeconds()
		if c.readUpTo(m.Conversation) >= m.MailboxSeq {
			m.ExpiresAt = now + 1000*int64(m.ExpireAfter)
		}
	}
	return m.ExpiresAt == 0 || m.ExpiresAt > now
}

// expireLoop removes messages when their time is over.
func (c *Client) expireLoop(ctx context.Context) error {
	for {
		changed := c.timed.watch()
		next, err := c.removeExpired()
		if err != nil {
			return err
		}
		if next == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		t := time.NewTimer(time.Duration(max(next-c.nowMS(), 1)) * time.Millisecond)
		select {
		case <-t.C:
		case <-changed:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// removeExpired removes what is over and returns when the next message disappears, 0 if none does.
func (c *Client) removeExpired() (next int64, err error) {
	a := c.newApplied()
	now := a.now.UnixMilli()
	due := false
	err = c.p.db.View(func(tx *store.Tx) error {
		next = tx.NextExpiry()
		due = next != 0 && next <= now
		return nil
	})
	if err != nil || !due {
		return next, err
	}
	err = c.update(func(tx *store.Tx) error {
		for _, m := range tx.Expired(now) {
			tx.RemoveMessage(&m)
			m.Deleted, m.Text, m.Body = true, "", nil
			a.updated(tx, m)
		}
		next = tx.NextExpiry()
		return nil
	})
	if err == nil {
		c.bus.publish(a.events...)
	}
	return next, err
}

// timerOfSeconds is a timer that runs from when a message was sent.
func timerOfSeconds(n uint32) Timer { return Timer{After: time.Duration(n) * time.Second} }
