package statemachine

import (
	"encoding/binary"
	"time"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// limitedFor is when a sender whose mailbox is full should try again.
const limitedFor = 10 * time.Minute

// devicesTTL is the life of a device group after a newer one took its place, where the store named none.
const devicesTTL = 60 * 24 * 3600

// store puts one envelope. The check for a repeated store comes before every condition, so that an answer
// that got lost is given again.
func (x *run) store(op envelope.Store) (envelope.Result, *fault.Error) {
	rules, _ := envelope.RulesOf(op.Namespace)
	right := x.mayStore(op, rules)
	if right != nil && right.Kind != fault.Stale {
		return envelope.Result{}, right
	}
	hash := envelope.HashOf(x.id, op.Namespace, op.Key, op.Body)
	seen, known := x.dup(x.box.owner, short(hash))
	if known && !x.expired(seen.until) {
		if op.Namespace == envelope.GroupLog {
			x.appended = repeated
		}
		return x.again(op, seen, right == nil), nil
	}
	if right != nil {
		return envelope.Result{}, right
	}
	if err := x.ended(); err != nil {
		return envelope.Result{}, err
	}
	if err := x.conditions(op); err != nil {
		return envelope.Result{}, err
	}
	commit, slots, err := x.checkGroup(op)
	if err != nil {
		return envelope.Result{}, err
	}
	if rules.Store&envelope.Anyone != 0 && x.who != authority {
		if err := envelope.CheckStamp(op.Admission, x.id, hash, x.clock,
			x.config.StampDifficulty); err != nil {
			return envelope.Result{}, err
		}
	}
	e := &mail{hash: short(hash), key: op.Key, storedAt: x.clock, expiry: x.expiry(op),
		ttl: op.TTL, body: op.Body}
	if err := x.room(op.Namespace, rules, e); err != nil {
		return envelope.Result{}, err
	}
	if known {
		x.m.forget(x.box, short(hash), seen)
	}
	if rules.Keyed {
		if old := x.keyed(x.box.owner, op.Namespace, op.Key); old != 0 {
			if o, ok := x.mail(x.box.owner, op.Namespace, old); ok {
				x.m.remove(x.box, op.Namespace, old, &o)
			}
		}
	}
	if op.Namespace == envelope.Devices {
		x.supersedeDevices()
	}
	seq := x.box.next
	x.box.next++
	x.m.insert(x.box, op.Namespace, seq, e)
	h := x.box.head(op.Namespace)
	h.seq = seq
	x.box.setHead(h)
	if x.who == replaced && rules.Store&envelope.Replaced != 0 {
		x.box.replaced = [32]byte{}
	}
	if envelope.InRunning(op.Namespace) {
		x.box.group.running = envelope.Running(x.box.group.running, seq, hash)
	}
	x.dirty = true
	x.events = append(x.events, Event{Kind: Stored, Mailbox: x.id, Envelope: e.envelope(op.Namespace, seq)})
	if commit != nil {
		x.install(commit, slots, op.Body)
		x.appended = added
	}
	return envelope.Result{Seq: seq, Expiry: e.expiry}, nil
}

// mayStore answers nil if the party may store op. The mailbox key of a group may repeat its genesis, no more.
func (x *run) mayStore(op envelope.Store, rules envelope.Rules) *fault.Error {
	if x.who == mailboxKey && x.box.group != nil && !x.born {
		return stale(x.box.certsHead(), "the group has begun")
	}
	if err := mayIn(x.party, op.Namespace, x.storers(op, rules), envelope.MayWrite, x.box); err != nil {
		return err
	}
	if x.who == delegate && !namesGeneration(op) {
		return fault.New(fault.Invalid, "authorize operation",
			"what a delegate stores names the generation that it was sealed for")
	}
	return nil
}

// namesGeneration reports whether a delegate's store says of which generation it is. A word to the admins,
// who read it with the keys of earlier generations too, begins with it: a key that outlives the generation's
// says nothing in the past.
func namesGeneration(op envelope.Store) bool {
	switch op.Namespace {
	case envelope.GroupMail:
		return op.IfGeneration != nil
	case envelope.GroupLeaves:
		return op.IfGeneration != nil && len(op.Body) >= 5 &&
			binary.BigEndian.Uint32(op.Body[1:]) == *op.IfGeneration
	}
	return true
}

// storers returns who may store op beside delegates. The write key stores joins to the log of a public group;
// what members write it stores only where they share it.
func (x *run) storers(op envelope.Store, rules envelope.Rules) envelope.Who {
	if x.box.group == nil {
		return rules.Store
	}
	form := x.box.group.form
	if op.Namespace == envelope.GroupLog {
		switch c, err := envelope.DecodeCommit(op.Body); {
		case err != nil || c.Kind != envelope.CommitJoin:
			return rules.Store
		case form == envelope.FormPublic:
			return envelope.WriteKey
		}
		return 0
	}
	if form != envelope.FormShared {
		return rules.Store &^ envelope.WriteKey
	}
	return rules.Store
}

// checkGroup checks what the namespaces of a group want beside conditions.
func (x *run) checkGroup(op envelope.Store) (*envelope.Commit, []staged, *fault.Error) {
	switch op.Namespace {
	case envelope.GroupLog:
		return x.checkCommit(op)
	case envelope.GroupSlots:
		return nil, nil, x.checkSlot(op)
	}
	return nil, nil, nil
}

// expiry returns when a new envelope ends: never for the newest device group, which supersedeDevices ends.
func (x *run) expiry(op envelope.Store) int64 {
	if op.TTL == 0 || op.Namespace == envelope.Devices {
		return 0
	}
	return x.clock + int64(op.TTL)*1000
}

// again answers a store that was done before. A living envelope's expiry may be extended, by who may store
// it.
func (x *run) again(op envelope.Store, seen dup, extend bool) envelope.Result {
	res := envelope.Result{Seq: seen.seq, Expiry: seen.until, Existed: true}
	e, ok := x.mail(x.box.owner, seen.ns, seen.seq)
	if !ok || !extend || e.expiry == 0 {
		return res
	}
	want := x.expiry(op)
	if op.Namespace == envelope.Devices {
		want = x.clock + int64(orDefault(op.TTL, devicesTTL))*1000
	}
	if want != 0 && want <= e.expiry {
		return res
	}
	x.m.setExpiry(x.box, seen.ns, seen.seq, e, want)
	x.dirty = true
	res.Expiry = want
	return res
}

func orDefault(v, def uint32) uint32 {
	if v == 0 {
		return def
	}
	return v
}

// conditions checks if_certs_head, if_head and if_generation.
func (x *run) conditions(op envelope.Store) *fault.Error {
	if certs := x.box.certsHead(); op.IfCerts != nil && *op.IfCerts != certs {
		return stale(certs, "the certificate log is at %d, want %d", certs, *op.IfCerts)
	}
	if err := x.ifHead(op); err != nil || op.IfGeneration == nil {
		return err
	}
	if now := x.box.group.generation; *op.IfGeneration != now {
		return stale(x.box.certsHead(), "the group is in generation %d, want %d", now, *op.IfGeneration)
	}
	return nil
}

func (x *run) ifHead(op envelope.Store) *fault.Error {
	if op.IfHead == nil {
		return nil
	}
	head := x.box.head(op.Namespace).seq
	if rules, _ := envelope.RulesOf(op.Namespace); rules.Keyed {
		head = x.keyed(x.box.owner, op.Namespace, op.Key)
		if e, ok := x.mail(x.box.owner, op.Namespace, head); !ok || x.expired(e.expiry) {
			head = 0
		}
	}
	if *op.IfHead != head {
		return stale(head, "the head is at %d, want %d", head, *op.IfHead)
	}
	return nil
}

// room checks what the mailbox may hold. What e replaces does not count; what has expired does until Expire
// took it. In a group's mailbox retired slots make room.
func (x *run) room(ns envelope.Namespace, rules envelope.Rules, e *mail) *fault.Error {
	limited := func(format string, args ...any) *fault.Error {
		err := fault.New(fault.Limited, "check quota", format, args...)
		err.RetryAfter = limitedFor
		return err
	}
	h, total := x.box.head(ns), x.box.bytes
	if rules.Keyed {
		if old := x.keyed(x.box.owner, ns, e.key); old != 0 {
			if o, ok := x.mail(x.box.owner, ns, old); ok {
				h.count--
				h.bytes -= o.size()
				total -= o.size()
			}
		}
	}
	quota := x.config.QuotaBytes
	if ns.IsGroup() && ns != envelope.GroupLog && ns != envelope.GroupSlots {
		quota -= quota / 4 // so that messages never keep a member from being removed
	}
	over := 0
	if rules.MaxEntries > 0 {
		over = max(int(h.count)+1-rules.MaxEntries, 0)
	}
	want := total + e.size()
	switch {
	case h.seq == 0 && len(x.box.heads) >= maxHeads:
		return limited("the mailbox uses %d namespaces, want at most %d", len(x.box.heads), maxHeads)
	case rules.MaxBytes > 0 && h.bytes+e.size() > uint64(rules.MaxBytes):
		return limited("%s holds %d bytes of %d", rules.Name, h.bytes, rules.MaxBytes)
	case over > 0 && ns != envelope.GroupSlots:
	case over == 0 && want <= quota:
		return nil
	case x.box.group != nil && x.dropRetired(over, want-min(want, quota), e.key):
		return nil
	}
	if over > 0 {
		return limited("%s holds %d envelopes, want at most %d", rules.Name, h.count, rules.MaxEntries)
	}
	return limited("the mailbox holds %d bytes of %d", total, quota)
}

// supersedeDevices gives the newest device group, which had none, an expiry: it is about to be the second
// newest.
func (x *run) supersedeDevices() {
	newest := x.box.head(envelope.Devices).seq
	if newest == 0 {
		return
	}
	if e, ok := x.mail(x.box.owner, envelope.Devices, newest); ok && e.expiry == 0 {
		x.m.setExpiry(x.box, envelope.Devices, newest, e, x.clock+int64(orDefault(e.ttl, devicesTTL))*1000)
	}
}
