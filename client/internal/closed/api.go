package closed

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// inviteLife is how long an invitation of an account is good for.
const inviteLife = 14 * 24 * time.Hour

// maxHistory is the most days of earlier messages that somebody who joins can get.
const maxHistory = 30

func (i *Info) check() error {
	if t := i.Timer; t != nil && (t.AfterRead || t.Check() != nil) {
		return fault.New(fault.Invalid, "set group info",
			"the timer of a group is off or runs from when a message is sent")
	}
	return nil
}

// Create makes a group with the own account as its only admin. It returns when the group is on disk on a
// majority. It needs Run. Errors: Invalid (limits of GroupInfo, the form), Denied (this device was revoked),
// Unavailable.
func (c *Groups) Create(ctx context.Context, info Info, form Form) (out View, err error) {
	if err := info.check(); err != nil {
		return out, err
	}
	kind, err := form.core()
	if err != nil {
		return out, err
	}
	if err := c.core.WaitOnline(ctx); err != nil {
		return out, err
	}
	genesis, err := groups.NewGenesis(rand.Reader)
	if err != nil {
		return out, err
	}
	defer genesis.Wipe()
	id, key := genesis.Group(), genesis.MailboxKey(c.core.Cluster.ID)
	keys, err := groups.NewKeys(rand.Reader)
	if err != nil {
		return out, err
	}
	credential, err := c.groupCredential(id, keys.SignPublic())
	if err != nil {
		return out, err
	}
	s, p, err := groups.Create(rand.Reader, c.core.Net.Now(), genesis, c.core.Cluster.ID, c.core.Me, keys,
		credential, info.on(groups.Info{}), kind)
	if err != nil {
		return out, err
	}
	mailbox := ident.MailboxID(key.Public())
	commit := envelope.Store{Namespace: envelope.GroupLog, IfHead: new(uint64), Body: p.Commit}
	c.core.Admit(mailbox, &commit)
	r := &envelope.Request{Mailbox: mailbox,
		Ops: []envelope.Op{envelope.SetAuthority{Change: envelope.Genesis, Key: p.Admin,
			Flags: envelope.NoRecover}}}
	r.Ops = append(append(r.Ops, stage(p, 0, len(p.Slots))...), commit)
	at := len(r.Ops) - 1
	r.Ops = append(r.Ops, p.Ops...)
	resp, _, err := c.core.Request(ctx, core.PurposeInbox, r, key)
	if err != nil {
		return out, err
	}
	slot, _, err := s.Needs(p.Commit)
	if err != nil {
		return out, err
	}
	if err := s.Apply(c.core.Net.Now(), p.Commit, p.Find(slot)); err != nil {
		return out, err
	}
	seq := resp.Results[at].Seq
	err = c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		if err := c.enter(tx, a, id, s, seq); err != nil {
			return err
		}
		g, err := c.get(tx, id)
		if err != nil {
			return err
		}
		g.HeadSeq = seq
		c.save(tx, g)
		c.changed(a, id)
		out = c.viewGroup(tx, g)
		return c.entered(tx, g)
	})
	if err != nil {
		return View{}, err
	}
	return out, nil
}

// changer is who may make a change of a group.
type changer int

const (
	byAdmin changer = iota
	byMember
)

