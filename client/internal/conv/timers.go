package conv

import (
	"context"
	"math"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
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

// Body is the timer as a body carries it.
func (t Timer) Body() *bodyv1.Timer {
	switch {
	case t.After <= 0:
		return &bodyv1.Timer{Mode: bodyv1.Timer_MODE_OFF}
	case t.AfterRead:
		return &bodyv1.Timer{Mode: bodyv1.Timer_MODE_AFTER_READ, Seconds: uint32(t.After / time.Second)}
	}
	return &bodyv1.Timer{Mode: bodyv1.Timer_MODE_AFTER_SEND, Seconds: uint32(t.After / time.Second)}
}

// Check says whether a timer is within its limits. Errors: Invalid.
func (t Timer) Check() error {
	if t.After < 0 || t.After > devicesync.MaxTimer*time.Second || t.After > 0 && t.After < time.Second {
		return fault.New(fault.Invalid, "set timer", "%s, want a second to %d days", t.After,
			devicesync.MaxTimer/86_400)
	}
	return nil
}

// TimerOf returns the timer of the conversation with an account.
func (c *Rows) TimerOf(peer ident.AccountID) Timer {
	t := devicesync.UnpackTimer(c.core.Docs.Number(devicesync.ContactTimer, string(peer[:])))
	return Timer{After: time.Duration(t.Seconds) * time.Second,
		AfterRead: t.Mode == devicesync.TimerAfterRead}
}

// Timer takes in a timer that either side set. Every device sees the message that sets it, and the largest
// number counts.
func (c *Rows) Timer(tx *store.Tx, a *core.Batch, s Said, t *bodyv1.Timer) {
	peer, err := ident.ParseAccountID(s.Conversation)
	if err != nil {
		return
	}
	if s.By != c.core.Me {
		if p, err := c.people.Get(tx, peer); err != nil || !p.Approved {
			return
		}
	}
	if s.Stamp.At < 0 || s.Stamp.At/1000 > math.MaxUint32 {
		return
	}
	v := devicesync.Timer{SetAt: uint32(s.Stamp.At / 1000), Seconds: t.GetSeconds()}
	switch t.GetMode() {
	case bodyv1.Timer_MODE_AFTER_SEND:
		v.Mode = devicesync.TimerAfterSend
	case bodyv1.Timer_MODE_AFTER_READ:
		v.Mode = devicesync.TimerAfterRead
	default:
		v.Seconds = 0
	}
	if v.Seconds > devicesync.MaxTimer || c.core.Docs.Raise(devicesync.ContactTimer, string(peer[:]),
		v.Pack()) != nil {
		return
	}
	if c.core.SaveDocuments(tx) == nil {
		c.ConversationChanged(a, s.Conversation)
	}
}

// ExpireOf is the timer that a new message to an account carries.
func (c *Rows) ExpireOf(peer ident.AccountID, own *Timer) *bodyv1.Timer {
	t := c.TimerOf(peer)
	if own != nil {
		t = *own
	}
	if t.After <= 0 {
		return nil
	}
	return t.Body()
}

// SetExpiry says when m disappears. It returns false if that is over.
func (c *Rows) SetExpiry(m *store.Message, t *bodyv1.Timer, now int64) bool {
	if t == nil || t.GetSeconds() == 0 || t.GetSeconds() > devicesync.MaxTimer {
		return true
	}
	switch {
	case t.GetMode() == bodyv1.Timer_MODE_AFTER_SEND, t.GetMode() == bodyv1.Timer_MODE_AFTER_READ && m.Mine:
		m.ExpiresAt = m.SentAt + 1000*int64(t.GetSeconds())
	case t.GetMode() == bodyv1.Timer_MODE_AFTER_READ:
		m.ExpireAfter = t.GetSeconds()
		if c.ReadUpTo(m.Conversation) >= m.MailboxSeq {
			m.ExpiresAt = now + 1000*int64(m.ExpireAfter)
		}
	}
	return m.ExpiresAt == 0 || m.ExpiresAt > now
}

// ExpireLoop removes messages when their time is over.
func (c *Rows) ExpireLoop(ctx context.Context) error {
	for {
		changed := c.Timed.Watch()
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
		t := time.NewTimer(time.Duration(max(next-c.core.NowMS(), 1)) * time.Millisecond)
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
func (c *Rows) removeExpired() (next int64, err error) {
	now := c.core.NowMS()
	due := false
	err = c.core.View(func(tx *store.Tx) error {
		next = tx.NextExpiry()
		due = next != 0 && next <= now
		return nil
	})
	if err != nil || !due {
		return next, err
	}
	err = c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		for _, m := range tx.Expired(now) {
			tx.RemoveMessage(&m)
			m.Deleted, m.Text, m.Body = true, "", nil
			c.Updated(tx, a, m)
		}
		next = tx.NextExpiry()
		return nil
	})
	return next, err
}

// TimerOfSeconds is a timer that runs from when a message was sent.
func TimerOfSeconds(n uint32) Timer { return Timer{After: time.Duration(n) * time.Second} }
