package client

import (
	"context"
	"errors"
	"time"

	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// groupDeclined is the status of a group whose invitation was declined: nobody is shown it.
const groupDeclined = "declined"

func roleOf(r groups.Role) GroupRole {
	switch r {
	case groups.Admin:
		return RoleAdmin
	case groups.Moderator:
		return RoleModerator
	}
	return RoleMember
}

func (r GroupRole) core() (groups.Role, error) {
	switch r {
	case RoleAdmin:
		return groups.Admin, nil
	case RoleModerator:
		return groups.Moderator, nil
	case RoleMember:
		return groups.Plain, nil
	}
	return 0, fault.New(fault.Invalid, "set role", "%q is no role, want %s, %s or %s", string(r), RoleMember, RoleModerator, RoleAdmin)
}

// viewGroup is a group as programs see it.
func (c *Client) viewGroup(tx *store.Tx, g *group) Group {
	out := Group{ID: g.ID, Status: GroupStatus(g.Status), Name: g.Name, Warning: g.Warning}
	if g.Invitation != nil && (out.Status == GroupInvited || out.Status == GroupWaiting) {
		if in, err := groups.DecodeInvitation(g.Invitation); err == nil {
			out.Invitation = &GroupInvitation{From: in.Inviter, Name: in.Name, Expires: time.UnixMilli(in.NotAfter)}
			if in.Door {
				out.Form = GroupPublic
			}
			if in.Door && out.Status == GroupWaiting {
				out.Pending = append(out.Pending, GroupPending{Kind: "join", Account: c.me, Since: time.UnixMilli(g.Since), Cause: g.Cause, Held: g.Request != nil})
			}
		}
	}
	if out.Status == GroupRemoved {
		out.Cause = g.Cause
	}
	asks := tx.GroupAsks(g.ID)
	if g.state != nil {
		c.viewState(tx, g, asks, &out)
	}
	for _, ch := range tx.GroupChanges(g.ID) {
		w, err := decodeWanted(ch.Want)
		if err != nil {
			continue
		}
		for _, p := range w.pending() {
			p.Since, p.Cause = time.UnixMilli(ch.Since), ch.Cause
			out.Pending = append(out.Pending, p)
		}
	}
	for _, ask := range asks {
		if ask.Kind == askRequest || ask.Kind == askReturn {
			out.Pending = append(out.Pending, GroupPending{Kind: ask.Kind, Account: ask.Account, Since: time.UnixMilli(ask.At), Held: ask.Held})
		}
	}
	return out
}

// viewState adds what the keys show.
func (c *Client) viewState(tx *store.Tx, g *group, asks []store.GroupAsk, out *Group) {
	s := g.state
	info := s.Info()
	out.Name, out.Description, out.Picture = info.Name, info.About, info.Picture
	out.Form = groupForms[s.Form()]
	out.Timer = Timer{After: time.Duration(info.Timer) * time.Second}
	out.Generation, out.Banned = s.Generation(), s.Banned()
	out.Commits, _ = s.Head()
	if me := s.Member(c.me); me != nil && out.Status == GroupJoined {
		out.Role = roleOf(me.Role)
	}
	leaving := map[ident.AccountID]bool{}
	for _, ask := range asks {
		leaving[ask.Account] = leaving[ask.Account] || ask.Kind == askLeave
	}
	for _, m := range s.Members() {
		v := GroupMember{Account: m.Account, Name: c.nameOf(tx, m.Account), Role: roleOf(m.Role), Status: "member", Joined: m.Joined}
		if leaving[m.Account] {
			v.Status = "removing"
		}
		v.Unverified = m.Account != c.me && c.checkGroupCredential(tx, g.ID, m) != nil
		out.Members = append(out.Members, v)
	}
	for _, id := range s.Invited() {
		out.Members = append(out.Members, GroupMember{Account: id, Name: c.nameOf(tx, id), Role: RoleMember, Status: "invited"})
	}
	texts := map[uint64]string{}
	for _, l := range tx.GroupLinks(g.ID) {
		texts[l.Serial] = linkText(l)
	}
	for _, i := range s.Invites() {
		if len(i.For) > 0 {
			continue
		}
		out.Links = append(out.Links, GroupLink{Serial: i.Serial, Expires: time.UnixMilli(i.NotAfter), Uses: int(i.Uses), Link: texts[i.Serial]})
	}
}

// Group returns one of them. Errors: NotFound.
func (c *Client) Group(ctx context.Context, id ident.GroupID) (out Group, err error) {
	err = c.p.db.View(func(tx *store.Tx) error {
		g, err := c.group(tx, id)
		if err != nil {
			return err
		}
		if g.Status == groupDeclined {
			return fault.New(fault.NotFound, "find group", "its invitation was declined")
		}
		out = c.viewGroup(tx, g)
		return nil
	})
	return out, err
}

// Groups returns all groups that this account has or had to do with, newest first.
func (c *Client) Groups(ctx context.Context) (out []Group, err error) {
	err = c.p.db.View(func(tx *store.Tx) error {
		for _, id := range tx.GroupIDs() {
			g, err := c.group(tx, id)
			if err != nil {
				return err
			}
			if g.Status != groupDeclined {
				out = append(out, c.viewGroup(tx, g))
			}
		}
		return tx.Err()
	})
	return out, err
}

// WaitGroup returns once f holds of the group. It needs Run. Errors: Unavailable as soon as the cluster proves to be out of
// reach, ctx's.
func (c *Client) WaitGroup(ctx context.Context, id ident.GroupID, f func(Group) bool) (Group, error) {
	sub := c.Events()
	defer sub.Close()
	for {
		changed := c.link.changed.watch()
		g, err := c.Group(ctx, id)
		if err != nil && !errors.Is(err, fault.NotFound) || err == nil && f(g) {
			return g, err
		}
		if _, cause := c.link.get(); cause != nil {
			return g, cause
		}
		if err := nextGroup(ctx, sub, id, changed); err != nil {
			return g, err
		}
	}
}

// nextGroup returns at the next event that says something about a group, or when changed is closed.
func nextGroup(ctx context.Context, sub *Subscription, id ident.GroupID, changed <-chan struct{}) error {
	for {
		e, ok, err := sub.take()
		switch {
		case errors.Is(err, fault.Limited):
			return nil // events were dropped: the store is read anew
		case err != nil:
			return err
		case ok && e.Kind == EventGroup && *e.Group == id:
			return nil
		case ok:
			continue
		}
		select {
		case <-sub.wake:
		case <-changed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
