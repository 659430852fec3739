package storetest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// team is a group under test.
type team struct {
	*user
	g    *Group
	head uint64 // of the log
}

func slot(name, content string) envelope.Slot {
	return envelope.Slot{Locator: Key(name), Sealed: []byte(content)}
}

func groupMessage(body string) envelope.Store {
	return envelope.Store{Namespace: envelope.GroupMail, TTL: day, Body: []byte(body)}
}

func read(ns ...envelope.Namespace) envelope.Retrieve { return envelope.Retrieve{Namespaces: ns} }

// found makes a group with one slot.
func found(u *user) *team {
	t := &team{user: u, g: NewGroup(u.acc.seed)}
	genesis := t.g.Genesis(slot("a1", "first"))
	t.head = u.ok(genesis, u.acc.MailboxKey()).CertsHead
	t.g.Accept(genesis.Ops[len(genesis.Ops)-1].(envelope.Store))
	return t
}

// by sends one operation that is done.
func (t *team) by(key ed25519.PrivateKey, op envelope.Op) envelope.Result {
	t.Helper()
	return t.ok(t.acc.Request(key, op), key).Results[0]
}

// not sends one operation that is refused.
func (t *team) not(kind fault.Kind, key ed25519.PrivateKey, op envelope.Op) *envelope.Response {
	t.Helper()
	return t.refused(kind, t.acc.Request(key, op), key)
}

func (t *team) admin() ed25519.PrivateKey { return t.g.Admin(t.g.Generation()) }

// commit appends a commit and brings its slots.
func (t *team) commit(kind envelope.CommitKind, body string, slots ...envelope.Slot) {
	t.Helper()
	st := t.g.Sign(t.g.Next(kind, body, slots...), t.head)
	ops := append(Stage(slots...), st)
	t.head = t.ok(t.acc.Request(t.admin(), ops...), t.admin()).CertsHead
	t.g.Accept(st)
}

func groupBeginsOnce(u *user) {
	t := found(u)
	root := u.acc.MailboxKey()
	again := NewGroup(u.acc.seed).Genesis(slot("a1", "first"))
	for i, r := range u.ok(again, root).Results {
		if !r.Existed {
			t.Errorf("operation %d: got %+v for a repeated genesis, want existed", i, r)
		}
	}
	t.not(fault.Denied, root, groupMessage("x"))
	t.not(fault.Denied, root, read(envelope.GroupLog))
	u.refused(fault.Denied, u.acc.Change(envelope.Recover, 2, 0), root)
	u.refused(fault.Denied, u.acc.Change(envelope.Rotate, 2, 0), t.admin())
	smuggle := u.acc.Request(root, envelope.SetAuthority{Change: envelope.Genesis, Key: public(t.admin()),
		Flags: envelope.NoRecover},
		envelope.Store{Namespace: envelope.GroupSlots, TTL: day, Body: make([]byte, 40)}, again.Ops[2])
	u.refused(fault.Stale, smuggle, root)
	t.not(fault.Denied, t.admin(), syncDelta("accounts have this"))
	t.not(fault.Denied, nil, message("and this"))
	t.not(fault.Denied, nil, read(envelope.Certs))

	// The commit in the genesis and the genesis name the same admin.
	other := NewGroup(u.acc.seed + "/other")
	r := other.Genesis()
	r.Ops[0] = envelope.SetAuthority{Change: envelope.Genesis, Key: public(other.Admin(2)),
		Flags: envelope.NoRecover}
	u.acc = other.Account
	u.refused(fault.Invalid, r, other.MailboxKey())
	u.refused(fault.NotFound, u.acc.Request(nil, read(envelope.Certs)), nil)
}

