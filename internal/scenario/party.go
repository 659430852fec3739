package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// party is the stage of what several people do in a group: three accounts with two devices each, who are
// contacts of each other.
type party struct {
	*stage
	alice, bob, carol household
	group             ident.GroupID

	carolIn []span // when Carol was a member for sure
	songs   int    // so far: no two have the same texts, nor have last words
}

// household is the devices of one account.
type household []*device

func (h household) id() ident.AccountID { return h[0].id() }

// party makes the three accounts.
func (s *stage) party() (*party, error) {
	p := &party{stage: s}
	for _, h := range []struct {
		name string
		of   *household
	}{{"alice", &p.alice}, {"bob", &p.bob}, {"carol", &p.carol}} {
		first, words, err := s.person(h.name + "-1")
		if err != nil {
			return nil, err
		}
		second, _, err := s.join(first, h.name+"-2")
		if err != nil {
			return nil, err
		}
		*h.of = household{first, second}
		if h.name == "bob" {
			s.words = words
		}
	}
	for _, a := range p.households() {
		for _, b := range p.households() {
			if a.id() == b.id() {
				continue
			}
			if _, err := a[0].AddContact(s.ctx, b.id(), ""); err != nil {
				return nil, fmt.Errorf("%s adds %s: %w", a[0].cfg.Label, b[0].cfg.Label, err)
			}
		}
	}
	s.devices = p.everybody()
	return p, s.settle()
}

func (p *party) households() []household { return []household{p.alice, p.bob, p.carol} }

func (p *party) everybody() []*device { return slices.Concat(p.alice, p.bob, p.carol) }

// gather makes a group of Alice's, with these accounts in it.
func (s *stage) gather(invite ...func(*party) household) (*party, error) {
	return s.gatherAs(client.GroupShared, invite...)
}

// gatherAs is gather for a group of any form.
func (s *stage) gatherAs(form client.GroupForm, invite ...func(*party) household) (*party, error) {
	p, err := s.party()
	if err != nil {
		return nil, err
	}
	name := "Friends"
	g, err := p.alice[0].CreateGroup(s.ctx, client.GroupInfo{Name: &name}, form)
	if err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	p.group, s.target = g.ID, g.ID
	for _, h := range invite {
		if err := p.letIn(p.alice[0], h(p)); err != nil {
			return nil, err
		}
	}
	return p, p.awaitMembers(1+len(invite), p.alice...)
}

func (p *party) theBob() household   { return p.bob }
func (p *party) theCarol() household { return p.carol }

// letIn has an admin invite an account, and returns once all its devices are in.
func (p *party) letIn(by *device, h household) error {
	if err := by.Group(p.group).Add(p.ctx, 0, h.id()); err != nil {
		return fmt.Errorf("add %s: %w", h[0].cfg.Label, err)
	}
	return p.await(h[0].cfg.Label+" is a member",
		p.is(func(g client.Group) bool { return g.Status == client.GroupJoined }), h...)
}

// is reports whether a device knows the group, and as want says.
func (p *party) is(want func(client.Group) bool) shows {
	return func(d *device) (bool, error) {
		g, err := d.Group(p.group).Get(p.ctx)
		if errors.Is(err, fault.NotFound) {
			return false, nil
		}
		return err == nil && want(g), err
	}
}

// memberOf returns what a device knows of a member; an empty one if it knows none.
func memberOf(g client.Group, id ident.AccountID) client.GroupMember {
	for _, m := range g.Members {
		if m.Account == id && m.Status != "invited" {
			return m
		}
	}
	return client.GroupMember{}
}

func count(g client.Group) (n int) {
	for _, m := range g.Members {
		if m.Status != "invited" {
			n++
		}
	}
	return n
}

// awaitMembers waits until devices know that the group has n members.
func (p *party) awaitMembers(n int, on ...*device) error {
	return p.await(fmt.Sprintf("%d members", n),
		p.is(func(g client.Group) bool { return g.Status == client.GroupJoined && count(g) == n }), on...)
}

// has reports whether a device has a text in the group's conversation.
func (p *party) has(text string) shows {
	return func(d *device) (bool, error) {
		all, err := d.Messages(p.ctx, client.Filter{Conversation: p.group.String()})
		return slices.ContainsFunc(all, func(m client.Message) bool { return m.Text == text }), err
	}
}

// tell sends a text to the group and returns once it is stored.
func (p *party) tell(by *device, text string) error {
	sent, err := by.Send(p.ctx, p.group, client.Outgoing{Text: text})
	if err == nil {
		_, err = by.Wait(p.ctx, sent.ID, client.StateStored)
	}
	if err != nil {
		return fmt.Errorf("%s sends %q: %w", by.cfg.Label, text, err)
	}
	return nil
}

