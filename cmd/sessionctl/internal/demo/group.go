package demo

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/testuser"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/view"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

const groupName = "climbers"

// group has Carol come to a public group of Alice's by its link, and Bob removed from it while his device is
// off.
func (s *story) group() error {
	s.title("A group, and a link to it")
	id, err := s.makeGroup()
	if err != nil {
		return err
	}
	link, err := s.comeByLink(id)
	if err != nil {
		return err
	}
	heard, took, err := s.tellGroup(id, s.carol, "Hello all, I came by the link.",
		"all devices of Alice and Bob", s.phone, s.laptop, s.tablet, s.bob)
	if err != nil {
		return err
	}
	s.figure("to all devices of a group", took)
	secret, err := s.shutOut(id, link)
	if err != nil {
		return err
	}
	return s.tryFetch(id, link.Link, heard, secret)
}

func (s *story) makeGroup() (id ident.GroupID, err error) {
	t := time.Now()
	name := groupName
	g, err := s.phone.CreateGroup(s.ctx, client.GroupInfo{Name: &name}, client.GroupPublic)
	if err != nil {
		return id, fmt.Errorf("create group: %w", err)
	}
	if err := s.phone.Group(g.ID).Add(s.ctx, 0, s.bob.Account().ID); err != nil {
		return id, fmt.Errorf("add Bob: %w", err)
	}
	asked := func(g client.Group) bool {
		return g.Status == client.GroupInvited ||
			g.Status == client.GroupJoined
	}
	at, err := s.bob.Group(g.ID).Wait(s.ctx, asked)
	if err == nil && at.Status == client.GroupInvited {
		err = s.bob.Group(g.ID).Accept(s.ctx)
	}
	if err != nil {
		return id, fmt.Errorf("invitation of Bob: %w", err)
	}
	if err := s.inGroup(g.ID, 2, 0, s.phone, s.laptop, s.tablet, s.bob); err != nil {
		return id, err
	}
	s.line("group", time.Since(t), "Alice makes the public group #%s; Bob and her other devices are in",
		groupName)
	return g.ID, nil
}

// inGroup waits until the devices of people are in a group, know n members and have the keys of a generation
// or a later one.
func (s *story) inGroup(id ident.GroupID, n int, generation uint32, people ...*testuser.User) error {
	for _, p := range people {
		g, err := p.Group(id).Wait(s.ctx, func(g client.Group) bool {
			return g.Status == client.GroupJoined && view.MembersInside(g.Members) == n &&
				g.Generation >= generation
		})
		if err != nil {
			return fmt.Errorf("%s is %q in a group of %d at generation %d, want joined, %d and %d: %w",
				p.Name,
				g.Status, view.MembersInside(g.Members), g.Generation,
				n, generation, err)
		}
	}
	return nil
}

// comeByLink makes Carol's account and has her follow a link of Alice's, which lets her in without Alice's
// devices.
func (s *story) comeByLink(id ident.GroupID) (client.GroupLink, error) {
	l, err := s.phone.Group(id).CreateLink(s.ctx, time.Now().Add(time.Hour), 5, 0)
	if err != nil {
		return l, fmt.Errorf("make link: %w", err)
	}
	if s.carol, _, err = testuser.New(s.ctx, "Carol", "Carol", s.config("Carol", "phone")); err != nil {
		return l, fmt.Errorf("make account of Carol: %w", err)
	}
	t := time.Now()
	g, err := s.carol.JoinGroup(s.ctx, l.Link)
	if err != nil {
		return l, fmt.Errorf("follow the link as Carol: %w", err)
	}
	if g.Status != client.GroupJoined {
		return l, fmt.Errorf("after the link Carol is %q, want joined at once; %v waits", g.Status, g.Pending)
	}
	s.line("join", time.Since(t),
		"Carol follows a link to it: she is in at once, and nobody's device was asked")
	return l, s.inGroup(id, 3, 0, s.phone, s.laptop, s.tablet, s.bob, s.carol)
}

