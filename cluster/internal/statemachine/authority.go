package statemachine

import (
	"encoding/binary"

	"filippo.io/edwards25519"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// setAuthority makes, rotates or recovers the mailbox's authority. A repeated change answers existed; one
// that was overtaken answers Stale, so that the retry of an old recover never brings an old key back.
func (x *run) setAuthority(op envelope.SetAuthority) (envelope.Result, *fault.Error) {
	refuse := func(kind fault.Kind, format string, args ...any) (envelope.Result, *fault.Error) {
		return envelope.Result{}, fault.New(kind, "change authority", format, args...)
	}
	want := mailboxKey
	if op.Change == envelope.Rotate {
		want = authority
	}
	overtaken := x.who == superseded || x.who == replaced
	switch {
	case x.who == nobody:
		return refuse(fault.Unauthenticated, "a signature is wanted")
	case x.who != want && !(op.Change == envelope.Rotate && overtaken):
		return refuse(fault.Denied, "this key may not change the authority so")
	case !x.fresh && op.Key == x.box.authority:
		return envelope.Result{Existed: true}, nil
	case overtaken:
		return envelope.Result{}, stale(x.box.certsHead(), "the authority is superseded")
	case !x.fresh && (x.certsSeen || x.r.Get(TablePast, pastKey(x.box.owner, op.Key)) != nil):
		return envelope.Result{}, stale(x.box.certsHead(), "the change was overtaken by a later one")
	case op.Change == envelope.Genesis && !x.fresh:
		return refuse(fault.Exists, "the mailbox has an authority")
	case op.Key == x.id:
		return refuse(fault.Invalid, "the mailbox key cannot be the authority")
	case !validKey(op.Key):
		return refuse(fault.Invalid, "the key is no point of prime order")
	}
	if op.Change == envelope.Recover {
		x.box.replaced = x.box.authority
	}
	if !x.fresh {
		k := pastKey(x.box.owner, x.box.authority)
		x.m.tx.Put(TablePast, k, binary.BigEndian.AppendUint64(nil, x.box.certsHead()))
	}
	x.box.authority = op.Key
	x.fresh = false
	x.dirty = true
	x.events = append(x.events, Event{Kind: AuthorityChanged, Mailbox: x.id, Authority: op.Key})
	return envelope.Result{}, nil
}

// create makes the mailbox; setAuthority gives it its authority in the same request.
func (x *run) create(genesis *envelope.SetAuthority) {
	x.box = &mailbox{id: x.id, owner: x.m.newOwner(), next: 1, signedAt: x.clock, idleAt: x.clock + idleFor}
	x.fresh, x.born, x.genesisKey = true, true, genesis.Key
	if genesis.Flags&envelope.NoRecover != 0 {
		x.box.group = new(group)
	}
	x.m.tx.Put(TableName, x.box.owner.key(), append([]byte(nil), x.id[:]...))
	x.m.tx.Put(TableDue, dueKey(x.box.idleAt, x.box.owner, 0), []byte{})
	x.m.addSlot(x.id, func(s *SlotState) { s.Mailboxes++ })
}

// admitGenesis wants the stamp of one of the request's stores, where the swarm wants stamps: a genesis costs
// its sender as much as an unsolicited message does.
func (x *run) admitGenesis(r *envelope.Request) *fault.Error {
	err := envelope.CheckStamp(nil, x.id, envelope.Hash{}, x.clock, x.config.StampDifficulty)
	for _, op := range r.Ops {
		if st, ok := op.(envelope.Store); ok && err != nil && len(st.Admission) > 0 {
			err = envelope.CheckStamp(st.Admission, x.id, envelope.HashOf(x.id, st.Namespace, st.Key,
				st.Body), x.clock, x.config.StampDifficulty)
		}
	}
	return err
}

// validKey reports whether key is the canonical encoding of a point outside of the small subgroup. An
// authority that is not would let anybody sign.
func validKey(key [32]byte) bool {
	p, err := new(edwards25519.Point).SetBytes(key[:])
	if err != nil || [32]byte(p.Bytes()) != key {
		return false
	}
	return new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 0
}
