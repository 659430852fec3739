package storetest

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// foundAs makes a group of a form, whose members have keys of their own.
func foundAs(u *user, form envelope.GroupForm) *team {
	t := &team{user: u, g: NewGroupOf(u.acc.seed, form)}
	genesis := t.g.Genesis()
	t.head = u.ok(genesis, u.acc.MailboxKey()).CertsHead
	t.g.Accept(genesis.Ops[1].(envelope.Store))
	return t
}

// sealed is a message of the generation that t is in.
func (t *team) sealed(body string) envelope.Store {
	st := groupMessage(body)
	st.IfGeneration = new(t.g.Generation())
	return st
}

// word is a word to the admins of the generation that t is in.
func (t *team) word(body string) envelope.Store {
	return envelope.Store{Namespace: envelope.GroupLeaves, TTL: day, IfGeneration: new(t.g.Generation()),
		Body: wordOf(t.g.Generation(), body)}
}

// wordOf names a generation where nodes look for it.
func wordOf(generation uint32, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{1}, generation), body...)
}

// change sends a commit with what follows it, as an admin does.
func (t *team) change(kind envelope.CommitKind, body string, ops ...envelope.Op) {
	t.Helper()
	st := t.g.Sign(t.g.Next(kind, body), t.head)
	t.head = t.ok(t.acc.Request(t.admin(), append([]envelope.Op{st}, ops...)...), t.admin()).CertsHead
	t.g.Accept(st)
}

// join lets a member in without an admin.
func (t *team) join(n uint32) {
	t.Helper()
	key := t.g.Write(t.g.Generation())
	ops := t.g.Join(t.head, n)
	t.head = t.ok(t.acc.Request(key, ops...), key).CertsHead
	t.g.Accept(ops[0].(envelope.Store))
}

// membersWriteWithTheirOwnKeys: in forms 1 and 2 the write key stores nothing, and a removal ends a member's
// key at once.
func membersWriteWithTheirOwnKeys(u *user) {
	t := foundAs(u, envelope.FormOwn)
	for i, r := range u.ok(NewGroupOf(u.acc.seed, envelope.FormOwn).Genesis(), u.acc.MailboxKey()).Results {
		if !r.Existed {
			t.Errorf("operation %d: got %+v for a repeated genesis, want existed", i, r)
		}
	}
	creator := t.g.Member(1)
	t.not(fault.Denied, t.g.Write(1), t.sealed("x"))
	t.not(fault.Denied, t.g.Write(1), t.word("x"))
	t.not(fault.Denied, t.g.Member(2), t.sealed("x"))
	t.not(fault.Invalid, creator, groupMessage("of which generation?"))
	t.by(creator, t.sealed("one"))
	t.by(creator, t.word("one"))
	nameless, past := t.word("of which generation?"), t.word("of an earlier generation")
	nameless.IfGeneration, past.Body = nil, wordOf(0, "of an earlier generation")
	t.not(fault.Invalid, creator, nameless)
	t.not(fault.Invalid, creator, past)
	t.not(fault.Denied, creator, read(envelope.GroupMail))
	t.not(fault.Denied, creator, envelope.Store{Namespace: envelope.GroupAsk, TTL: day, Body: []byte("x")})

	t.change(envelope.CommitAdd, "add two", t.g.Admit(2, 2),
		func() envelope.Op { d := t.g.Admit(2, 3); d.Serial++; return d }())
	early, word := t.sealed("of generation 1"), t.word("of generation 1")
	t.by(t.g.Member(2), t.sealed("two"))
	t.by(t.g.Member(3), t.sealed("three"))
	t.change(envelope.CommitRemove, "remove 2", envelope.RevokeKeys{Keys: [][32]byte{public(t.g.Member(2)),
		public(t.g.Member(9)), public(t.g.Read(1))}})
	u.head(t.not(fault.Stale, t.g.Member(2), t.sealed("still here?")), t.head)
	u.head(t.not(fault.Stale, t.g.Member(3), early), t.head)
	u.head(t.not(fault.Stale, t.g.Member(3), word), t.head)
	t.by(t.g.Member(3), t.sealed("of generation 2"))
	if r := t.by(t.g.Member(2), t.sealed("of generation 2")); !r.Existed {
		t.Errorf("got %+v for what was stored before, want existed", r)
	}
	u.bodies(t.by(t.g.Read(2), read(envelope.GroupMail)).Envelopes, "one", "two", "three", "of generation 2")
	if r := t.by(t.admin(), envelope.RevokeKeys{Keys: [][32]byte{public(t.g.Member(2))}}); !r.Existed {
		t.Errorf("got %+v for a repeated revocation, want existed", r)
	}
	t.not(fault.Denied, t.g.Member(3), envelope.RevokeKeys{Keys: [][32]byte{public(t.g.Member(1))}})

	// Nobody lets itself in, and no form changes.
	for name, form := range map[string]envelope.GroupForm{"shared": envelope.FormShared,
		"public": envelope.FormPublic} {
		c := t.g.Next(envelope.CommitInfo, name)
		c.Form = form
		t.not(fault.Invalid, t.admin(), t.g.Sign(c, t.head))
	}
	c := t.g.Next(envelope.CommitJoin, "join")
	t.not(fault.Invalid, t.g.Write(2), t.g.Sign(c, t.head))
	c.Form = envelope.FormPublic
	t.not(fault.Denied, t.g.Write(2), t.g.Sign(c, t.head))
	t.not(fault.Denied, t.admin(), t.g.Sign(c, t.head))
}