// tellGroup sends text and waits until it is on the screens of others, whom where names; took is the longest
// of their times.
func (s *story) tellGroup(id ident.GroupID, from *testuser.User, text, where string,
	screens ...*testuser.User) (m ident.MessageID, took time.Duration, err error) {
	t := time.Now()
	sent, err := from.Send(s.ctx, id, client.Outgoing{Text: text})
	if err != nil {
		return m, 0, fmt.Errorf("%s writes to the group: %w", from.Name, err)
	}
	for _, p := range screens {
		got, err := p.Arrived.Await(s.ctx, sent.ID)
		if err != nil {
			return m, 0, fmt.Errorf("message %s of the group never reached %s: %w", sent.ID.Short(), p.Name,
				err)
		}
		took = max(took, got.Sub(t))
	}
	s.line("arrive", took, "%s → #%s: %q, on %s", from.Name, groupName, text, where)
	return sent.ID, took, nil
}

// shutOut closes the link and removes Bob while his device is off. It returns a message that is written then.
func (s *story) shutOut(id ident.GroupID, l client.GroupLink) (secret ident.MessageID, err error) {
	bob := s.bob.Account().ID
	s.leave(s.bob)
	s.bob = nil
	// Who has an open link reads by it, and every member has it.
	if err := s.phone.Group(id).RevokeLink(s.ctx, l.Serial); err != nil {
		return secret, fmt.Errorf("close link: %w", err)
	}
	g, err := s.phone.Group(id).Get(s.ctx)
	if err != nil {
		return secret, err
	}
	t := time.Now()
	if err := s.phone.Group(id).Remove(s.ctx, bob); err != nil {
		return secret, fmt.Errorf("remove Bob: %w", err)
	}
	if err := s.inGroup(id, 2, g.Generation+1, s.phone, s.laptop, s.tablet, s.carol); err != nil {
		return secret, err
	}
	took := time.Since(t)
	s.figure("new keys after a removal", took)
	s.line("remove", took,
		"Alice closes the link and removes Bob, whose device is off: all others have new keys")
	secret, _, err = s.tellGroup(id, s.laptop, "Not for Bob.", "Alice's other devices and Carol's", s.phone,
		s.tablet, s.carol)
	return secret, err
}

// tryFetch starts Bob's device again, which knows nothing of his removal. It must have heard still, and come
// by nothing of secret.
func (s *story) tryFetch(id ident.GroupID, link string, heard, secret ident.MessageID) error {
	t := time.Now()
	c, err := client.Open(s.config("Bob", ""))
	if err != nil {
		return fmt.Errorf("start Bob's device again: %w", err)
	}
	s.bob = testuser.Run("Bob", c)
	if err := s.bob.SyncToHeads(s.ctx); err != nil {
		return fmt.Errorf("fetch what Bob can: %w", err)
	}
	g, err := s.bob.Group(id).Wait(s.ctx, func(g client.Group) bool { return g.Status != client.GroupJoined })
	if err != nil {
		return fmt.Errorf("wait until Bob's device learns that he was removed: %w", err)
	}
	if g.Status != client.GroupRemoved {
		return fmt.Errorf("in the group Bob's device is %q, want removed", g.Status)
	}
	if _, err := s.bob.JoinGroup(s.ctx, link); !errors.Is(err, fault.Denied) &&
		!errors.Is(err, fault.NotFound) {
		return fmt.Errorf("follow the closed link as Bob: got %v, want it to be refused", err)
	}
	if _, err := s.bob.Send(s.ctx, id, client.Outgoing{Text: "am I in?"}); !errors.Is(err, fault.Denied) {
		return fmt.Errorf("write as Bob after his removal: got %v, want %v", err, fault.Denied)
	}
	all, err := s.bob.Messages(s.ctx, client.Filter{Conversation: id.String()})
	if err != nil {
		return err
	}
	has := func(m ident.MessageID) bool {
		return slices.ContainsFunc(all, func(got client.Message) bool { return got.ID == m })
	}
	if !has(heard) || has(secret) {
		return fmt.Errorf("on Bob's device the message before his removal is there: %t, want true; "+
			"the one after it: %t, want false", has(heard), has(secret))
	}
	s.line("out", time.Since(t),
		"Bob's device starts, fetches all it can, and tries the link: he is out, and "+
			"lacks it")
	return nil
}
