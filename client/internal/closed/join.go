package closed

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/people"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/devicesync"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// requestTTL is how long a request to join waits for an admin, seconds.
const requestTTL = 14 * 24 * 3600

// invited takes in an invitation, and says whether it changes anything: an older one than what the group
// knows of this account does not, nor does a repeated one. trusted: the user wants it, or it is of an
// approved contact.
func (c *Groups) invited(tx *store.Tx, in *groups.Invitation, raw []byte,
	trusted bool) (g *group, fresh bool, err error) {
	g, err = c.get(tx, in.Group)
	if errors.Is(err, fault.NotFound) {
		g, err = &group{Group: store.Group{ID: in.Group}}, nil
	}
	if err != nil {
		return nil, false, err
	}
	now := c.core.NowMS()
	switch {
	case in.NotAfter <= now || in.Generation < g.Past:
		return g, false, nil
	case g.state != nil && in.Generation > g.state.Generation():
		// It overtook the commit that removed this account: it is answered once that has come.
		if !trusted && c.byContact(tx, g.Invitation) {
			return g, false, nil
		}
		g.Invitation = raw
		c.save(tx, g)
		return g, false, tx.Err()
	case g.state != nil, Status(g.Status) == Returning, Status(g.Status) == Disbanded:
		return g, false, nil
	}
	if !c.supersedes(tx, g, in, trusted) {
		return g, false, nil
	}
	g.Invitation, g.Name = raw, in.Name
	return g, true, nil
}

// supersedes reports whether an invitation takes the place of the one that a group has. Whoever knows the
// group's ID can make one up, with any head: that neither stops what is asked for already nor outdates what
// somebody else sends.
func (c *Groups) supersedes(tx *store.Tx, g *group, in *groups.Invitation, trusted bool) bool {
	if g.Invitation == nil {
		return true
	}
	if g.knocks() { // nobody has to answer that
		return false
	}
	old, err := groups.DecodeInvitation(g.Invitation)
	if err != nil || old.NotAfter <= c.core.NowMS() {
		return true
	}
	if old.Inviter != in.Inviter {
		if !trusted {
			return Status(g.Status) != Waiting && Status(g.Status) != Invited
		}
		if p, err := c.people.Get(tx, old.Inviter); err != nil || !p.Approved {
			return true
		}
	}
	return old.Serial != in.Serial && old.HeadIndex < in.HeadIndex
}

// takeInvitation takes in an invitation that somebody sent: from an approved contact it is answered at once,
// from anybody else it waits.
func (c *Groups) takeInvitation(tx *store.Tx, a *core.Batch, p people.Person, from ident.AccountID,
	raw []byte) error {
	in, err := groups.DecodeInvitation(raw)
	if err != nil || from == c.core.Me || from != in.Inviter {
		return nil
	}
	g, fresh, err := c.invited(tx, in, raw, p.Approved)
	if err != nil || !fresh {
		return err
	}
	g.Since = c.sinceNow(a, g.ID)
	c.changed(a, g.ID)
	if p.Approved {
		return c.askToJoin(tx, g, in)
	}
	told := Status(g.Status) == Invited
	if Status(g.Status) != Waiting { // what is asked for already goes on
		g.Status = string(Invited)
	}
	c.save(tx, g)
	if told { // nobody fills a conversation with invitations
		return tx.Err()
	}
	if err := c.groupInvited(tx, a, g, in); err != nil {
		return err
	}
	return c.boundStrangers(tx, a, g.ID)
}

// sinceNow is the time of an invitation that was just taken in, on the clock of the document that says what
// the account is to the group: after all that stands there already, however the clocks of its devices differ.
func (c *Groups) sinceNow(a *core.Batch, id ident.GroupID) int64 {
	return max(a.Now.UnixMilli(), c.core.Docs.ChangedAt(devicesync.GroupStanding, string(id[:])))
}

// answerLate looks at an invitation that came before the removal of the account did.
func (c *Groups) answerLate(tx *store.Tx, a *core.Batch, g *group) error {
	raw := g.Invitation
	if raw == nil {
		return nil
	}
	g.Invitation = nil
	in, err := groups.DecodeInvitation(raw)
	if err != nil {
		return nil
	}
	p, err := c.people.Get(tx, in.Inviter)
	if err != nil {
		return nil // no account can have that ID
	}
	return c.takeInvitation(tx, a, p, in.Inviter, raw)
}

