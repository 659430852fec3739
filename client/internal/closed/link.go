package closed

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/onetime"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// linkClearTimeout is how long closing a link waits until nothing lies at it any more. The group's worker
// goes on with it.
const linkClearTimeout = 5 * time.Second

// linkText is the text of a link, "" if nothing lies at it yet.
func linkText(l store.GroupLink) string {
	if len(l.Pin) != 16 {
		return ""
	}
	return groups.NewLink(l.Seed, [16]byte(l.Pin)).Text()
}

// MakeLink opens an invitation for uses joiners until it expires, in 30 days at most, and returns its text
// once the group's log has it and the cluster has what the text leads to. In a public group whoever has the
// text is in at once. history is as for Add. If it is interrupted, an invitation may be open that has no
// text: RevokeLink closes it. It needs Run. Errors: Denied (no admin), Limited (too many open invitations, or
// links of a public group), Invalid, Unavailable.
func (c *Groups) MakeLink(ctx context.Context, id ident.GroupID, expires time.Time, uses int,
	history int) (out Link, err error) {
	now := c.core.Net.Now()
	if uses < 1 || uses > groups.MaxMembers || history < 0 || history > maxHistory {
		return out, fault.New(fault.Invalid, "make group link",
			"%d uses and %d days of history, want 1 to %d and 0 to %d", uses, history,
			groups.MaxMembers, maxHistory)
	}
	// The caller's clock may be off: a minute counts as none.
	if !expires.After(now) || expires.After(now.Add(groups.LinkLife+time.Minute)) {
		return out, fault.New(fault.Invalid, "make group link",
			"it is to expire at %s, want a time within the next 30 days", expires.UTC().Format(time.DateTime))
	}
	var ch groups.Change
	var seed private.Key
	err = c.changeGroup(ctx, id, byAdmin, func(_ *store.Tx, g *group) (_ []wanted, err error) {
		if err := g.roomForLink(now); err != nil {
			return nil, err
		}
		if ch, seed, err = groups.NewInvite(rand.Reader, g.state.Form(), expires, uint32(uses),
			uint16(history)); err != nil {
			return nil, err
		}
		w := wantChange(ch)
		plain := seed.Reveal()
		w.Seed = plain[:]
		return []wanted{w}, nil
	})
	if err != nil {
		return out, err
	}
	if err := c.publishLink(ctx, id, ch.Invite.Serial, seed); err != nil {
		return out, err
	}
	g, err := c.View(ctx, id)
	if err != nil {
		return out, err
	}
	for _, l := range g.Links {
		if l.Serial == ch.Invite.Serial {
			return l, nil
		}
	}
	return out, errLinkClosed
}

// roomForLink says whether the group can have one more link.
func (g *group) roomForLink(now time.Time) error {
	if g.state.Form() != groups.FormPublic {
		return nil
	}
	doors := 0
	for _, i := range g.state.Invites() {
		if len(i.For) == 0 && i.NotAfter >= now.UnixMilli() { // those that are over make room
			doors++
		}
	}
	if doors >= groups.MaxDoors {
		return fault.New(fault.Limited, "make group link",
			"a public group has %d links at once at most: close one first", groups.MaxDoors)
	}
	return nil
}

var errOldLink = fault.New(fault.Denied, "join group",
	"the link is older than the removal of this account: ask for a new one")

var errLinkClosed = fault.New(fault.NotFound, "make group link", "another admin closed it at once")

// publishLink stores what a link leads to and keeps the link.
func (c *Groups) publishLink(ctx context.Context, id ident.GroupID, serial uint64, seed private.Key) error {
	var in *groups.Invitation
	err := c.core.View(func(tx *store.Tx) error {
		g, err := c.get(tx, id)
		if err != nil || g.state == nil {
			return err
		}
		in, err = g.state.Invitation(serial, seed)
		return err
	})
	if errors.Is(err, fault.NotFound) || err == nil && in == nil {
		return errLinkClosed
	}
	if err != nil {
		return err
	}
	link := in.Link()
	if err := c.storeLink(ctx, link, in); err != nil {
		return fault.New(fault.Unavailable, "make group link",
			"invitation %d is open, but what its text leads to could not be stored. Close it, "+
				"and make another: %v", serial, err)
	}
	kept := false
	err = c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		kept = tx.PinGroupLink(id, serial, link.Pin())
		c.changed(a, id)
		return tx.Err()
	})
	if err != nil {
		return err
	}
	if !kept {
		return errLinkClosed
	}
	return nil
}

// storeLink makes the mailbox of a link and puts the invitation there, for as long as it is good.
func (c *Groups) storeLink(ctx context.Context, link *groups.Link, in *groups.Invitation) error {
	blob, err := link.Seal(rand.Reader, in)
	if err != nil {
		return err
	}
	box := boxOf(link)
	left := min(time.UnixMilli(in.NotAfter).Sub(c.core.Net.Now()), groups.LinkLife)
	box.TTL = max(uint32(math.Ceil(left.Seconds())), 10)
	if err := box.Open(ctx, c.core); err != nil {
		return err
	}
	return box.Put(ctx, c.core, onetime.Key{}, blob)
}

// boxOf is the mailbox of a link. It is not reached by the circuits that the group's mailbox is reached by.
func boxOf(link *groups.Link) onetime.Box {
	return onetime.Box{Mailbox: link.Mailbox(), Key: seedKey{link.MailboxKey()},
		Authority: seedKey{link.Authority()}, Purpose: core.PurposeFetch}
}