func commitsFormOneOrder(u *user) {
	t := found(u)
	rival := t.g.Sign(t.g.Next(envelope.CommitInfo, "rival"), t.head)
	t.commit(envelope.CommitInfo, "winner")
	u.head(t.not(fault.Stale, t.admin(), rival), t.head)
	rival.IfHead = &t.head // the head is right, the predecessor is not
	u.head(t.not(fault.Stale, t.admin(), rival), t.head)
	for name, edit := range map[string]func(*envelope.Commit){
		"index":         func(c *envelope.Commit) { c.Index++ },
		"prev hash":     func(c *envelope.Commit) { c.PrevHash[0] ^= 1 },
		"generation":    func(c *envelope.Commit) { c.Generation += 2 },
		"same keys":     func(c *envelope.Commit) { c.Generation++ },
		"new read key":  func(c *envelope.Commit) { c.Read = public(t.g.Read(9)) },
		"new mod key":   func(c *envelope.Commit) { c.Mod = public(t.g.Mod(9)) },
		"new admin key": func(c *envelope.Commit) { c.Admin = public(t.g.Admin(9)) },
		"weak key":      func(c *envelope.Commit) { c.Mod = [32]byte{1} },
		"one key twice": func(c *envelope.Commit) { c.Mod = c.Admin },
		"missing slots": func(c *envelope.Commit) { c.SlotsRoot[0] ^= 1 },
	} {
		c := t.g.Next(envelope.CommitInfo, name)
		edit(c)
		if resp := u.send(u.acc.Request(t.admin(), t.g.Sign(c, t.head)), t.admin()); resp.Err() == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	forged := t.g.Sign(t.g.Next(envelope.CommitInfo, "forged"), t.head)
	forged.Body[len(forged.Body)-1] ^= 1
	t.not(fault.Unauthenticated, t.admin(), forged)
	good := t.g.Sign(t.g.Next(envelope.CommitInfo, "good"), t.head)
	t.not(fault.Denied, t.g.Write(1), good)
	t.by(t.admin(), good)
	if r := t.by(t.admin(), good); !r.Existed {
		t.Errorf("got %+v for a repeated commit, want existed", r)
	}
	t.not(fault.Denied, t.admin(), envelope.Delete{Namespace: envelope.GroupLog,
		Hashes: []envelope.Hash{u.hash(good)}})
}

func rekeyEndsOldKeys(u *user) {
	t := found(u)
	old := t.g.Generation()
	t.by(t.g.Write(old), groupMessage("before"))
	t.by(t.g.Read(old), read(envelope.GroupMail))
	oldAdmin := t.admin()
	t.commit(envelope.CommitRemove, "remove", slot("a2", "second"))
	u.head(t.not(fault.Stale, t.g.Write(old), groupMessage("after")), t.head)
	u.head(t.not(fault.Stale, t.g.Read(old), read(envelope.GroupMail)), t.head)
	u.head(t.not(fault.Stale, oldAdmin, envelope.Store{Namespace: envelope.GroupNotice, TTL: day,
		Body: []byte("x")}), t.head)
	t.not(fault.Stale, t.g.Mod(old), envelope.Delete{Namespace: envelope.GroupMail,
		Hashes: []envelope.Hash{{}}})
	t.by(t.admin(), envelope.Store{Namespace: envelope.GroupNotice, TTL: day, Body: []byte("notice")})
	got := t.by(t.g.Read(old), read(envelope.GroupLog, envelope.GroupNotice))
	if len(got.Envelopes) != 3 {
		t.Errorf("got %d commits and notices with an old read key, want 3", len(got.Envelopes))
	}
	t.by(t.g.Read(old), envelope.RetrieveKey{Namespace: envelope.GroupSlots, Key: Key("a2")})
	now := t.g.Generation()
	t.by(t.g.Write(now), groupMessage("after"))
	u.bodies(t.by(t.g.Read(now), read(envelope.GroupMail)).Envelopes, "before", "after")
	// Keys of the past never come back.
	c := t.g.Next(envelope.CommitRekey, "back")
	c.Write = public(t.g.Write(old))
	t.not(fault.Invalid, t.admin(), t.g.Sign(c, t.head))
}

func everyGroupKeyHasItsPlace(u *user) {
	t := found(u)
	put := func(ns envelope.Namespace) envelope.Store {
		return envelope.Store{Namespace: ns, TTL: day, Body: []byte("x")}
	}
	stranger := NewAccount("stranger").MailboxKey()
	keys := map[string]ed25519.PrivateKey{"nobody": nil, "stranger": stranger, "read": t.g.Read(1),
		"write": t.g.Write(1), "mod": t.g.Mod(1), "admin": t.admin()}
	may := map[string]map[envelope.Namespace]string{ // r read, w write
		"read": {envelope.GroupLog: "r", envelope.GroupSlots: "r", envelope.GroupMail: "r",
			envelope.GroupNotice: "r"},
		"write": {envelope.GroupMail: "w", envelope.GroupLeaves: "w"},
		"admin": {envelope.GroupLog: "r", envelope.GroupSlots: "r", envelope.GroupLeaves: "r",
			envelope.GroupNotice: "rw", envelope.GroupAsk: "r"},
	}
	for name, key := range keys {
		for ns := envelope.GroupLog; ns <= envelope.GroupAsk; ns++ {
			got := ""
			if u.send(u.acc.Request(key, read(ns)), key).Err() == nil {
				got = "r"
			}
			if ns > envelope.GroupSlots && u.send(u.acc.Request(key, put(ns)), key).Err() == nil {
				got += "w"
			}
			if want := may[name][ns]; got != want {
				t.Errorf("%s key in namespace %d: got rights %q, want %q", name, ns, got, want)
			}
		}
	}
	msg := groupMessage("to be moderated")
	t.by(t.g.Write(1), msg)
	t.not(fault.Denied, t.g.Write(1), envelope.Delete{Namespace: envelope.GroupMail,
		Hashes: []envelope.Hash{u.hash(msg)}})
	t.not(fault.Denied, t.g.Mod(1), envelope.Delete{Hashes: []envelope.Hash{u.hash(msg)}})
	if r := t.by(t.g.Mod(1), envelope.Delete{Namespace: envelope.GroupMail,
		Hashes: []envelope.Hash{u.hash(msg)}}); r.Deleted != 1 {
		t.Errorf("got %d deleted by a moderator, want 1", r.Deleted)
	}
}

func slotsAreStaged(u *user) {
	t := found(u)
	mine, theirs := slot("b2", "mine"), slot("b2", "theirs")
	u.ok(u.acc.Request(t.admin(), Stage(mine)...), t.admin())
	u.ok(u.acc.Request(t.admin(), Stage(theirs)...), t.admin())
	c := t.g.Sign(t.g.Next(envelope.CommitAdd, "add", mine), t.head)
	t.not(fault.NotFound, t.admin(), c)
	t.commit(envelope.CommitAdd, "add", theirs)
	u.head(u.refused(fault.Stale, u.acc.Request(t.admin(), Stage(slot("b2", "late"))...), t.admin()), t.head)
	got := t.by(t.g.Read(1), envelope.RetrieveKey{Namespace: envelope.GroupSlots, Key: Key("b2")})
	if string(got.Envelopes[0].Body[32:]) != "theirs" || got.Expiry != 0 {
		t.Errorf("got %+v, want the slot that the commit brought, without an expiry", got)
	}
	if u.h.Advance == nil {
		return
	}
	u.ok(u.acc.Request(t.admin(), Stage(slot("c3", "never brought"))...), t.admin())
	u.h.Advance(25 * time.Hour)
	t.not(fault.NotFound, t.g.Read(1), envelope.RetrieveKey{Namespace: envelope.GroupSlots, Key: Key("c3")})
	t.commit(envelope.CommitRekey, "rekey", slot("b9", "new"))
	u.h.Advance(59 * 24 * time.Hour)
	t.by(t.g.Read(1), envelope.RetrieveKey{Namespace: envelope.GroupSlots, Key: Key("b2")})
	u.h.Advance(2 * 24 * time.Hour)
	t.not(fault.NotFound, t.g.Read(1), envelope.RetrieveKey{Namespace: envelope.GroupSlots, Key: Key("b2")})
	t.by(t.g.Read(1), envelope.RetrieveKey{Namespace: envelope.GroupSlots, Key: Key("b9")})
}

// slotsAndCommitMayTravelTogether: the slots of a commit may be staged by the request that commits them, by
// earlier ones, or by both; the genesis has all of its in one.
func slotsAndCommitMayTravelTogether(u *user) {
	set := func(prefix string, n int) (out []envelope.Slot) {
		for i := range n {
			out = append(out, slot(fmt.Sprintf("%s%02d", prefix, i), fmt.Sprint(prefix, " for member ", i)))
		}
		return out
	}
	t := &team{user: u, g: NewGroup(u.acc.seed)}
	first := set("genesis", envelope.MaxOps-2)
	genesis := t.g.Genesis(first...)
	t.head = u.ok(genesis, u.acc.MailboxKey()).CertsHead
	t.g.Accept(genesis.Ops[len(genesis.Ops)-1].(envelope.Store))
	brought := func(slots []envelope.Slot) {
		t.Helper()
		for i, s := range slots {
			got := t.by(t.g.Read(t.g.Generation()), envelope.RetrieveKey{Namespace: envelope.GroupSlots,
				Key: s.Locator})
			if len(got.Envelopes) != 1 || string(got.Envelopes[0].Body[32:]) != string(s.Sealed) ||
				got.Expiry != 0 {
				t.Errorf("slot %d: got %+v, want %q without an expiry", i, got, s.Sealed)
			}
		}
	}
	brought(first)
	for name, early := range map[string]int{"together": 0, "half and half": 10, "before": 20} {
		slots := set(name, 20)
		admin := t.admin()
		c := t.g.Sign(t.g.Next(envelope.CommitRekey, name, slots...), t.head)
		staged := Stage(slots...)
		if early > 0 {
			u.ok(u.acc.Request(admin, staged[:early/2]...), admin)
			u.ok(u.acc.Request(admin, staged[early/2:early]...), admin)
		}
		t.head = u.ok(u.acc.Request(admin, append(staged[early:], c)...), admin).CertsHead
		t.g.Accept(c)
		brought(slots)
	}

	// A batch whose commit is refused stages nothing.
	slots := set("refused", 3)
	c := t.g.Sign(t.g.Next(envelope.CommitAdd, "add", slots...), t.head-1)
	u.refused(fault.Stale, u.acc.Request(t.admin(), append(Stage(slots...), c)...), t.admin())
	t.not(fault.NotFound, t.g.Read(t.g.Generation()), envelope.RetrieveKey{Namespace: envelope.GroupSlots,
		Key: slots[0].Locator})
}

// invite delegates to an invitation's key, with its number as the place.
func (t *team) invite(n uint8, generation uint32) envelope.Delegate {
	return envelope.Delegate{
		Serial: envelope.Serial(t.g.Index(), n), Key: public(t.g.Invite(uint32(n))),
		Rights: envelope.MayWrite, Generation: generation,
		NotAfter: 1 << 46, Namespaces: []envelope.Namespace{envelope.GroupAsk},
	}
}

func capabilitiesEndForGood(u *user) {
	t := found(u)
	ask := envelope.Store{Namespace: envelope.GroupAsk, TTL: day, Body: []byte("let me in")}
	t.not(fault.Denied, t.g.Invite(1), ask)
	t.not(fault.Denied, t.g.Write(1), t.invite(1, 1))
	t.not(fault.Unauthenticated, nil, t.invite(1, 1))
	first := t.invite(1, 1)
	t.by(t.admin(), first)
	if r := t.by(t.admin(), first); !r.Existed {
		t.Errorf("got %+v for a repeated delegation, want existed", r)
	}
	t.by(t.g.Invite(1), ask)
	t.by(t.g.Invite(1), envelope.Store{Namespace: envelope.GroupAsk, TTL: day, Body: make([]byte, 4_096)})
	t.not(fault.Invalid, t.g.Invite(1), envelope.Store{Namespace: envelope.GroupAsk, TTL: day,
		Body: make([]byte, 4_097)})
	t.not(fault.Denied, t.g.Invite(1), groupMessage("x"))
	t.not(fault.Denied, t.g.Invite(1), read(envelope.GroupAsk))
	t.commit(envelope.CommitRekey, "an invitation outlives a rekey")
	t.by(t.g.Invite(1), ask)
	if r := t.by(t.admin(), first); !r.Existed {
		t.Errorf("got %+v for a delegation repeated after a commit, want existed", r)
	}
	t.by(t.admin(), envelope.Revoke{Serial: first.Serial})
	u.head(t.not(fault.Stale, t.g.Invite(1), envelope.Store{Namespace: envelope.GroupAsk, TTL: day,
		Body: []byte("again")}), t.head)
	u.head(t.not(fault.Stale, t.admin(), first), first.Serial)
	back := first
	back.Serial = envelope.Serial(t.g.Index(), 2)
	t.not(fault.Invalid, t.admin(), back)
	t.not(fault.NotFound, t.admin(), envelope.Revoke{Serial: 7})
	t.by(t.admin(), t.invite(3, 1))
	t.by(t.admin(), t.invite(4, 2))
	t.by(t.admin(), envelope.Revoke{ByGeneration: true, Generation: 1})
	t.not(fault.Stale, t.g.Invite(3), envelope.Store{Namespace: envelope.GroupAsk, TTL: day,
		Body: []byte("too late")})
	t.by(t.g.Invite(4), envelope.Store{Namespace: envelope.GroupAsk, TTL: day, Body: []byte("later")})
	t.not(fault.Stale, t.admin(), t.invite(5, 1))
}

func disbandedGroupIsOnlyRead(u *user) {
	t := found(u)
	t.by(t.g.Write(1), groupMessage("last words"))
	t.commit(envelope.CommitDisband, "end")
	t.not(fault.Denied, t.g.Write(1), groupMessage("more"))
	t.not(fault.Denied, t.admin(), t.g.Sign(t.g.Next(envelope.CommitInfo, "more"), t.head))
	t.not(fault.Denied, t.admin(), t.invite(1, 1))
	u.bodies(t.by(t.g.Read(1), read(envelope.GroupMail)).Envelopes, "last words")
}

// runningHashTellsAll: a member that follows what all members read computes the node's hash.
func runningHashTellsAll(u *user) {
	t := found(u)
	t.by(t.g.Write(1), groupMessage("one"))
	t.by(t.g.Write(1), envelope.Store{Namespace: envelope.GroupLeaves, TTL: day, Body: []byte("leaf")})
	t.by(t.admin(), envelope.Store{Namespace: envelope.GroupNotice, TTL: day, Body: []byte("notice")})
	t.by(t.g.Write(1), groupMessage("two"))
	got := t.by(t.g.Read(1), read(envelope.GroupLog, envelope.GroupMail, envelope.GroupNotice))
	var want [32]byte
	for _, e := range got.Envelopes {
		want = envelope.Running(want, e.Seq, envelope.HashOf(u.acc.Mailbox(), e.Namespace, e.Key, e.Body))
	}
	if got.Running != want {
		t.Errorf("got running hash %x, want %x", got.Running, want)
	}
	if info := t.by(t.g.Read(1), envelope.Info{}); info.Running != want {
		t.Errorf("info: got running hash %x, want %x", info.Running, want)
	}
	if info := t.by(nil, envelope.Info{}); info.Running != [32]byte{} {
		t.Errorf("unsigned info: got running hash %x, want none", info.Running)
	}
}

func groupSubscriptionEndsWithItsKey(u *user) {
	u.needSubscribe()
	t := found(u)
	ctx, cancel := context.WithCancel(u.ctx)
	defer cancel()
	mail, mailEnded := u.subscribe(ctx, t.g.Read(1), t.head, envelope.GroupMail)
	log, logEnded := u.subscribe(ctx, t.g.Read(1), t.head, envelope.GroupLog)
	t.by(t.g.Write(1), groupMessage("one"))
	u.bodies([]envelope.Envelope{u.next(mail, mailEnded)}, "one")
	t.commit(envelope.CommitRekey, "rekey")
	u.next(log, logEnded)
	select {
	case err := <-mailEnded:
		if !errors.Is(err, fault.Stale) {
			t.Errorf("got %v, want stale", err)
		}
	case <-u.ctx.Done():
		t.Error("the subscription outlived its key")
	}
	t.commit(envelope.CommitRekey, "and again")
	u.next(log, logEnded) // read keys of the past still read the log
}