// askToJoin makes the request to join by an invitation, if that wants one; the group's worker does the rest.
// Who asks already asks again with the same keys, so that either request may be granted.
func (c *Groups) askToJoin(tx *store.Tx, g *group, in *groups.Invitation) error {
	keys, err := g.joinKeys()
	if err != nil {
		return err
	}
	g.Keys, g.Request, g.Asked, g.Status, g.Warning, g.Cause = keys.Marshal(), nil, false,
		string(Waiting), "", ""
	if !in.Door {
		if err := c.makeRequest(g); err != nil {
			return err
		}
	}
	c.save(tx, g)
	return tx.Err()
}

// joinKeys returns the keys that the account asks to join with.
func (g *group) joinKeys() (*groups.Keys, error) {
	if g.Keys != nil && (Status(g.Status) == Waiting || g.backsOut()) {
		return groups.UnmarshalKeys(g.Keys)
	}
	return groups.NewKeys(rand.Reader)
}

// ask stores the request to join. Its answer is a slot beside a commit.
func (w *worker) ask(ctx context.Context, g store.Group) error {
	in, err := groups.DecodeInvitation(g.Invitation)
	if err != nil {
		return core.Broken(err)
	}
	put := envelope.Store{Namespace: envelope.GroupAsk, TTL: requestTTL, Body: g.Request}
	_, _, err = w.c.request(ctx, w.id, seedKey{in.RequestSigner()}, put)
	gone := errors.Is(err, fault.Stale) || errors.Is(err, fault.NotFound) || errors.Is(err, fault.Denied) &&
		w.c.core.NowMS() >= in.NotAfter
	if err != nil && !gone {
		return err
	}
	terr := w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || Status(g.Status) != Waiting {
			return err
		}
		if gone { // revoked, or over
			return w.c.joinEnded(tx, a, g, "the invitation was revoked or is over")
		}
		g.Asked = true
		w.c.save(tx, g)
		w.c.changed(a, w.id)
		return tx.Err()
	})
	if terr != nil {
		return terr
	}
	return nil
}

// joinEnded gives up on a join that no admin will answer.
func (c *Groups) joinEnded(tx *store.Tx, a *core.Batch, g *group, why string) error {
	g.Status, g.Invitation, g.Keys, g.Request, g.Asked, g.Cause = string(Removed), nil, nil, nil, false, why
	c.save(tx, g)
	a.Tell(core.Fact{Kind: core.FactNotice, Group: &g.ID, Text: "group " + g.Name + ": cannot join: " + why})
	c.changed(a, g.ID)
	return c.gone(tx, g)
}

// takeWaiting reads the log of a group that the account asked to join, from its first commit, and enters once
// a slot of its own lies beside an addition.
func (w *worker) takeWaiting(ctx context.Context, batch []envelope.Envelope) error {
	in, ticket, err := w.joining()
	if err != nil || ticket == nil {
		return err
	}
	var places []groups.Locator
	for _, e := range batch {
		c, err := envelope.DecodeCommit(e.Body)
		if err != nil {
			return w.refuse(err)
		}
		if c.Index == 1 {
			w.log = heldLog{}
		}
		if err := w.log.add(w.c.core.Pace.GroupLog, e); err != nil {
			w.log = heldLog{}
			return w.warn(err.Error())
		}
		if c.Kind == envelope.CommitDisband {
			return w.endJoin("the group was disbanded")
		}
		if at, ok := ticket.Locator(e.Body); ok && c.Index > in.HeadIndex && !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	for look := 0; look < maxLooks && len(places) > 0; look++ {
		if look > 0 { // a replica that lags does not have the slot of a commit that another one gave
			w.c.core.Net.Elsewhere(w.mailbox)
			w.c.core.Sleep(ctx, lookPause)
		}
		for _, at := range places {
			slot, err := w.fetchSlot(ctx, seedKey{in.ReadKey()}, at)
			if err != nil {
				return err
			}
			if slot != nil && w.brought(slot) {
				return w.enter(ctx, in, ticket, w.log.commits, slot)
			}
		}
	}
	return nil
}

const (
	// maxLooks is how often a slot is looked for beside a commit: most commits let in somebody else.
	maxLooks  = 3
	lookPause = 200 * time.Millisecond
)

// brought reports whether the log so far has the commit that a slot is of: it may have overtaken it.
func (w *worker) brought(slot []byte) bool {
	return slices.ContainsFunc(w.log.commits, func(e envelope.Envelope) bool {
		c, err := envelope.DecodeCommit(e.Body)
		return err == nil && bytes.HasPrefix(slot, c.SlotsRoot[:]) && c.SlotsRoot != [32]byte{}
	})
}

func (w *worker) endJoin(why string) error {
	err := w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || Status(g.Status) != Waiting {
			return err
		}
		return w.c.joinEnded(tx, a, g, why)
	})
	if err != nil {
		return err
	}
	return nil
}