// joinersLetThemselvesIn: in form 2 who holds the write key appends a join and gets a key of its own, and
// nothing else.
func joinersLetThemselvesIn(u *user) {
	t := foundAs(u, envelope.FormPublic)
	write := t.g.Write(1)
	rival := t.g.Join(t.head, 3)
	t.join(2)
	t.by(t.g.Member(2), t.sealed("hello"))
	t.not(fault.Denied, write, t.sealed("x"))
	u.head(u.refused(fault.Stale, u.acc.Request(write, rival...), write), t.head)

	for name, edit := range map[string]func(*envelope.Commit){
		"generation": func(c *envelope.Commit) { c.Generation++ },
		"read":       func(c *envelope.Commit) { c.Read = public(t.g.Read(9)) },
		"write":      func(c *envelope.Commit) { c.Write = public(t.g.Write(9)) },
		"mod":        func(c *envelope.Commit) { c.Mod = public(t.g.Mod(9)) },
		"admin":      func(c *envelope.Commit) { c.Admin = public(t.g.Admin(9)) },
		"slots":      func(c *envelope.Commit) { c.SlotsRoot = [32]byte{1} },
		"size":       func(c *envelope.Commit) { c.Body = make([]byte, envelope.MaxJoin) },
		"next generation": func(c *envelope.Commit) {
			c.Generation++
			c.Read, c.Write, c.Mod, c.Admin = public(t.g.Read(2)), public(t.g.Write(2)), public(t.g.Mod(2)),
				public(t.g.Admin(2))
		},
	} {
		c := t.g.Next(envelope.CommitJoin, name)
		edit(c)
		if resp := u.send(u.acc.Request(write, t.g.Sign(c, t.head)), write); !errors.Is(resp.Err(),
			fault.Invalid) {
			t.Errorf("a join with another %s: got %v, want invalid", name, resp.Err())
		}
	}
	admins := t.g.Sign(t.g.Next(envelope.CommitInfo, "signed by the admin key"), t.head)
	t.not(fault.Denied, write, admins)
	good := t.g.Join(t.head, 3)
	t.not(fault.Denied, t.admin(), good[0])
	t.not(fault.Denied, t.g.Member(2), good[0])
	t.not(fault.Unauthenticated, nil, good[0])
	forged := good[0].(envelope.Store)
	forged.Body = append([]byte(nil), forged.Body...)
	forged.Body[len(forged.Body)-1] ^= 1
	t.not(fault.Unauthenticated, write, forged)

	// What may be delegated, and when.
	t.not(fault.Denied, write, good[1])
	for name, c := range map[string]struct {
		kind fault.Kind
		ops  []envelope.Op
	}{
		"before":      {fault.Denied, []envelope.Op{good[1], good[0]}},
		"not at once": {fault.Denied, []envelope.Op{good[0], envelope.Info{}, good[1]}},
		"twice":       {fault.Denied, []envelope.Op{good[0], good[1], t.g.Admit(3, 4)}},
		"rights": {fault.Invalid, []envelope.Op{good[0],
			edited(good[1], func(d *envelope.Delegate) { d.Rights |= envelope.MayDelete })}},
		"place": {fault.Invalid, []envelope.Op{good[0],
			edited(good[1], func(d *envelope.Delegate) { d.Serial++ })}},
		"index": {fault.Invalid, []envelope.Op{good[0],
			edited(good[1], func(d *envelope.Delegate) { d.Serial += 256 })}},
		"generation": {fault.Invalid, []envelope.Op{good[0],
			edited(good[1], func(d *envelope.Delegate) { d.Generation++ })}},
		"an end": {fault.Invalid, []envelope.Op{good[0],
			edited(good[1], func(d *envelope.Delegate) { d.NotAfter = 1 << 46 })}},
		"namespaces": {fault.Invalid, []envelope.Op{good[0],
			edited(good[1], func(d *envelope.Delegate) { d.Namespaces = []envelope.Namespace{envelope.GroupMail} })}},
		"used key": {fault.Invalid, []envelope.Op{good[0],
			edited(good[1], func(d *envelope.Delegate) { d.Key = public(t.g.Member(2)) })}},
		"revocation": {fault.Denied, []envelope.Op{good[0],
			envelope.RevokeKeys{Keys: [][32]byte{public(t.g.Member(2))}}}},
	} {
		if resp := u.send(u.acc.Request(write, c.ops...), write); !errors.Is(resp.Err(), c.kind) {
			t.Errorf("%s: got %v, want %v", name, resp.Err(), c.kind)
		}
	}
	each := u.acc.Request(write, edited(good[1], func(d *envelope.Delegate) {}))
	each.Mode, each.Ops = envelope.Each, []envelope.Op{envelope.Info{}, good[1]}
	if resp := u.send(each, write); !errors.Is(resp.Results[1].Err, fault.Denied) {
		t.Errorf("in mode each: got %v, want denied", resp.Results[1].Err)
	}

	// A join is done once, and nobody gains by somebody else's.
	t.join(3)
	for i, r := range u.ok(u.acc.Request(write, good...), write).Results {
		if !r.Existed {
			t.Errorf("operation %d: got %+v for a repeated join, want existed", i, r)
		}
	}
	u.head(u.refused(fault.Stale, u.acc.Request(write, good[0], t.g.Admit(3, 4)), write), t.head)
	alone := t.g.Join(t.head, 4)
	t.head = t.ok(u.acc.Request(write, alone[0]), write).CertsHead
	t.g.Accept(alone[0].(envelope.Store))
	u.refused(fault.Stale, u.acc.Request(write, alone...), write)
	t.not(fault.Denied, t.g.Member(4), t.sealed("x"))

	// An admin ends a join that members do not count, and the keys of the link's generation.
	t.by(t.admin(), envelope.Revoke{Serial: envelope.Serial(3, 0)})
	u.head(t.not(fault.Stale, t.g.Member(3), t.sealed("x")), t.head)
	t.commit(envelope.CommitRekey, "rekey")
	u.head(u.refused(fault.Stale, u.acc.Request(write, t.g.Join(t.head, 5)...), write), t.head)
	t.join(5)
	t.by(t.g.Member(5), t.sealed("in at once"))
	t.by(t.g.Member(2), t.sealed("as before"))
}