// fetchLink reads the invitation that a link leads to.
func (c *Groups) fetchLink(ctx context.Context,
	link *groups.Link) (in *groups.Invitation, raw []byte, err error) {
	blob, err := boxOf(link).Get(ctx, c.core, onetime.Key{})
	if errors.Is(err, fault.NotFound) {
		return nil, nil, fault.New(fault.NotFound, "join group",
			"nothing lies at this link: it was closed, is used up or has expired, or is of another "+
				"cluster. Ask for a new one")
	}
	if err != nil {
		return nil, nil, err
	}
	return link.Open(blob)
}

// RevokeLink closes an invitation. What its text leads to is deleted, at once if the device that made it can.
// In a public group a new generation begins, too: whoever had the text has the keys of the one that is. It
// needs Run. Errors: Denied (no admin), NotFound (no such invitation).
func (c *Groups) RevokeLink(ctx context.Context, id ident.GroupID, serial uint64) error {
	err := c.changeGroup(ctx, id, byAdmin, func(_ *store.Tx, g *group) ([]wanted, error) {
		if !slices.ContainsFunc(g.state.Invites(), func(i groups.Invite) bool { return i.Serial == serial }) {
			return nil, fault.New(fault.NotFound, "close group link", "there is no link %d", serial)
		}
		out := []wanted{wantChange(groups.Change{Kind: groups.KindRevokeInvite, Serial: serial})}
		if g.state.Form() == groups.FormPublic {
			out = append(out, wantChange(groups.Change{Kind: groups.KindRekey}))
		}
		return out, nil
	})
	if err != nil {
		return err
	}
	c.waitCleared(ctx, id, serial)
	return nil
}

// waitCleared returns once nothing lies at a link any more, or some time has passed.
func (c *Groups) waitCleared(ctx context.Context, id ident.GroupID, serial uint64) {
	ctx, stop := context.WithTimeout(ctx, linkClearTimeout)
	defer stop()
	for {
		moved, there := c.Moved.Watch(), false
		err := c.core.View(func(tx *store.Tx) error {
			there = slices.ContainsFunc(tx.GroupLinks(id),
				func(l store.GroupLink) bool { return l.Serial == serial })
			return nil
		})
		if err != nil || !there {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// endedLink finds a link of this device whose invitation is over, whoever ended it.
func endedLink(tx *store.Tx, g *group) (store.GroupLink, bool) {
	links := tx.GroupLinks(g.ID)
	if len(links) == 0 {
		return store.GroupLink{}, false
	}
	open := map[uint64]bool{}
	for _, i := range g.state.Invites() {
		open[i.Serial] = true
	}
	i := slices.IndexFunc(links, func(l store.GroupLink) bool { return !open[l.Serial] })
	if i < 0 {
		return store.GroupLink{}, false
	}
	return links[i], true
}

// clearLink deletes what lies at a link, and then its seed. What was never stored is not there, nor what has
// expired.
func (w *worker) clearLink(ctx context.Context, l store.GroupLink) error {
	if err := boxOf(groups.NewLink(l.Seed, [16]byte{})).Empty(ctx, w.c.core); err != nil {
		return err
	}
	return w.c.core.Commit(func(tx *store.Tx, _ *core.Batch) error {
		tx.DropGroupLink(w.id, l.Serial)
		return tx.Err()
	})
}

// JoinLink joins by an invitation's text. The group is waiting until an admin's device answers; a public one
// lets the account in before this returns, unless an admin must be asked all the same (a pending "join" says
// why), or another device of the account was faster and its keys are on their way. It needs Run. Errors:
// Invalid (the text), NotFound (the link was closed, is used up or has expired), Denied (it is older than the
// removal of this account; of a public group also if the account is banned or the group has ended), Corrupt
// (somebody replaced what lies there), Unavailable. A join that was begun goes on after Unavailable, and when
// ctx ends.
func (c *Groups) JoinLink(ctx context.Context, text string) (out View, err error) {
	link, err := groups.ParseLink(text)
	if err != nil {
		return out, err
	}
	if err := c.core.WaitOnline(ctx); err != nil {
		return out, err
	}
	in, raw, err := c.fetchLink(ctx, link)
	if err != nil {
		return out, err
	}
	return c.joinBy(ctx, in, raw)
}

// joinBy joins by what a link leads to.
func (c *Groups) joinBy(ctx context.Context, in *groups.Invitation, raw []byte) (out View, err error) {
	err = c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		g, fresh, err := c.invited(tx, in, raw, true)
		switch {
		case err != nil:
			return err
		case fresh || Status(g.Status) == Invited || g.Status == Declined && g.Invitation != nil ||
			g.asksAt(in),
			// the log says why that cannot be
			in.Door && in.NotAfter > a.Now.UnixMilli() && Status(g.Status) == Removed:
			// another one may have waited
			g.Invitation, g.Name, g.Since = raw, in.Name, max(g.Since, c.sinceNow(a, in.Group))
			err = c.askToJoin(tx, g, in)
		case g.lives():
		case in.NotAfter <= a.Now.UnixMilli():
			return fault.New(fault.NotFound, "join group", "the link has expired: ask for a new one")
		default:
			return errOldLink
		}
		c.changed(a, in.Group)
		out = c.viewGroup(tx, g)
		return err
	})
	if err != nil {
		return View{}, err
	}
	if in.Door && out.Status == Waiting {
		return c.awaitDoor(ctx, in.Group)
	}
	return out, nil
}
