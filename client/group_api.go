package client

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

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

func (i *GroupInfo) check() error {
	if t := i.Timer; t != nil && (t.AfterRead || t.check() != nil) {
		return fault.New(fault.Invalid, "set group info", "the timer of a group is off or runs from when a message is sent")
	}
	return nil
}

// CreateGroup makes a group with the own account as its only admin. It returns when the group is on disk on a majority. It
// needs Run. Errors: Invalid (limits of GroupInfo, the form), Denied (this device was revoked), Unavailable.
func (c *Client) CreateGroup(ctx context.Context, info GroupInfo, form GroupForm) (out Group, err error) {
	if err := info.check(); err != nil {
		return out, err
	}
	core, err := form.core()
	if err != nil {
		return out, err
	}
	if err := c.WaitOnline(ctx); err != nil {
		return out, err
	}
	genesis, err := groups.NewGenesis(rand.Reader)
	if err != nil {
		return out, err
	}
	defer genesis.Wipe()
	id, key := genesis.Group(), genesis.MailboxKey(c.cluster.ID)
	keys, err := groups.NewKeys(rand.Reader)
	if err != nil {
		return out, err
	}
	credential, err := c.groupCredential(id, keys.SignPublic())
	if err != nil {
		return out, err
	}
	s, p, err := groups.Create(rand.Reader, c.net.Now(), genesis, c.cluster.ID, c.me, keys, credential, info.on(groups.Info{}), core)
	if err != nil {
		return out, err
	}
	mailbox := ident.MailboxID(key.Public())
	commit := envelope.Store{Namespace: envelope.GroupLog, IfHead: new(uint64), Body: p.Commit}
	c.admit(mailbox, &commit)
	r := &envelope.Request{Mailbox: mailbox, Ops: []envelope.Op{envelope.SetAuthority{Change: envelope.Genesis, Key: p.Admin, Flags: envelope.NoRecover}}}
	r.Ops = append(append(r.Ops, stage(p, 0, len(p.Slots))...), commit)
	at := len(r.Ops) - 1
	r.Ops = append(r.Ops, p.Ops...)
	resp, _, err := c.request(ctx, PurposeInbox, r, key)
	if err != nil {
		return out, err
	}
	slot, _, err := s.Needs(p.Commit)
	if err != nil {
		return out, err
	}
	if err := s.Apply(c.net.Now(), p.Commit, p.Find(slot)); err != nil {
		return out, err
	}
	seq := resp.Results[at].Seq
	a := c.newApplied()
	err = c.update(func(tx *store.Tx) error {
		if err := c.enterGroup(tx, id, s, seq); err != nil {
			return err
		}
		g, err := c.group(tx, id)
		if err != nil {
			return err
		}
		g.HeadSeq = seq
		c.saveGroup(tx, g)
		a.groupChanged(id)
		out = c.viewGroup(tx, g)
		return c.groupEntered(tx, g)
	})
	if err != nil {
		return Group{}, err
	}
	a.publish()
	return out, nil
}