// changeGroup queues what plan wants of a group and waits until it is in the log. plan runs in a transaction.
// Errors: Denied (this account may not), those of plan, Unavailable, ctx's.
func (c *Groups) changeGroup(ctx context.Context, id ident.GroupID, by changer, plan func(tx *store.Tx,
	g *group) ([]wanted, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var rows []int64
	err := c.core.Update(func(tx *store.Tx, _ *core.Batch) error {
		g, err := c.get(tx, id)
		if err != nil {
			return err
		}
		switch {
		case g.state == nil || Status(g.Status) != Joined:
			return fault.New(fault.Denied, "change group",
				"this account is no member, or this device has no keys of the group")
		case by == byAdmin && !g.state.Admin():
			return fault.New(fault.Denied, "change group",
				"this account is no admin of the group: ask one of them")
		}
		all, err := plan(tx, g)
		if err != nil {
			return err
		}
		for _, w := range all {
			n, err := c.want(tx, id, w)
			if err != nil {
				return err
			}
			rows = append(rows, n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.kick(id)
	var first error
	for _, n := range rows {
		if err := c.waitChange(ctx, id, n); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Add invites accounts; those that were banned are allowed again. history is how many days of earlier
// messages they get, 0 to 30, as far as the admin's device that lets them in keeps their keys: for 16 days.
// It returns when the group's log has the invitation; the messages to the invited leave by the outbox. It
// needs Run. Errors: Denied (no admin), Limited (too many members), Exists (all are members or invited).
func (c *Groups) Add(ctx context.Context, id ident.GroupID, history int, accounts ...ident.AccountID) error {
	if history < 0 || history > maxHistory {
		return fault.New(fault.Invalid, "add to group", "%d days of history, want 0 to %d",
			history, maxHistory)
	}
	return c.changeGroup(ctx, id, byAdmin, func(tx *store.Tx, g *group) ([]wanted, error) {
		invited := g.state.Invited()
		var fresh []ident.AccountID
		for _, a := range accounts {
			if _, err := c.people.Get(tx, a); err != nil {
				return nil, err
			}
			if g.state.Member(a) == nil && !slices.Contains(invited, a) && !slices.Contains(fresh, a) {
				fresh = append(fresh, a)
			}
		}
		if len(fresh) == 0 {
			return nil, fault.New(fault.Exists, "add to group", "all of them are members or invited")
		}
		ch, seed, err := groups.NewBoundInvite(rand.Reader, c.core.Net.Now().Add(inviteLife),
			uint16(history), fresh)
		if err != nil {
			return nil, err
		}
		w := wantChange(ch)
		plain := seed.Reveal()
		w.Seed = plain[:]
		return []wanted{w}, nil
	})
}

// Removal says what becomes of who is removed.
type Removal bool

// The removals.
const (
	Remove Removal = false // they may be invited again, and come by links
	Ban    Removal = true  // they stay out until they are added again
)

// Remove removes members, or withdraws invitations, and begins a new generation. In a public group who has a
// link can come back as another account: see RevokeLink. It needs Run. Errors: Denied (no admin; an admin is
// removed by another one), NotFound (none of them is in the group).
func (c *Groups) Remove(ctx context.Context, id ident.GroupID, how Removal,
	accounts ...ident.AccountID) error {
	return c.changeGroup(ctx, id, byAdmin, func(tx *store.Tx, g *group) (out []wanted, err error) {
		ban := how == Ban
		remove := groups.Change{Kind: groups.KindRemove, Ban: ban}
		withdraw := groups.Change{Kind: groups.KindRevokeInvite, Ban: ban}
		invited := g.state.Invited()
		for _, a := range accounts {
			m := g.state.Member(a)
			switch {
			case a == c.core.Me:
				return nil, fault.New(fault.Denied, "remove from group",
					"nobody removes themselves: leave the group")
			case m != nil:
				remove.Targets = append(remove.Targets, groups.Target{Account: a, Joined: m.Joined})
			case ban || slices.Contains(invited, a):
				withdraw.Accounts = append(withdraw.Accounts, a)
			}
		}
		if len(withdraw.Accounts) > 0 {
			out = append(out, wantChange(withdraw))
		}
		if len(remove.Targets) > 0 {
			out = append(out, wantChange(remove))
		}
		if len(out) == 0 {
			return nil, fault.New(fault.NotFound, "remove from group", "none of them is a member or invited")
		}
		return out, nil
	})
}

// SetRole promotes or demotes a member. Nobody lowers their own role; an admin asks another one. It needs
// Run. Errors: Denied, NotFound (no member), Invalid.
func (c *Groups) SetRole(ctx context.Context, id ident.GroupID, account ident.AccountID, role Role) error {
	want, err := role.core()
	if err != nil {
		return err
	}
	return c.changeGroup(ctx, id, byAdmin, func(_ *store.Tx, g *group) ([]wanted, error) {
		m := g.state.Member(account)
		switch {
		case m == nil:
			return nil, fault.New(fault.NotFound, "set role", "%s is no member", core.Short(account))
		case m.Role == want:
			return nil, nil
		case account == c.core.Me:
			return nil, fault.New(fault.Denied, "set role", "nobody lowers their own role: ask another admin")
		}
		return []wanted{wantChange(groups.Change{Kind: groups.KindRole,
			Targets: []groups.Target{{Account: account, Joined: m.Joined}}, Role: want})}, nil
	})
}

// SetInfo renames, describes, illustrates, or sets the timer. It needs Run. Errors: Denied (no admin),
// Invalid.
func (c *Groups) SetInfo(ctx context.Context, id ident.GroupID, info Info) error {
	if err := info.check(); err != nil {
		return err
	}
	return c.changeGroup(ctx, id, byAdmin, func(*store.Tx, *group) ([]wanted,
		error) {
		return []wanted{{Info: &info}}, nil
	})
}

// Rekey begins a new generation. It needs Run. Errors: Denied (no admin).
func (c *Groups) Rekey(ctx context.Context, id ident.GroupID) error {
	return c.changeGroup(ctx, id, byAdmin, func(_ *store.Tx, g *group) ([]wanted, error) {
		w := wantChange(groups.Change{Kind: groups.KindRekey})
		w.Generation = g.state.Generation()
		return []wanted{w}, nil
	})
}

// Accept asks to join a group that this account was invited to; Decline forgets the invitation. Errors:
// NotFound (no invitation waits), Corrupt (the invitation on disk).
func (c *Groups) Accept(ctx context.Context, id ident.GroupID) error {
	return c.answerInvitation(id, func(tx *store.Tx, g *group,
		in *groups.Invitation) error {
		return c.askToJoin(tx, g, in)
	})
}

// Decline is described at Accept. A join of a public group that is under way is undone: if its commit
// went in, the account leaves.
func (c *Groups) Decline(ctx context.Context, id ident.GroupID) error {
	return c.answerInvitation(id, func(tx *store.Tx, g *group, _ *groups.Invitation) error {
		if !g.knocks() {
			g.Keys = nil
		}
		g.Status, g.Request, g.Asked = Declined, nil, false
		c.save(tx, g)
		return c.gone(tx, g)
	})
}

func (c *Groups) answerInvitation(id ident.GroupID, f func(*store.Tx, *group,
	*groups.Invitation) error) error {
	err := c.core.Update(func(tx *store.Tx, a *core.Batch) error {
		g, err := c.get(tx, id)
		if err != nil {
			return err
		}
		if Status(g.Status) != Invited && Status(g.Status) != Waiting {
			return fault.New(fault.NotFound, "answer invitation", "none of the group waits")
		}
		in, err := groups.DecodeInvitation(g.Invitation)
		if err != nil {
			return err
		}
		c.changed(a, id)
		return f(tx, g, in)
	})
	if err != nil {
		return err
	}
	return nil
}

// Approve lets somebody in whose request or return waits for an admin's word. Errors: Denied (no admin),
// NotFound.
func (c *Groups) Approve(ctx context.Context, id ident.GroupID, account ident.AccountID) error {
	return c.changeGroup(ctx, id, byAdmin, func(tx *store.Tx, g *group) ([]wanted, error) {
		found := false
		for _, ask := range tx.GroupAsks(id) {
			if ask.Account == account && ask.Held {
				ask.Held, found = false, true
				tx.SaveGroupAsk(&ask)
			}
		}
		if !found {
			return nil, fault.New(fault.NotFound, "approve", "nothing of %s waits", core.Short(account))
		}
		return nil, tx.Err()
	})
}

// Leave leaves. Any admin finishes it with a new generation. It needs Run. Errors: Denied for the last admin.
func (c *Groups) Leave(ctx context.Context, id ident.GroupID) error {
	return c.changeGroup(ctx, id, byMember, func(_ *store.Tx, g *group) ([]wanted, error) {
		if _, err := g.state.Leave(rand.Reader); err != nil {
			return nil, err
		}
		return []wanted{{Leave: true}}, nil
	})
}

// Disband ends the group for all. It needs Run. Errors: Denied (no admin).
func (c *Groups) Disband(ctx context.Context, id ident.GroupID) error {
	return c.changeGroup(ctx, id, byAdmin, func(*store.Tx, *group) ([]wanted, error) {
		return []wanted{wantChange(groups.Change{Kind: groups.KindDisband})}, nil
	})
}
