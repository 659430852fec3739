package statemachine_test

import (
	"slices"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// What the model's operations do.

func (x *step) store(op envelope.Store) (res envelope.Result, err *fault.Error) {
	rules, _ := envelope.RulesOf(op.Namespace)
	right := x.storable(op, rules.Store)
	if right != nil && right.Kind != fault.Stale {
		return res, right
	}
	h := envelope.HashOf(x.b.id, op.Namespace, op.Key, op.Body)
	expiry := x.m.clock + int64(op.TTL)*1000
	if op.TTL == 0 {
		expiry = 0
	}
	if k := x.remembered(h); k != nil {
		if op.Namespace == envelope.GroupLog {
			x.log = "again"
		}
		if e := x.item(h); e != nil && right == nil && e.Expiry != 0 {
			if op.Namespace == envelope.Devices && op.TTL == 0 {
				expiry = x.m.clock + 60*dayMS
			}
			if expiry == 0 || expiry > e.Expiry {
				e.Expiry, k.until, x.changed = expiry, expiry, true
			}
		}
		return envelope.Result{Seq: k.seq, Expiry: k.until, Existed: true}, nil
	}
	if right != nil {
		return res, right
	}
	if x.ended() {
		return res, kindError(fault.Denied)
	}
	if certs := x.b.certs(); op.IfCerts != nil && *op.IfCerts != certs {
		return res, staleError(certs)
	}
	head := x.b.heads[op.Namespace]
	if rules.Keyed {
		head = 0
		for _, e := range x.b.mail {
			if e.Namespace == op.Namespace && e.Key == op.Key && !x.m.dead(e.Expiry) {
				head = e.Seq
			}
		}
	}
	if op.IfHead != nil && *op.IfHead != head {
		return res, staleError(head)
	}
	if op.IfGeneration != nil && *op.IfGeneration != x.b.group.generation() {
		return res, staleError(x.b.certs())
	}
	if err := x.groupConditions(op); err != nil {
		return res, err
	}
	quota := x.m.quota
	if op.Namespace >= envelope.GroupMail && op.Namespace <= envelope.GroupAsk {
		quota -= quota / 4
	}
	others := func(e item) bool { return !rules.Keyed || e.Namespace != op.Namespace || e.Key != op.Key }
	if want := uint64(len(op.Body)) + 64; size(x.b.mail, others)+want > quota && (x.b.group == nil ||
		!x.makeRoom(want, quota, others)) {
		return res, kindError(fault.Limited)
	}
	x.changed = true
	x.forget(h)
	if rules.Keyed {
		x.remove(func(e item) bool { return !others(e) })
	}
	if op.Namespace == envelope.Devices {
		for i := range x.b.mail {
			if e := &x.b.mail[i]; e.Namespace == envelope.Devices && e.Expiry == 0 {
				ttl := e.ttl
				if ttl == 0 {
					ttl = 60 * 24 * 3600
				}
				e.Expiry = x.m.clock + int64(ttl)*1000
				x.remembered(e.hash).until = e.Expiry
			}
		}
		expiry = 0
	}
	x.b.seq++
	e := item{Envelope: envelope.Envelope{Seq: x.b.seq, Namespace: op.Namespace, Key: op.Key,
		StoredAt: x.m.clock, Expiry: expiry, Body: op.Body}, hash: h, ttl: op.TTL}
	x.b.mail = append(x.b.mail, e)
	x.b.memory = append(x.b.memory, memory{h, e.Seq, expiry})
	x.b.heads[op.Namespace] = e.Seq
	if x.who == "replaced" && op.Namespace == envelope.Contest {
		x.b.replaced = [32]byte{}
	}
	if ns := op.Namespace; ns == envelope.GroupLog || ns == envelope.GroupMail || ns == envelope.GroupNotice {
		x.b.group.running = envelope.Running(x.b.group.running, e.Seq, h)
	}
	x.events = append(x.events, statemachine.Event{Kind: statemachine.Stored, Mailbox: x.b.id,
		Envelope: e.Envelope})
	if op.Namespace == envelope.GroupLog {
		x.append(op.Body)
		x.log = "new"
	}
	return envelope.Result{Seq: e.Seq, Expiry: expiry}, nil
}

func (x *step) forget(h envelope.Hash) {
	x.b.memory = slices.DeleteFunc(x.b.memory, func(k memory) bool { return k.hash == h })
	x.b.mail = slices.DeleteFunc(x.b.mail, func(e item) bool { return e.hash == h })
}

// remove takes envelopes away and remembers their hashes.
func (x *step) remove(gone func(item) bool) (n uint32) {
	x.b.mail = slices.DeleteFunc(x.b.mail, func(e item) bool {
		if !gone(e) {
			return false
		}
		if n++; e.Expiry == 0 {
			x.remembered(e.hash).until = x.m.clock + 60*dayMS
		}
		return true
	})
	if n > 0 {
		x.changed = true
	}
	return n
}

func (x *step) retrieve(op envelope.Retrieve) (res envelope.Result, err *fault.Error) {
	for _, ns := range op.Namespaces {
		if err := x.readable(ns); err != nil {
			return res, err
		}
	}
	maxCount, maxBytes := int(op.MaxCount), int(op.MaxBytes)
	if maxCount == 0 {
		maxCount = envelope.MaxPageCount
	}
	if maxBytes == 0 {
		maxBytes = envelope.MaxPage
	}
	bytes, last := 0, op.After
	for _, e := range x.b.mail { // in the order of seq
		if e.Seq <= op.After || x.m.dead(e.Expiry) || !slices.Contains(op.Namespaces, e.Namespace) {
			continue
		}
		bytes += len(e.Body) + 45
		if len(res.Envelopes) == maxCount || len(res.Envelopes) > 0 && bytes > maxBytes {
			res.Seq, res.More = last, true // never the head: there is more
			return res, nil
		}
		res.Envelopes = append(res.Envelopes, e.Envelope)
		last = e.Seq
	}
	res.Seq = max(op.After, x.b.seq)
	if x.b.group != nil && res.Seq == x.b.seq {
		res.Running = x.b.group.running
	}
	return res, nil
}

func (x *step) delete(op envelope.Delete) (res envelope.Result, err *fault.Error) {
	deletes := x.granted(envelope.MayDelete, op.Namespace) ||
		x.who == "moderator" && op.Namespace == envelope.GroupMail
	if err := x.allowed(envelope.Authority); err != nil && !deletes {
		return res, err
	}
	hit := func(h envelope.Hash) *item {
		e := x.item(h)
		if e == nil || x.m.dead(e.Expiry) || op.Namespace != 0 && op.Namespace != e.Namespace {
			return nil
		}
		return e
	}
	for _, h := range op.Hashes {
		if e := hit(h); e != nil && (e.Namespace == envelope.Certs || e.Namespace == envelope.Contest ||
			e.Namespace == envelope.GroupLog) {
			return res, kindError(fault.Denied)
		} else if e == nil && op.Required {
			return res, kindError(fault.NotFound)
		}
	}
	for _, h := range op.Hashes {
		if hit(h) != nil {
			res.Deleted += x.remove(func(e item) bool { return e.hash == h })
		}
	}
	return res, nil
}

func (x *step) deleteBefore(op envelope.DeleteBefore) (res envelope.Result, err *fault.Error) {
	if err := x.allowed(envelope.Authority); err != nil {
		return res, err
	}
	kept := func(ns envelope.Namespace) bool {
		return ns == envelope.Certs || ns == envelope.Contest || ns == envelope.GroupLog
	}
	if kept(op.Namespace) {
		return res, kindError(fault.Denied)
	}
	res.Deleted = x.remove(func(e item) bool {
		return !kept(e.Namespace) && (op.Namespace == 0 || op.Namespace == e.Namespace) &&
			e.StoredAt < op.Before && !x.m.dead(e.Expiry)
	})
	return res, nil
}

func (x *step) setAuthority(op envelope.SetAuthority) (res envelope.Result, err *fault.Error) {
	late := x.who == "superseded" || x.who == "replaced"
	switch {
	case x.who == "nobody":
		return res, kindError(fault.Unauthenticated)
	case op.Change == envelope.Rotate && x.who == "mailbox", op.Change != envelope.Rotate &&
		x.who != "mailbox":
		return res, kindError(fault.Denied)
	case !x.fresh && op.Key == x.b.authority:
		return envelope.Result{Existed: true}, nil
	case late, !x.fresh && (x.retry || slices.Contains(x.b.past, op.Key)):
		return res, staleError(x.b.certs())
	case op.Change == envelope.Genesis && !x.fresh:
		return res, kindError(fault.Exists)
	case op.Key == x.b.id:
		return res, kindError(fault.Invalid)
	}
	if op.Change == envelope.Recover {
		x.b.replaced = x.b.authority
	}
	if !x.fresh {
		x.b.past = append(x.b.past, x.b.authority)
	}
	x.b.authority, x.fresh, x.changed = op.Key, false, true
	x.events = append(x.events, statemachine.Event{Kind: statemachine.AuthorityChanged, Mailbox: x.b.id,
		Authority: op.Key})
	return res, nil
}
