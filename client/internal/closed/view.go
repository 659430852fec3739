package closed

import (
	"context"
	"time"

	"github.com/starling-swarm/starling/client/internal/conv"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Declined is the status of a group whose invitation was declined: nobody is shown it.
const Declined = "declined"

func roleOf(r groups.Role) Role {
	switch r {
	case groups.Admin:
		return RoleAdmin
	case groups.Moderator:
		return RoleModerator
	}
	return RoleMember
}

func (r Role) core() (groups.Role, error) {
	switch r {
	case RoleAdmin:
		return groups.Admin, nil
	case RoleModerator:
		return groups.Moderator, nil
	case RoleMember:
		return groups.Plain, nil
	}
	return 0, fault.New(fault.Invalid, "set role", "%q is no role, want %s, %s or %s", string(r), RoleMember,
		RoleModerator, RoleAdmin)
}

// viewGroup is a group as programs see it.
func (c *Groups) viewGroup(tx *store.Tx, g *group) View {
	out := View{ID: g.ID, Status: Status(g.Status), Name: g.Name, Warning: g.Warning}
	if g.Invitation != nil && (out.Status == Invited || out.Status == Waiting) {
		if in, err := groups.DecodeInvitation(g.Invitation); err == nil {
			out.Invitation = &Invitation{From: in.Inviter, Name: in.Name,
				Expires: time.UnixMilli(in.NotAfter)}
			if in.Door {
				out.Form = Public
			}
			if in.Door && out.Status == Waiting {
				out.Pending = append(out.Pending, Pending{Kind: "join", Account: c.core.Me,
					Since: time.UnixMilli(g.Since), Cause: g.Cause, Held: g.Request != nil})
			}
		}
	}
	if out.Status == Removed {
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
			out.Pending = append(out.Pending, Pending{Kind: ask.Kind, Account: ask.Account,
				Since: time.UnixMilli(ask.At), Held: ask.Held})
		}
	}
	return out
}

// viewState adds what the keys show.
func (c *Groups) viewState(tx *store.Tx, g *group, asks []store.GroupAsk, out *View) {
	s := g.state
	info := s.Info()
	out.Name, out.Description, out.Picture = info.Name, info.About, info.Picture
	out.Form = forms[s.Form()]
	out.Timer = conv.Timer{After: time.Duration(info.Timer) * time.Second}
	out.Generation, out.Banned = s.Generation(), s.Banned()
	out.Commits, _ = s.Head()
	if me := s.Member(c.core.Me); me != nil && out.Status == Joined {
		out.Role = roleOf(me.Role)
	}
	leaving := map[ident.AccountID]bool{}
	for _, ask := range asks {
		leaving[ask.Account] = leaving[ask.Account] || ask.Kind == askLeave
	}
	for _, m := range s.Members() {
		v := Member{Account: m.Account, Name: c.people.Name(tx, m.Account), Role: roleOf(m.Role),
			Status: "member", Joined: m.Joined}
		if leaving[m.Account] {
			v.Status = "removing"
		}
		v.Unverified = m.Account != c.core.Me && c.checkGroupCredential(tx, g.ID, m) != nil
		out.Members = append(out.Members, v)
	}
	for _, id := range s.Invited() {
		out.Members = append(out.Members, Member{Account: id, Name: c.people.Name(tx, id), Role: RoleMember,
			Status: "invited"})
	}
	texts := map[uint64]string{}
	for _, l := range tx.GroupLinks(g.ID) {
		texts[l.Serial] = linkText(l)
	}
	for _, i := range s.Invites() {
		if len(i.For) > 0 {
			continue
		}
		out.Links = append(out.Links, Link{Serial: i.Serial, Expires: time.UnixMilli(i.NotAfter),
			Uses: int(i.Uses), Link: texts[i.Serial]})
	}
}

// View returns one of them. Errors: NotFound.
func (c *Groups) View(ctx context.Context, id ident.GroupID) (out View, err error) {
	err = c.core.View(func(tx *store.Tx) error {
		g, err := c.get(tx, id)
		if err != nil {
			return err
		}
		if g.Status == Declined {
			return fault.New(fault.NotFound, "find group", "its invitation was declined")
		}
		out = c.viewGroup(tx, g)
		return nil
	})
	return out, err
}

// All returns all groups that this account has or had to do with, newest first.
func (c *Groups) All(ctx context.Context) (out []View, err error) {
	err = c.core.View(func(tx *store.Tx) error {
		for _, id := range tx.GroupIDs() {
			g, err := c.get(tx, id)
			if err != nil {
				return err
			}
			if g.Status != Declined {
				out = append(out, c.viewGroup(tx, g))
			}
		}
		return tx.Err()
	})
	return out, err
}
