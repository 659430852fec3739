package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/testuser"
	"github.com/starling-swarm/starling/internal/ident"
)

// lostAfter is how long the demo waits for messages that were acknowledged; those that have not come by then
// count as lost.
const lostAfter = 20 * time.Second

// leave ends a user in order; what came to it twice still counts.
func (s *story) leave(u *testuser.User) {
	u.Leave()
	s.doubled += u.Arrived.Doubled()
}

// allDoubled counts the messages that came twice to anybody.
func (s *story) allDoubled() int {
	n := s.doubled
	for _, u := range []*testuser.User{s.phone, s.laptop, s.tablet, s.bob, s.carol} {
		if u != nil {
			n += u.Arrived.Doubled()
		}
	}
	return n
}

// arrived waits until all messages have come to a user, at most for lostAfter, and counts those that have not
// as lost. It returns when each came.
func (s *story) arrived(u *testuser.User,
	ids []ident.MessageID) (at map[ident.MessageID]time.Time, lost int, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, lostAfter)
	defer cancel()
	at = map[ident.MessageID]time.Time{}
	for _, id := range ids {
		t, err := u.Arrived.Await(ctx, id)
		switch {
		case err == nil:
			at[id] = t
		case s.ctx.Err() != nil: // nobody waits any more, which says nothing of the message
			return nil, 0, s.ctx.Err()
		default:
			lost++
		}
	}
	s.lost += lost
	return at, lost, nil
}

// crash kills a node that carries the conversation while messages are under way, and counts what arrives.
func (s *story) crash() (err error) {
	s.title("A node dies")
	var ids []ident.MessageID
	queued := map[ident.MessageID]time.Time{}
	for i := range burstMessages {
		sent, err := s.phone.Send(s.ctx, s.bob.Account().ID,
			client.Outgoing{Text: fmt.Sprintf("burst %d", i+1)})
		if err != nil {
			return err
		}
		ids = append(ids, sent.ID)
		queued[sent.ID] = time.Now()
		if i != burstMessages/4 {
			continue
		}
		r, err := s.phone.Wait(s.ctx, sent.ID, client.StateStored)
		if err != nil {
			return err
		}
		victim, _ := s.cluster.Index(r.Path[1])
		t := time.Now()
		if err := s.cluster.Crash(victim); err != nil {
			return err
		}
		s.line("crash", time.Since(t),
			"n%d, the middle of Alice's path, is killed while she sends %d messages",
			victim+1, burstMessages)
		defer func() {
			if err == nil {
				err = s.restart(victim)
			}
		}()
	}
	acknowledged := 0
	for _, id := range ids {
		if _, err := s.phone.Wait(s.ctx, id, client.StateStored); err != nil {
			return fmt.Errorf("message %s was not stored: %w", id.Short(), err)
		}
		acknowledged++
	}
	came, lost, err := s.arrived(s.bob, ids)
	if err != nil {
		return err
	}
	var slowest time.Duration
	for id, at := range came {
		slowest = max(slowest, at.Sub(queued[id]))
	}
	s.figure("longest wait while a node dies", slowest)
	s.line("count", slowest, "%d sent, %d acknowledged, %d at Bob's, %d lost, %d doubled; the slowest took",
		burstMessages, acknowledged, len(came), lost, s.bob.Arrived.Doubled())
	return nil
}

// restart brings a killed node back.
func (s *story) restart(i int) error {
	t := time.Now()
	if err := s.cluster.Restart(s.ctx, i); err != nil {
		return err
	}
	s.line("restart", time.Since(t), "n%d is back from its disk, and catches up", i+1)
	return nil
}

// countCopies counts what Alice's laptop has of the conversation, most of it copies of what her phone sent.
func (s *story) countCopies() error {
	t := time.Now()
	sent, err := s.phone.Messages(s.ctx, client.Filter{Conversation: s.bob.Account().ID.String()})
	if err != nil {
		return err
	}
	var ids []ident.MessageID
	for _, m := range sent {
		ids = append(ids, m.ID)
	}
	came, lost, err := s.arrived(s.laptop, ids)
	if err != nil {
		return err
	}
	there := fmt.Sprintf("all %d", len(ids))
	if lost > 0 {
		there = fmt.Sprintf("%d of %d", len(came), len(ids))
	}
	s.line("copies", time.Since(t), "laptop: %s messages of the conversation, %d lost, %d doubled", there,
		lost,
		s.laptop.Arrived.Doubled())
	return nil
}
