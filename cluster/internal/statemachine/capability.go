package statemachine

import (
	"slices"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// maxCapabilities bounds the delegates of one mailbox that are remembered.
const maxCapabilities = 4096

// dead reports whether c was revoked.
func (c *capability) dead(g *group) bool { return c.revoked || uint64(c.generation) < g.floor }

// over reports whether the end of c lies before clock, Unix milliseconds.
func (c *capability) over(clock int64) bool { return c.notAfter != 0 && c.notAfter < clock }

// grants reports whether c gives a right in ns.
func (c *capability) grants(right envelope.Rights, ns envelope.Namespace) bool {
	return c.rights&right != 0 && slices.Contains(c.namespaces, ns)
}

// mayDelegate answers nil if the request may change any capability.
func (x *run) mayDelegate() *fault.Error {
	if x.box.group == nil {
		return fault.New(fault.Denied, "change capabilities", "the mailbox belongs to no group")
	}
	return may(x.party, envelope.AdminKey, x.box)
}

// mayAdmit reports whether the party may delegate to the author of the commit that it has just stored: a
// creator with the mailbox key, a joiner with the write key. In a group whose members share a key there is
// nothing to delegate.
func (x *run) mayAdmit(before appended) bool {
	return (x.who == mailboxKey || x.who == writer) && before != nothing && x.whole && x.box.group != nil &&
		x.box.group.form != envelope.FormShared
}

// admits reports whether op is what a creator or a joiner delegates: the right of a member to write.
func (g *group) admits(op envelope.Delegate) bool {
	return op.Serial == envelope.Serial(g.index, 0) && op.Rights == envelope.MayWrite && op.NotAfter == 0 &&
		op.Generation == g.generation &&
		slices.Equal(op.Namespaces, []envelope.Namespace{envelope.GroupMail, envelope.GroupLeaves})
}

// delegate gives a key rights. Serials only rise, so that the repetition of an old request brings nothing
// back; they hold the index of the newest commit, so that they never run out. before is what the operation
// before did to the log.
func (x *run) delegate(op envelope.Delegate, before appended) (envelope.Result, *fault.Error) {
	admit := x.mayAdmit(before)
	if !admit {
		if err := x.mayDelegate(); err != nil {
			return envelope.Result{}, err
		}
	}
	refuse := func(kind fault.Kind, format string, args ...any) (envelope.Result, *fault.Error) {
		return envelope.Result{}, fault.New(kind, "delegate", format, args...)
	}
	g, want := x.box.group, capabilityOf(op)
	if k, ok := x.groupKey(x.box.owner, op.Key); ok && k.use == useDelegate && !k.cap.dead(g) &&
		k.cap.equal(&want) {
		return envelope.Result{Existed: true}, nil
	}
	if err := x.ended(); err != nil {
		return envelope.Result{}, err
	}
	switch {
	case admit && before == repeated: // who repeats somebody else's join gets nothing by it
		return envelope.Result{}, stale(x.box.certsHead(), "the commit was there already")
	case admit && !g.admits(op):
		return refuse(fault.Invalid, "such a commit delegates a member's right to write, nothing else")
	case op.Serial <= g.serial || op.Serial>>8 < g.index:
		return envelope.Result{}, stale(g.serial, "serial %d was used or passed", op.Serial)
	case uint64(op.Generation) < g.floor:
		return envelope.Result{}, stale(g.serial, "generation %d is revoked", op.Generation)
	case op.Serial>>8 > g.index:
		return refuse(fault.Invalid, "serial %d is of commit %d, the newest is %d", op.Serial,
			op.Serial>>8, g.index)
	case op.NotAfter != 0 && op.NotAfter <= x.clock:
		return refuse(fault.Invalid, "the capability is over already")
	case !validKey(op.Key):
		return refuse(fault.Invalid, "the key is no point of prime order")
	case !x.unused(op.Key):
		return refuse(fault.Invalid, "the key was one of this mailbox before")
	}
	if g.caps >= maxCapabilities {
		x.forgetCapabilities()
	}
	if g.caps >= maxCapabilities {
		err := fault.New(fault.Limited, "delegate", "the mailbox has %d delegates", g.caps)
		err.RetryAfter = limitedFor
		return envelope.Result{}, err
	}
	x.m.tx.Put(TableGroupKey, pastKey(x.box.owner, op.Key), (&groupKey{use: useDelegate, cap: want}).encode())
	g.serial = op.Serial
	g.caps++
	x.dirty = true
	return envelope.Result{}, nil
}

func (c *capability) equal(o *capability) bool {
	return c.serial == o.serial && c.rights == o.rights && c.notAfter == o.notAfter &&
		c.generation == o.generation &&
		slices.Equal(c.namespaces, o.namespaces)
}

// revoke ends capabilities, and wakes the subscriptions that rest on them.
func (x *run) revoke(op envelope.Revoke) (envelope.Result, *fault.Error) {
	if err := x.mayDelegate(); err != nil {
		return envelope.Result{}, err
	}
	g := x.box.group
	if op.ByGeneration && op.Generation >= g.generation {
		return envelope.Result{}, fault.New(fault.Invalid, "revoke", "generation %d is not over",
			op.Generation)
	}
	if op.ByGeneration {
		if floor := uint64(op.Generation) + 1; floor > g.floor {
			g.floor = floor
			x.revoked()
			return envelope.Result{}, nil
		}
		return envelope.Result{Existed: true}, nil
	}
	res, err := envelope.Result{}, fault.New(fault.NotFound, "revoke",
		"there is no capability with serial %d", op.Serial)
	x.eachCapability(func(key []byte, c capability) bool {
		if c.serial != op.Serial {
			return true
		}
		if err, res.Existed = nil, c.dead(g); !res.Existed {
			c.revoked = true
			x.m.tx.Put(TableGroupKey, key, (&groupKey{use: useDelegate, cap: c}).encode())
			x.revoked()
		}
		return false
	})
	return res, err
}

// revokeKeys ends the capabilities of keys, as far as they have one.
func (x *run) revokeKeys(op envelope.RevokeKeys) (envelope.Result, *fault.Error) {
	if err := x.mayDelegate(); err != nil {
		return envelope.Result{}, err
	}
	res := envelope.Result{Existed: true}
	for _, key := range op.Keys {
		k, ok := x.groupKey(x.box.owner, key)
		if !ok || k.use != useDelegate || k.cap.dead(x.box.group) {
			continue
		}
		k.cap.revoked, res.Existed = true, false
		x.m.tx.Put(TableGroupKey, pastKey(x.box.owner, key), k.encode())
	}
	if !res.Existed {
		x.revoked()
	}
	return res, nil
}

func (x *run) revoked() {
	x.dirty = true
	x.events = append(x.events, Event{Kind: AuthorityChanged, Mailbox: x.id, Authority: x.box.authority})
}

// forgetCapabilities makes room: what was revoked or is over gives nobody anything.
func (x *run) forgetCapabilities() {
	x.eachCapability(func(key []byte, c capability) bool {
		if c.dead(x.box.group) || c.over(x.clock) {
			x.m.tx.Delete(TableGroupKey, key)
			x.box.group.caps--
			x.dirty = true
		}
		return true
	})
}

// eachCapability calls fn for the delegates of the mailbox, in the order of their keys, until it returns
// false.
func (x *run) eachCapability(fn func(key []byte, c capability) bool) {
	for from := x.box.owner.key(); ; {
		k, p := x.r.Next(TableGroupKey, from)
		if !hasPrefix(k, x.box.owner) {
			return
		}
		key := append([]byte(nil), k...)
		from = append(append([]byte(nil), k...), 0)
		row, ok := decodeGroupKey(p)
		if !ok {
			x.r.Fail(damaged("group key", key))
			return
		}
		if row.use == useDelegate && !fn(key, row.cap) {
			return
		}
	}
}
