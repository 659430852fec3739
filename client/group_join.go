package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// requestTTL is how long a request to join waits for an admin, seconds.
const requestTTL = 14 * 24 * 3600

// invited takes in an invitation, and says whether it changes anything: an older one than what the group knows of this
// account does not, nor does a repeated one. trusted: the user wants it, or it is of an approved contact.
func (c *Client) invited(tx *store.Tx, in *groups.Invitation, raw []byte, trusted bool) (g *group, fresh bool, err error) {
	g, err = c.group(tx, in.Group)
	if errors.Is(err, fault.NotFound) {
		g, err = &group{Group: store.Group{ID: in.Group}}, nil
	}
	if err != nil {
		return nil, false, err
	}
	now := c.nowMS()
	switch {
	case in.NotAfter <= now || in.Generation < g.Past:
		return g, false, nil
	case g.state != nil && in.Generation > g.state.Generation():
		// It overtook the commit that removed this account: it is answered once that has come.
		if !trusted && c.byContact(tx, g.Invitation) {
			return g, false, nil
		}
		g.Invitation = raw
		c.saveGroup(tx, g)
		return g, false, tx.Err()
	case g.state != nil, GroupStatus(g.Status) == GroupReturning, GroupStatus(g.Status) == GroupDisbanded:
		return g, false, nil
	}
	if !c.supersedes(tx, g, in, trusted) {
		return g, false, nil
	}
	g.Invitation, g.Name = raw, in.Name
	return g, true, nil
}

// supersedes reports whether an invitation takes the place of the one that a group has. Whoever knows the group's ID can make
// one up, with any head: that neither stops what is asked for already nor outdates what somebody else sends.
func (c *Client) supersedes(tx *store.Tx, g *group, in *groups.Invitation, trusted bool) bool {
	if g.Invitation == nil {
		return true
	}
	if g.knocks() { // nobody has to answer that
		return false
	}
	old, err := groups.DecodeInvitation(g.Invitation)
	if err != nil || old.NotAfter <= c.nowMS() {
		return true
	}
	if old.Inviter != in.Inviter {
		if !trusted {
			return GroupStatus(g.Status) != GroupWaiting && GroupStatus(g.Status) != GroupInvited
		}
		if p, err := c.person(tx, old.Inviter); err != nil || !p.Approved {
			return true
		}
	}
	return old.Serial != in.Serial && old.HeadIndex < in.HeadIndex
}

// groupInvitation takes in an invitation that somebody sent: from an approved contact it is answered at once, from anybody
// else it waits.
func (a *applied) groupInvitation(tx *store.Tx, p person, from ident.AccountID, raw []byte) error {
	in, err := groups.DecodeInvitation(raw)
	if err != nil || from == a.c.me || from != in.Inviter {
		return nil
	}
	g, fresh, err := a.c.invited(tx, in, raw, p.Approved)
	if err != nil || !fresh {
		return err
	}
	g.Since = a.now.UnixMilli()
	a.groupChanged(g.ID)
	if p.Approved {
		return a.c.askToJoin(tx, g, in)
	}
	told := GroupStatus(g.Status) == GroupInvited
	if GroupStatus(g.Status) != GroupWaiting { // what is asked for already goes on
		g.Status = string(GroupInvited)
	}
	a.c.saveGroup(tx, g)
	if told { // nobody fills a conversation with invitations
		return tx.Err()
	}
	if err := a.groupInvited(tx, g, in); err != nil {
		return err
	}
	return a.boundStrangers(tx, g.ID)
}

// answerLate looks at an invitation that came before the removal of the account did.
func (a *applied) answerLate(tx *store.Tx, g *group) error {
	raw := g.Invitation
	if raw == nil {
		return nil
	}
	g.Invitation = nil
	in, err := groups.DecodeInvitation(raw)
	if err != nil {
		return nil
	}
	p, err := a.c.person(tx, in.Inviter)
	if err != nil {
		return nil // no account can have that ID
	}
	return a.groupInvitation(tx, p, in.Inviter, raw)
}

// askToJoin makes the request to join by an invitation, if that wants one; the group's worker does the rest. Who asks already
// asks again with the same keys, so that either request may be granted.
func (c *Client) askToJoin(tx *store.Tx, g *group, in *groups.Invitation) error {
	keys, err := g.joinKeys()
	if err != nil {
		return err
	}
	g.Keys, g.Request, g.Asked, g.Status, g.Warning, g.Cause = keys.Marshal(), nil, false, string(GroupWaiting), "", ""
	if !in.Door {
		if err := c.makeRequest(g); err != nil {
			return err
		}
	}
	c.saveGroup(tx, g)
	return tx.Err()
}

// joinKeys returns the keys that the account asks to join with.
func (g *group) joinKeys() (*groups.Keys, error) {
	if g.Keys != nil && (GroupStatus(g.Status) == GroupWaiting || g.backsOut()) {
		return groups.UnmarshalKeys(g.Keys)
	}
	return groups.NewKeys(rand.Reader)
}

