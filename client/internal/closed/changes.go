package closed

import (
	"context"
	"encoding/json"

	"github.com/starling-swarm/starling/client/internal/core"
	"github.com/starling-swarm/starling/client/internal/store"
	"github.com/starling-swarm/starling/groups"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// wanted is what this device wants of a group, as it lies in the store until it is in the log: as JSON.
type wanted struct {
	Change     []byte `json:",omitempty"` // groups.Change
	Info       *Info  `json:",omitempty"` // instead: what to change of the info
	Seed       []byte `json:",omitempty"` // of the invitation that Change opens
	Generation uint32 `json:",omitempty"` // it is done once the group is beyond that
	Leave      bool   `json:",omitempty"` // instead: say to the admins that this account leaves
	Revoke     uint64 `json:",omitempty"` // instead: have the nodes forget the capability with this serial
	Refused    int    `json:",omitempty"` // how often the nodes refused it
}

// wantChange is a change that means the same upon any later head.
func wantChange(ch groups.Change) wanted { return wanted{Change: ch.Encode()} }

// want queues what this device wants of a group. Kick the group afterwards, and wait with waitChange.
func (c *Groups) want(tx *store.Tx, id ident.GroupID, w wanted) (n int64, err error) {
	b, err := json.Marshal(w)
	if err != nil {
		return 0, fault.Wrap(fault.Internal, "encode group change", err)
	}
	ch := store.GroupChange{Group: id, Want: b, Since: c.core.NowMS()}
	tx.AddGroupChange(&ch)
	return ch.N, tx.Err()
}

func decodeWanted(b []byte) (w wanted, err error) {
	if err := json.Unmarshal(b, &w); err != nil {
		return w, fault.Wrap(fault.Corrupt, "read group change", err)
	}
	return w, nil
}

// on returns the change upon the state s. Errors: Exists (nothing is left to do).
func (w *wanted) on(s *groups.State) (groups.Change, error) {
	if w.Generation != 0 && s.Generation() > w.Generation {
		return groups.Change{}, fault.New(fault.Exists, "change group", "generation %d has begun",
			s.Generation())
	}
	if w.Info != nil {
		return groups.Change{Kind: groups.KindInfo, Info: w.Info.on(s.Info())}, nil
	}
	return groups.DecodeChange(w.Change)
}

// on returns old with what i changes.
func (i *Info) on(old groups.Info) groups.Info {
	if i.Name != nil {
		old.Name = *i.Name
	}
	if i.Description != nil {
		old.About = *i.Description
	}
	if i.Picture != nil {
		old.Picture = *i.Picture
	}
	if i.Timer != nil {
		old.Timer = uint32(i.Timer.After.Seconds())
	}
	return old
}

// pending describes a change for people.
func (w *wanted) pending() (out []Pending) {
	if w.Leave {
		return []Pending{{Kind: "leave"}}
	}
	if w.Info != nil {
		return []Pending{{Kind: "info"}}
	}
	ch, err := groups.DecodeChange(w.Change)
	if err != nil {
		return nil
	}
	kinds := map[groups.Kind]string{groups.KindAdd: "add", groups.KindRemove: "remove",
		groups.KindRole: "role", groups.KindInfo: "info", groups.KindRekey: "rekey",
		groups.KindInvite: "invite", groups.KindRevokeInvite: "invite", groups.KindDisband: "disband"}
	kind := kinds[ch.Kind]
	var who []ident.AccountID
	for _, t := range ch.Targets {
		who = append(who, t.Account)
	}
	who = append(who, ch.Accounts...)
	if len(ch.Invite.For) > 0 {
		kind, who = "add", append(who, ch.Invite.For...)
	}
	if len(who) == 0 {
		return []Pending{{Kind: kind}}
	}
	for _, id := range who {
		out = append(out, Pending{Kind: kind, Account: id})
	}
	return out
}

// waitChange returns once change n is in the log, or was given up: then with the reason. Unavailable as soon
// as the cluster proves to be out of reach; the change stays wanted then, as it does when ctx ends.
func (c *Groups) waitChange(ctx context.Context, id ident.GroupID, n int64) error {
	c.attend(n, 1)
	defer c.attend(n, -1)
	for {
		moved, changed := c.Moved.Watch(), c.core.Link.Changed.Watch()
		waits := false
		err := c.core.View(func(tx *store.Tx) error {
			for _, ch := range tx.GroupChanges(id) {
				waits = waits || ch.N == n
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !waits {
			return c.outcome(n)
		}
		if _, cause := c.core.Link.Get(); cause != nil {
			return cause
		}
		select {
		case <-moved:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// maxFailures bounds the reasons that are kept for those who wait.
const maxFailures = 256

// outcome returns why a change was given up; nil: it was not.
func (e *Groups) outcome(n int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.failures[n]
	delete(e.failures, n)
	return err
}

// forgetChange forgets a change that can never come about. heard: somebody waits for it and is told why.
func (e *Groups) forgetChange(tx *store.Tx, ch store.GroupChange, cause error) (heard bool) {
	tx.DropGroupChange(ch.N)
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.failures) >= maxFailures {
		clear(e.failures)
	}
	e.failures[ch.N] = cause
	return e.waiters[ch.N] > 0
}

// giveUp forgets a change that can never come about. If nobody waits for it any more, the user is told.
func (c *Groups) giveUp(tx *store.Tx, a *core.Batch, g *group, ch store.GroupChange, cause error) {
	if !c.forgetChange(tx, ch, cause) {
		a.Tell(core.Fact{Kind: core.FactNotice, Group: &g.ID, Text: "group " + g.Name +
			": what was wanted cannot be done: " + cause.Error()})
	}
	c.changed(a, g.ID)
}

// attend counts those who wait for a change.
func (e *Groups) attend(n int64, by int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiters[n] += by; e.waiters[n] == 0 {
		delete(e.waiters, n)
	}
}

// settleChanges ends the changes that a commit brought about.
func (c *Groups) settleChanges(tx *store.Tx, a *core.Batch, g *group, commit [32]byte) error {
	for _, ch := range tx.GroupChanges(g.ID) {
		if ch.Tried != commit {
			continue
		}
		if err := c.changeDone(tx, a, g, ch); err != nil {
			return err
		}
	}
	return tx.Err()
}

// changeDone ends a change that is in the log. What an invitation leads to begins with it.
func (c *Groups) changeDone(tx *store.Tx, a *core.Batch, g *group, ch store.GroupChange) error {
	tx.DropGroupChange(ch.N)
	c.changed(a, g.ID)
	w, err := decodeWanted(ch.Want)
	if err != nil || w.Change == nil {
		return err
	}
	change, err := groups.DecodeChange(w.Change)
	if err != nil {
		return err
	}
	if w.Seed == nil {
		return c.overtaken(tx, a, g, ch, &change)
	}
	return c.invite(tx, a, g, change.Invite, private.KeyOf([32]byte(w.Seed)))
}