// hears sends a text and waits until each of on has it.
func (p *party) hears(by *device, text string, on ...*device) error {
	if err := p.tell(by, text); err != nil {
		return err
	}
	return p.await("message "+text, p.has(text), on...)
}

// converged waits until all that the households did has come to all of them, and compares everything they
// agree about: the members and what else the log says, and the messages in their order.
func (p *party) converged(in ...household) error {
	if err := p.mend(); err != nil {
		return err
	}
	devices := slices.Concat(in...)
	g := new(errgroup.Group)
	for _, d := range devices {
		g.Go(func() error {
			if g, err := d.Group(p.group).Wait(p.ctx,
				func(g client.Group) bool { return len(changesOf(g)) == 0 }); err != nil {
				return fmt.Errorf("%s still wants %v: %w", d.cfg.Label, changesOf(g), err)
			}
			if err := d.Idle(p.ctx); err != nil {
				return fmt.Errorf("%s is not idle: %w", d.cfg.Label, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	// The order of the mailbox is everybody's: who has the last words has all before them.
	p.songs++
	for _, h := range in {
		if err := p.hears(h[0], fmt.Sprintf("last word %d of %s", p.songs, h[0].cfg.Label),
			devices...); err != nil {
			return err
		}
	}
	return p.same(devices)
}

// changesOf returns what a device still has to change.
func changesOf(g client.Group) (out []client.GroupPending) {
	for _, c := range g.Pending {
		if c.Kind != "request" && c.Kind != "return" {
			out = append(out, c)
		}
	}
	return out
}

// same compares devices with the first of them.
func (p *party) same(devices []*device) error {
	var state string
	var said []client.Message
	for i, d := range devices {
		g, err := d.Group(p.group).Get(p.ctx)
		if err != nil {
			return err
		}
		all, err := d.Messages(p.ctx, client.Filter{Conversation: p.group.String()})
		if err != nil {
			return err
		}
		if i == 0 {
			state, said = groupPrint(g), all
		}
		if got := groupPrint(g); got != state {
			return fmt.Errorf("the group on %s:\n%s\nand on %s:\n%s", devices[0].cfg.Label, state,
				d.cfg.Label, got)
		}
		if id, ok := follows(all, said, wasOut(all, d.id())); !ok {
			return fmt.Errorf("%s: message %s is not where it is on %s:\n%s\nwant the order of:\n%s",
				d.cfg.Label, id.Short(), devices[0].cfg.Label,
				conversationPrint(all), conversationPrint(said))
		}
		if d.id() == devices[0].id() && len(all) != len(said) {
			return fmt.Errorf("%s has %d messages, %s %d:\n%s\nwant those of:\n%s", devices[0].cfg.Label,
				len(said), d.cfg.Label, len(all),
				conversationPrint(all), conversationPrint(said))
		}
	}
	return nil
}

// follows reports whether the messages of got come in the order of those of want, which has all of them; id
// is the first that does not. Notices are told from each one's point of view, and what could not be sent is
// nobody else's: they are left out. So are the own messages of an account that was out for a while: who is
// removed before a store is acknowledged cannot see that it counted, and stores the message again once it is
// back.
func follows(got, want []client.Message, out bool) (id ident.MessageID, ok bool) {
	at := 0
	for _, m := range got {
		if m.Notice != nil || m.State == client.StateFailed || out && m.Mine {
			continue
		}
		next := slices.IndexFunc(want[at:], func(w client.Message) bool { return w.ID == m.ID })
		if next < 0 {
			return m.ID, false
		}
		at += next + 1
	}
	return id, true
}

// wasOut reports whether an account was removed from the group at some time, by what its device says.
func wasOut(all []client.Message, id ident.AccountID) bool {
	return slices.ContainsFunc(all, func(m client.Message) bool {
		return m.Notice != nil && m.Notice.Kind == "removed" && slices.Contains(m.Notice.Members, id)
	})
}

// groupPrint is everything that all members know of a group.
func groupPrint(g client.Group) string {
	lines := []string{fmt.Sprintf("%s: %q, %q, generation %d, %d commits", g.Status, g.Name, g.Description,
		g.Generation, g.Commits)}
	var members []string
	for _, m := range g.Members {
		members = append(members, fmt.Sprintf("%s %s %s", m.Account, m.Role, m.Status))
	}
	slices.Sort(members)
	for _, l := range g.Links {
		members = append(members, fmt.Sprintf("link %d, %d uses", l.Serial, l.Uses))
	}
	for _, b := range g.Banned {
		members = append(members, "banned "+b.String())
	}
	return strings.Join(append(lines, members...), "\n")
}

// conversationPrint is the messages of a conversation in their order.
func conversationPrint(all []client.Message) string {
	lines := make([]string, 0, len(all))
	for _, m := range all {
		lines = append(lines, fmt.Sprintf("%s from %s: %q", m.ID.Short(), m.From.String()[:8], m.Text))
	}
	return strings.Join(lines, "\n")
}