func edited(op envelope.Op, edit func(*envelope.Delegate)) envelope.Delegate {
	d := op.(envelope.Delegate)
	edit(&d)
	return d
}

// serialsFollowTheLog: a capability's serial holds the index of the newest commit, so that nobody uses the
// serials up.
func serialsFollowTheLog(u *user) {
	t := found(u)
	at := func(index uint64, place uint8, n uint32) envelope.Delegate {
		d := t.invite(1, 1)
		d.Serial, d.Key, d.NotAfter = envelope.Serial(index, place), public(t.g.Invite(n)), 0
		return d
	}
	t.not(fault.Invalid, t.admin(), at(2, 0, 1))
	t.not(fault.Invalid, t.admin(), at(1<<40, 0, 1))
	t.not(fault.Stale, t.admin(), at(0, 255, 1))
	t.by(t.admin(), at(1, 7, 1))
	u.head(t.not(fault.Stale, t.admin(), at(1, 7, 2)), envelope.Serial(1, 7))
	u.head(t.not(fault.Stale, t.admin(), at(1, 6, 2)), envelope.Serial(1, 7))
	t.by(t.admin(), at(1, 255, 2))
	t.not(fault.Invalid, t.admin(), at(2, 0, 3))
	t.change(envelope.CommitInvite, "invite", at(2, 0, 3))
	t.commit(envelope.CommitInfo, "info")
	u.head(t.not(fault.Stale, t.admin(), at(2, 1, 4)), envelope.Serial(2, 0))
	if u.h.Advance != nil {
		u.h.Advance(300 * 24 * time.Hour)
	}
	t.by(t.g.Invite(3), envelope.Store{Namespace: envelope.GroupAsk, TTL: day,
		Body: []byte("without an end")})
	t.not(fault.Invalid, t.admin(), envelope.Revoke{ByGeneration: true, Generation: 1})
	t.not(fault.Invalid, t.admin(), envelope.Revoke{ByGeneration: true, Generation: 1<<32 - 1})
	t.commit(envelope.CommitRekey, "rekey")
	t.by(t.admin(), envelope.Revoke{ByGeneration: true, Generation: 1})
	t.not(fault.Stale, t.g.Invite(3), envelope.Store{Namespace: envelope.GroupAsk, TTL: day,
		Body: []byte("too late")})
}