// changeGroup queues what plan wants of a group and waits until it is in the log. plan runs in a transaction, for admins of
// the group only unless anybody may.
func (c *Client) changeGroup(ctx context.Context, id ident.GroupID, anybody bool, plan func(tx *store.Tx, g *group) ([]wanted, error)) error {
	var rows []int64
	err := c.update(func(tx *store.Tx) error {
		g, err := c.group(tx, id)
		if err != nil {
			return err
		}
		switch {
		case g.state == nil || GroupStatus(g.Status) != GroupJoined:
			return fault.New(fault.Denied, "change group", "this account is no member, or this device has no keys of the group")
		case !anybody && !g.state.Admin():
			return fault.New(fault.Denied, "change group", "this account is no admin of the group: ask one of them")
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
	c.groups.kick(id)
	var first error
	for _, n := range rows {
		if err := c.waitChange(ctx, id, n); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// GroupAdd invites accounts; those that were banned are allowed again. history is how many days of earlier messages they
// get, 0 to 30, as far as the admin's device that lets them in keeps their keys: for 16 days. It returns when the group's log has the invitation;
// the messages to the invited leave by the outbox. It needs Run. Errors: Denied (no admin), Limited (too many members), Exists (all are members or invited).
func (c *Client) GroupAdd(ctx context.Context, id ident.GroupID, history int, accounts ...ident.AccountID) error {
	if history < 0 || history > maxHistory {
		return fault.New(fault.Invalid, "add to group", "%d days of history, want 0 to %d", history, maxHistory)
	}
	return c.changeGroup(ctx, id, false, func(tx *store.Tx, g *group) ([]wanted, error) {
		invited := g.state.Invited()
		var fresh []ident.AccountID
		for _, a := range accounts {
			if _, err := c.person(tx, a); err != nil {
				return nil, err
			}
			if g.state.Member(a) == nil && !slices.Contains(invited, a) && !slices.Contains(fresh, a) {
				fresh = append(fresh, a)
			}
		}
		if len(fresh) == 0 {
			return nil, fault.New(fault.Exists, "add to group", "all of them are members or invited")
		}
		ch, seed, err := groups.NewBoundInvite(rand.Reader, c.net.Now().Add(inviteLife), uint16(history), fresh)
		if err != nil {
			return nil, err
		}
		w := wantChange(ch)
		plain := seed.Reveal()
		w.Seed = plain[:]
		return []wanted{w}, nil
	})
}

// GroupRemove removes members, or withdraws invitations, and begins a new generation; ban keeps them from coming back
// until they are added again. In a public group who has a link can come back as another account: see GroupRevokeLink. It needs
// Run. Errors: Denied (no admin; an admin is removed by another one), NotFound (none of them is in the group).
func (c *Client) GroupRemove(ctx context.Context, id ident.GroupID, ban bool, accounts ...ident.AccountID) error {
	return c.changeGroup(ctx, id, false, func(tx *store.Tx, g *group) (out []wanted, err error) {
		remove := groups.Change{Kind: groups.KindRemove, Ban: ban}
		withdraw := groups.Change{Kind: groups.KindRevokeInvite, Ban: ban}
		invited := g.state.Invited()
		for _, a := range accounts {
			m := g.state.Member(a)
			switch {
			case a == c.me:
				return nil, fault.New(fault.Denied, "remove from group", "nobody removes themselves: leave the group")
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

// GroupSetRole promotes or demotes a member. Nobody lowers their own role; an admin asks another one. It needs Run. Errors:
// Denied, NotFound (no member), Invalid.
func (c *Client) GroupSetRole(ctx context.Context, id ident.GroupID, account ident.AccountID, role GroupRole) error {
	want, err := role.core()
	if err != nil {
		return err
	}
	return c.changeGroup(ctx, id, false, func(_ *store.Tx, g *group) ([]wanted, error) {
		m := g.state.Member(account)
		switch {
		case m == nil:
			return nil, fault.New(fault.NotFound, "set role", "%s is no member", short(account))
		case m.Role == want:
			return nil, nil
		case account == c.me:
			return nil, fault.New(fault.Denied, "set role", "nobody lowers their own role: ask another admin")
		}
		return []wanted{wantChange(groups.Change{Kind: groups.KindRole, Targets: []groups.Target{{Account: account, Joined: m.Joined}}, Role: want})}, nil
	})
}

// GroupSetInfo renames, describes, illustrates, or sets the timer. It needs Run. Errors: Denied (no admin), Invalid.
func (c *Client) GroupSetInfo(ctx context.Context, id ident.GroupID, info GroupInfo) error {
	if err := info.check(); err != nil {
		return err
	}
	return c.changeGroup(ctx, id, false, func(*store.Tx, *group) ([]wanted, error) { return []wanted{{Info: &info}}, nil })
}

// GroupRekey begins a new generation. It needs Run. Errors: Denied (no admin).
func (c *Client) GroupRekey(ctx context.Context, id ident.GroupID) error {
	return c.changeGroup(ctx, id, false, func(_ *store.Tx, g *group) ([]wanted, error) {
		w := wantChange(groups.Change{Kind: groups.KindRekey})
		w.Generation = g.state.Generation()
		return []wanted{w}, nil
	})
}

// GroupAccept asks to join a group that this account was invited to; GroupDecline forgets the invitation. Errors: NotFound
// (no invitation waits).
func (c *Client) GroupAccept(ctx context.Context, id ident.GroupID) error {
	return c.answerInvitation(id, func(tx *store.Tx, g *group, in *groups.Invitation) error { return c.askToJoin(tx, g, in) })
}

// GroupDecline is described at GroupAccept. A join of a public group that is under way is undone: if its commit went in, the account leaves.
func (c *Client) GroupDecline(ctx context.Context, id ident.GroupID) error {
	return c.answerInvitation(id, func(tx *store.Tx, g *group, _ *groups.Invitation) error {
		if !g.knocks() {
			g.Keys = nil
		}
		g.Status, g.Request, g.Asked = groupDeclined, nil, false
		c.saveGroup(tx, g)
		return c.groupGone(tx, g)
	})
}

func (c *Client) answerInvitation(id ident.GroupID, f func(*store.Tx, *group, *groups.Invitation) error) error {
	a := c.newApplied()
	err := c.update(func(tx *store.Tx) error {
		g, err := c.group(tx, id)
		if err != nil {
			return err
		}
		if GroupStatus(g.Status) != GroupInvited && GroupStatus(g.Status) != GroupWaiting {
			return fault.New(fault.NotFound, "answer invitation", "none of the group waits")
		}
		in, err := groups.DecodeInvitation(g.Invitation)
		if err != nil {
			return err
		}
		a.groupChanged(id)
		return f(tx, g, in)
	})
	if err != nil {
		return err
	}
	a.publish()
	return nil
}

// GroupApprove lets somebody in whose request or return waits for an admin's word. Errors: Denied (no admin), NotFound.
func (c *Client) GroupApprove(ctx context.Context, id ident.GroupID, account ident.AccountID) error {
	return c.changeGroup(ctx, id, false, func(tx *store.Tx, g *group) ([]wanted, error) {
		found := false
		for _, ask := range tx.GroupAsks(id) {
			if ask.Account == account && ask.Held {
				ask.Held, found = false, true
				tx.SaveGroupAsk(&ask)
			}
		}
		if !found {
			return nil, fault.New(fault.NotFound, "approve", "nothing of %s waits", short(account))
		}
		return nil, tx.Err()
	})
}

// GroupLeave leaves. Any admin finishes it with a new generation. It needs Run. Errors: Denied for the last admin.
func (c *Client) GroupLeave(ctx context.Context, id ident.GroupID) error {
	return c.changeGroup(ctx, id, true, func(_ *store.Tx, g *group) ([]wanted, error) {
		if _, err := g.state.Leave(rand.Reader); err != nil {
			return nil, err
		}
		return []wanted{{Leave: true}}, nil
	})
}

// GroupDisband ends the group for all. It needs Run. Errors: Denied (no admin).
func (c *Client) GroupDisband(ctx context.Context, id ident.GroupID) error {
	return c.changeGroup(ctx, id, false, func(*store.Tx, *group) ([]wanted, error) {
		return []wanted{wantChange(groups.Change{Kind: groups.KindDisband})}, nil
	})
}