// joining returns what the account asked to join with; no ticket: it does not ask any more.
func (w *worker) joining() (in *groups.Invitation, ticket *groups.Ticket, err error) {
	err = w.c.core.View(func(tx *store.Tx) error {
		g, err := w.c.get(tx, w.id)
		if err != nil || Status(g.Status) != Waiting || g.Keys == nil {
			return err
		}
		if in, err = groups.DecodeInvitation(g.Invitation); err != nil {
			return err
		}
		keys, err := groups.UnmarshalKeys(g.Keys)
		if err == nil {
			ticket = keys.Ticket(w.id, w.c.core.Me)
		}
		return err
	})
	if err != nil {
		return nil, nil, core.Broken(err)
	}
	return in, ticket, nil
}

// enter makes the account a member, with the log so far and its first slot.
func (w *worker) enter(ctx context.Context, in *groups.Invitation, ticket *groups.Ticket,
	log []envelope.Envelope, slot []byte) error {
	s, err := groups.Enter(w.c.core.Net.Now(), w.c.core.Cluster.ID, ticket, in, bodies(log), slot)
	if err != nil {
		return w.refuse(err)
	}
	if err := w.takeHistory(ctx, seedKey{in.ReadKey()}, ticket, s, log); err != nil {
		return err
	}
	return w.entered(s, log)
}

func bodies(log []envelope.Envelope) [][]byte {
	out := make([][]byte, len(log))
	for i, e := range log {
		out[i] = e.Body
	}
	return out
}

// entered puts the state in force that the account has joined with.
func (w *worker) entered(s *groups.State, log []envelope.Envelope) error {
	err := w.c.core.Commit(func(tx *store.Tx, a *core.Batch) error {
		g, err := w.c.get(tx, w.id)
		leaves := err == nil && g.backsOut()
		if err != nil || Status(g.Status) != Waiting && !leaves {
			return err
		}
		if err := w.c.enter(tx, a, w.id, s, w.readFrom(log, s)); err != nil {
			return err
		}
		index, _ := s.Head()
		g.HeadSeq = log[index-1].Seq
		w.c.save(tx, g)
		w.c.changed(a, w.id)
		if err := w.c.entered(tx, g); err != nil {
			return err
		}
		if leaves {
			_, err := w.c.want(tx, w.id, wanted{Leave: true})
			return err
		}
		return w.c.introduce(tx, g)
	})
	if err != nil {
		return err
	}
	return nil
}

// readFrom returns the cursor from which a member that joined reads: the commit that let it in or, if it was
// given days of earlier messages, the last commit before the first of them.
func (w *worker) readFrom(log []envelope.Envelope, s *groups.State) (cursor uint64) {
	index, _ := s.Head()
	entry := log[index-1]
	if !w.given(s, entry.Body) {
		return entry.Seq
	}
	return lastBefore(log, s.Since())
}

// given reports whether the commit that let this account in, the head of s, gave it days of earlier messages.
func (w *worker) given(s *groups.State, commit []byte) bool {
	d, err := s.Describe(commit)
	if err != nil || d.Change == nil {
		return false
	}
	if d.Kind == groups.KindJoin {
		return s.Given() > 0
	}
	return slices.ContainsFunc(d.Change.Adds,
		func(a groups.Addition) bool { return a.Member.Account == w.c.core.Me && a.ShareDays > 0 })
}