// storesNameTheirGeneration: a condition that anybody's store may carry.
func storesNameTheirGeneration(u *user) {
	t := found(u)
	first := t.sealed("first")
	t.by(t.g.Write(1), first)
	t.commit(envelope.CommitRekey, "rekey")
	late := t.sealed("late")
	late.IfGeneration = new(uint32(1))
	u.head(t.not(fault.Stale, t.g.Write(2), late), t.head)
	if r := t.by(t.g.Write(2), first); !r.Existed {
		t.Errorf("got %+v for what was stored in generation 1, want existed", r)
	}
	late.IfGeneration = new(uint32(2))
	t.by(t.g.Write(2), late)
}

// revokedKeyEndsItsSubscription, whichever operation revokes it.
func revokedKeyEndsItsSubscription(u *user) {
	u.needSubscribe()
	t := found(u)
	d := t.invite(1, 1)
	d.Rights, d.Namespaces = envelope.MayRead, []envelope.Namespace{envelope.GroupMail}
	t.by(t.admin(), d)
	ctx, cancel := context.WithCancel(u.ctx)
	defer cancel()
	mail, ended := u.subscribe(ctx, t.g.Invite(1), t.head, envelope.GroupMail)
	t.by(t.g.Write(1), groupMessage("one"))
	u.bodies([]envelope.Envelope{u.next(mail, ended)}, "one")
	t.by(t.admin(), envelope.RevokeKeys{Keys: [][32]byte{d.Key}})
	select {
	case err := <-ended:
		if !errors.Is(err, fault.Stale) {
			t.Errorf("got %v, want stale", err)
		}
	case <-u.ctx.Done():
		t.Error("the subscription outlived its key")
	}
}