// ask stores the request to join. Its answer is a slot beside a commit.
func (w *groupWorker) ask(ctx context.Context, g store.Group) error {
	in, err := groups.DecodeInvitation(g.Invitation)
	if err != nil {
		return &storeError{err}
	}
	put := envelope.Store{Namespace: envelope.GroupAsk, TTL: requestTTL, Body: g.Request}
	_, _, err = w.c.groupRequest(ctx, w.id, seedKey{in.RequestSigner()}, put)
	gone := errors.Is(err, fault.Stale) || errors.Is(err, fault.NotFound) || errors.Is(err, fault.Denied) && w.c.nowMS() >= in.NotAfter
	if err != nil && !gone {
		return err
	}
	a := w.c.newApplied()
	terr := w.c.commit(func(tx *store.Tx) error {
		g, err := w.c.group(tx, w.id)
		if err != nil || GroupStatus(g.Status) != GroupWaiting {
			return err
		}
		if gone { // revoked, or over
			return a.joinEnded(tx, g, "the invitation was revoked or is over")
		}
		g.Asked = true
		w.c.saveGroup(tx, g)
		a.groupChanged(w.id)
		return tx.Err()
	})
	if terr != nil {
		return terr
	}
	a.publish()
	return nil
}

// joinEnded gives up on a join that no admin will answer.
func (a *applied) joinEnded(tx *store.Tx, g *group, why string) error {
	g.Status, g.Invitation, g.Keys, g.Request, g.Asked, g.Cause = string(GroupRemoved), nil, nil, nil, false, why
	a.c.saveGroup(tx, g)
	a.events = append(a.events, Event{Kind: EventNotice, At: a.now, Group: &g.ID, Text: "group " + g.Name + ": cannot join: " + why})
	a.groupChanged(g.ID)
	return a.c.groupGone(tx, g)
}

// takeWaiting reads the log of a group that the account asked to join, from its first commit, and enters once a slot of its
// own lies beside an addition.
func (w *groupWorker) takeWaiting(ctx context.Context, batch []envelope.Envelope) error {
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
		if err := w.log.add(w.c.pace.groupLog, e); err != nil {
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
			w.c.net.Elsewhere(w.mailbox)
			w.c.sleep(ctx, lookPause)
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
func (w *groupWorker) brought(slot []byte) bool {
	return slices.ContainsFunc(w.log.commits, func(e envelope.Envelope) bool {
		c, err := envelope.DecodeCommit(e.Body)
		return err == nil && bytes.HasPrefix(slot, c.SlotsRoot[:]) && c.SlotsRoot != [32]byte{}
	})
}

func (w *groupWorker) endJoin(why string) error {
	a := w.c.newApplied()
	err := w.c.commit(func(tx *store.Tx) error {
		g, err := w.c.group(tx, w.id)
		if err != nil || GroupStatus(g.Status) != GroupWaiting {
			return err
		}
		return a.joinEnded(tx, g, why)
	})
	if err != nil {
		return err
	}
	a.publish()
	return nil
}

// joining returns what the account asked to join with; no ticket: it does not ask any more.
func (w *groupWorker) joining() (in *groups.Invitation, ticket *groups.Ticket, err error) {
	err = w.c.p.db.View(func(tx *store.Tx) error {
		g, err := w.c.group(tx, w.id)
		if err != nil || GroupStatus(g.Status) != GroupWaiting || g.Keys == nil {
			return err
		}
		if in, err = groups.DecodeInvitation(g.Invitation); err != nil {
			return err
		}
		keys, err := groups.UnmarshalKeys(g.Keys)
		if err == nil {
			ticket = keys.Ticket(w.id, w.c.me)
		}
		return err
	})
	if err != nil {
		return nil, nil, &storeError{err}
	}
	return in, ticket, nil
}

// enter makes the account a member, with the log so far and its first slot.
func (w *groupWorker) enter(ctx context.Context, in *groups.Invitation, ticket *groups.Ticket, log []envelope.Envelope, slot []byte) error {
	s, err := groups.Enter(w.c.net.Now(), w.c.cluster.ID, ticket, in, bodies(log), slot)
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
func (w *groupWorker) entered(s *groups.State, log []envelope.Envelope) error {
	a := w.c.newApplied()
	err := w.c.commit(func(tx *store.Tx) error {
		g, err := w.c.group(tx, w.id)
		leaves := err == nil && g.backsOut()
		if err != nil || GroupStatus(g.Status) != GroupWaiting && !leaves {
			return err
		}
		if err := w.c.enterGroup(tx, w.id, s, w.readFrom(log, s)); err != nil {
			return err
		}
		index, _ := s.Head()
		g.HeadSeq = log[index-1].Seq
		w.c.saveGroup(tx, g)
		a.groupChanged(w.id)
		if err := w.c.groupEntered(tx, g); err != nil {
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
	a.publish()
	return nil
}

// readFrom returns the cursor from which a member that joined reads: the commit that let it in or, if it was given days of
// earlier messages, the last commit before the first of them.
func (w *groupWorker) readFrom(log []envelope.Envelope, s *groups.State) (cursor uint64) {
	index, _ := s.Head()
	entry := log[index-1]
	if !w.given(s, entry.Body) {
		return entry.Seq
	}
	return lastBefore(log, s.Since())
}

// given reports whether the commit that let this account in, the head of s, gave it days of earlier messages.
func (w *groupWorker) given(s *groups.State, commit []byte) bool {
	d, err := s.Describe(commit)
	if err != nil || d.Change == nil {
		return false
	}
	if d.Kind == groups.KindJoin {
		return s.Given() > 0
	}
	return slices.ContainsFunc(d.Change.Adds, func(a groups.Addition) bool { return a.Member.Account == w.c.me && a.ShareDays > 0 })
}
