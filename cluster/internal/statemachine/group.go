package statemachine

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// A slot that a commit took in lives retiredFor after its generation; it has takenIn and the generation where
// the row of one that is staged has its ttl, seconds.
const (
	takenIn    = 1 << 31
	retiredFor = 60 * dayMS
)

// keptGenerations is how many generations, the newest, have all their slots, however full the mailbox is: a
// member that was away longer may have to be let in again.
const keptGenerations = 4

// maxJoins bounds the joins of one generation, so that who has a public group's link cannot fill its log.
const maxJoins = 1024

// group is what a mailbox with no_recover has beside the rest: a row in TableGroup.
type group struct {
	index            uint64 // of the last commit; 0 only while genesis is under way
	generation       uint32
	last             [32]byte // hash of the last commit
	read, write, mod [32]byte
	running          [32]byte
	serial           uint64 // highest serial ever delegated
	floor            uint64 // capabilities of generations below are revoked
	caps             uint32 // rows of delegates
	ended            bool   // disbanded
	form             envelope.GroupForm
	joins            uint32 // commits of kind join in this generation
}

func (g *group) encode() []byte {
	var b cryptobyte.Builder
	b.AddUint64(g.index)
	b.AddUint32(g.generation)
	for _, k := range [][32]byte{g.last, g.read, g.write, g.mod, g.running} {
		b.AddBytes(k[:])
	}
	b.AddUint64(g.serial)
	b.AddUint64(g.floor)
	b.AddUint32(g.caps)
	ended := uint8(0)
	if g.ended {
		ended = 1
	}
	b.AddUint8(ended)
	b.AddUint8(uint8(g.form))
	b.AddUint32(g.joins)
	return b.BytesOrPanic()
}

func decodeGroup(p []byte) (*group, bool) {
	s := cryptobyte.String(p)
	g := new(group)
	var ended, form uint8
	ok := s.ReadUint64(&g.index) && s.ReadUint32(&g.generation) && s.CopyBytes(g.last[:]) &&
		s.CopyBytes(g.read[:]) &&
		s.CopyBytes(g.write[:]) && s.CopyBytes(g.mod[:]) && s.CopyBytes(g.running[:]) &&
		s.ReadUint64(&g.serial) &&
		s.ReadUint64(&g.floor) && s.ReadUint32(&g.caps) && s.ReadUint8(&ended) && ended <= 1 &&
		s.ReadUint8(&form) &&
		form <= uint8(envelope.FormPublic) && s.ReadUint32(&g.joins) && s.Empty()
	g.ended, g.form = ended == 1, envelope.GroupForm(form)
	return g, ok
}

// keyUse says what a group's key is for. The numbers are part of the row.
type keyUse uint8

const (
	useRead     keyUse = 1
	useWrite    keyUse = 2
	useMod      keyUse = 3
	useDelegate keyUse = 4
)

// groupKey is a row of TableGroupKey: a key that a group has or had.
type groupKey struct {
	use keyUse
	cap capability // useDelegate
}

// capability is what a delegate may do.
type capability struct {
	serial     uint64
	rights     envelope.Rights
	notAfter   int64
	generation uint32
	revoked    bool
	namespaces []envelope.Namespace
}

func capabilityOf(op envelope.Delegate) capability {
	return capability{serial: op.Serial, rights: op.Rights, notAfter: op.NotAfter, generation: op.Generation,
		namespaces: op.Namespaces}
}

func (k *groupKey) encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(uint8(k.use))
	if k.use != useDelegate {
		return b.BytesOrPanic()
	}
	b.AddUint64(k.cap.serial)
	b.AddUint8(uint8(k.cap.rights))
	b.AddUint64(uint64(k.cap.notAfter))
	b.AddUint32(k.cap.generation)
	revoked := uint8(0)
	if k.cap.revoked {
		revoked = 1
	}
	b.AddUint8(revoked)
	b.AddUint8(uint8(len(k.cap.namespaces)))
	for _, ns := range k.cap.namespaces {
		b.AddUint16(uint16(ns))
	}
	return b.BytesOrPanic()
}

func decodeGroupKey(p []byte) (k groupKey, ok bool) {
	s := cryptobyte.String(p)
	var use, rights, revoked, n uint8
	if !s.ReadUint8(&use) {
		return k, false
	}
	if k.use = keyUse(use); k.use != useDelegate {
		return k, k.use >= useRead && k.use <= useMod && s.Empty()
	}
	var notAfter uint64
	c := &k.cap
	if !s.ReadUint64(&c.serial) || !s.ReadUint8(&rights) || !s.ReadUint64(&notAfter) ||
		!s.ReadUint32(&c.generation) ||
		!s.ReadUint8(&revoked) || revoked > 1 || !s.ReadUint8(&n) || n > envelope.MaxNamespaces ||
		len(s) != 2*int(n) {
		return k, false
	}
	c.rights, c.notAfter, c.revoked, c.namespaces = envelope.Rights(rights), int64(notAfter), revoked == 1,
		make([]envelope.Namespace, n)
	for i := range c.namespaces {
		var ns uint16
		s.ReadUint16(&ns)
		c.namespaces[i] = envelope.Namespace(ns)
	}
	return k, true
}

// groupKey returns the row of a key that the group has or had.
func (v *View) groupKey(o owner, key [32]byte) (groupKey, bool) {
	at := pastKey(o, key)
	p := v.r.Get(TableGroupKey, at)
	if p == nil {
		return groupKey{}, false
	}
	k, ok := decodeGroupKey(p)
	if !ok {
		v.r.Fail(damaged("group key", at))
	}
	return k, ok
}

// checkCommit reports why a commit that found its head may not be appended, and finds the slots that it takes
// in.
func (x *run) checkCommit(op envelope.Store) (*envelope.Commit, []staged, *fault.Error) {
	refuse := func(kind fault.Kind, format string, args ...any) (*envelope.Commit, []staged, *fault.Error) {
		return nil, nil, fault.New(kind, "append commit", format, args...)
	}
	c, err := envelope.DecodeCommit(op.Body)
	if err != nil {
		return refuse(fault.Invalid, "the commit is malformed")
	}
	g := x.box.group
	signer := x.box.authority
	switch {
	case c.Index != g.index+1 || c.PrevHash != g.last:
		return nil, nil, stale(x.box.certsHead(), "commit %d does not follow commit %d", c.Index, g.index)
	case x.born && c.Admin != x.genesisKey:
		return refuse(fault.Invalid, "the first commit names another admin key than the genesis")
	case x.born:
		signer = x.id
	case c.Kind == envelope.CommitJoin:
		signer = g.write
	}
	if !c.Verify(x.id, signer) {
		return refuse(fault.Unauthenticated, "the commit's signature does not verify")
	}
	if !x.born && c.Form != g.form {
		return refuse(fault.Invalid, "the commit is of form %d, the group of form %d", c.Form, g.form)
	}
	if reason := x.checkKeys(c); reason != "" {
		return refuse(fault.Invalid, "%s", reason)
	}
	if c.Kind == envelope.CommitJoin && g.joins >= maxJoins {
		err := fault.New(fault.Limited, "append commit", "generation %d has %d joins, want at most %d",
			g.generation, g.joins, maxJoins)
		err.RetryAfter = limitedFor
		return nil, nil, err
	}
	if c.SlotsRoot == [32]byte{} {
		return c, nil, nil
	}
	slots := x.stagedSlots(c.SlotsRoot)
	set := make([]envelope.Slot, len(slots))
	for i, s := range slots {
		set[i] = envelope.Slot{Locator: s.e.key, Sealed: s.e.body[32:]}
	}
	if envelope.SlotsRoot(set) != c.SlotsRoot {
		return refuse(fault.NotFound, "the %d slots staged for this commit do not give its root", len(set))
	}
	return c, slots, nil
}

// checkKeys says what is wrong with the keys of c; "": nothing.
func (x *run) checkKeys(c *envelope.Commit) string {
	g := x.box.group
	rises := c.Generation == g.generation+1
	switch {
	case c.Kind == envelope.CommitJoin && (c.Generation != g.generation || c.Read != g.read ||
		c.Write != g.write || c.Mod != g.mod || c.Admin != x.box.authority):
		return "a join changes no key"
	case !rises && c.Generation != g.generation:
		return "the generation is neither the last nor the next"
	case !rises && (c.Read != g.read || c.Write != g.write || c.Mod != g.mod || c.Admin != x.box.authority):
		return "keys change with the generation only"
	}
	keys := [][32]byte{c.Read, c.Write, c.Mod, c.Admin}
	stays := []bool{!rises, !rises, !x.born && c.Mod == g.mod, x.born || c.Admin == x.box.authority}
	for i, k := range keys {
		for _, o := range keys[:i] {
			if k == o {
				return "one key serves two purposes"
			}
		}
		if !validKey(k) {
			return "a key is no point of prime order"
		}
		if !stays[i] && !x.unused(k) {
			return "a key was one of this mailbox before"
		}
	}
	return ""
}

// unused reports whether key never was one of the mailbox.
func (x *run) unused(key [32]byte) bool {
	_, known := x.groupKey(x.box.owner, key)
	return !known && key != x.id && key != x.box.authority &&
		x.r.Get(TablePast, pastKey(x.box.owner, key)) == nil
}

// taken returns the generation whose commit took a slot in; false: none did, it is staged.
func (e *mail) taken() (generation uint32, ok bool) { return e.ttl &^ takenIn, e.ttl&takenIn != 0 }

// staged is a slot that waits for its commit, or waited for it.
type staged struct {
	seq uint64
	e   mail
}

// stagedSlots returns the live staged slots of a root in the order of their locators.
func (x *run) stagedSlots(root [32]byte) (out []staged) {
	prefix := keyKey(x.box.owner, envelope.GroupSlots, [envelope.KeySize]byte{})[:ownerSize+2]
	for from := prefix; ; {
		k, p := x.r.Next(TableKey, from)
		if !bytes.HasPrefix(k, prefix) || len(p) != 8 {
			return out
		}
		seq := binary.BigEndian.Uint64(p)
		if e, ok := x.mail(x.box.owner, envelope.GroupSlots, seq); ok && !x.expired(e.expiry) &&
			bytes.HasPrefix(e.body, root[:]) {
			if _, taken := e.taken(); !taken {
				out = append(out, staged{seq, e})
			}
		}
		from = append(append(make([]byte, 0, len(k)+1), k...), 0)
	}
}

// eachSlot calls fn with the slots, staged or taken in, in the order in which they were stored, until it
// returns false. fn may change the slot that it is given.
func (x *run) eachSlot(fn func(staged) bool) {
	prefix := mailKey(x.box.owner, envelope.GroupSlots, 0)[:ownerSize+2]
	for from := prefix; ; {
		k, p := x.r.Next(TableMail, from)
		_, _, seq, ok := splitMailKey(k)
		if !ok || !bytes.HasPrefix(k, prefix) {
			return
		}
		from = mailKey(x.box.owner, envelope.GroupSlots, seq+1)
		e, ok := decodeMail(p)
		if !ok {
			x.r.Fail(damaged("envelope", k))
			return
		}
		if !fn(staged{seq, e}) {
			return
		}
	}
}

// retireSlots gives the slots that earlier generations' commits took in their last 60 days.
func (x *run) retireSlots() {
	x.eachSlot(func(s staged) bool {
		if s.e.expiry == 0 {
			x.m.setExpiry(x.box, envelope.GroupSlots, s.seq, s.e, x.clock+retiredFor)
		}
		return true
	})
}

// dropRetired drops slots of generations before the newest ones, those stored first before the others, until
// there are at least count and they have at least bytes; false: there are not as many, and nothing is
// dropped. Slots are staged for the commit after the last, so those of an older generation come first, and
// the first of a kept one ends the search. The slot under replaced is left: it goes anyway.
func (x *run) dropRetired(count int, bytes uint64, replaced [envelope.KeySize]byte) bool {
	var found []staged
	var size uint64
	enough := func() bool { return len(found) >= count && size >= bytes }
	x.eachSlot(func(s staged) bool {
		switch g, taken := s.e.taken(); {
		case taken && uint64(g)+keptGenerations > uint64(x.box.group.generation):
			return false
		case taken && s.e.key != replaced:
			found = append(found, s)
			size += s.e.size()
		}
		return !enough()
	})
	if !enough() {
		return false
	}
	for _, s := range found {
		x.m.remove(x.box, envelope.GroupSlots, s.seq, &s.e)
	}
	return true
}

// install puts the keys of a commit that was just appended in force, and takes its slots in.
func (x *run) install(c *envelope.Commit, slots []staged, body []byte) {
	g, box := x.box.group, x.box
	if c.Admin != box.authority && !x.born {
		x.m.tx.Put(TablePast, pastKey(box.owner, box.authority), binary.BigEndian.AppendUint64(nil,
			box.certsHead()))
		box.authority = c.Admin
		x.events = append(x.events, Event{Kind: AuthorityChanged, Mailbox: x.id, Authority: c.Admin})
	}
	put := func(key [32]byte, use keyUse) {
		x.m.tx.Put(TableGroupKey, pastKey(box.owner, key), (&groupKey{use: use}).encode())
	}
	if c.Generation != g.generation {
		put(c.Read, useRead)
		put(c.Write, useWrite)
		x.retireSlots()
		g.joins = 0
	}
	if c.Kind == envelope.CommitJoin {
		g.joins++
	}
	if c.Mod != g.mod {
		put(c.Mod, useMod)
	}
	for _, s := range slots {
		s.e.ttl = takenIn | c.Generation
		x.m.setExpiry(box, envelope.GroupSlots, s.seq, s.e, 0)
	}
	g.index, g.generation, g.last = c.Index, c.Generation, envelope.CommitHash(body)
	g.read, g.write, g.mod, g.form = c.Read, c.Write, c.Mod, c.Form
	g.ended = c.Kind == envelope.CommitDisband
}

// checkSlot refuses a slot in the place of one that a commit took in.
func (x *run) checkSlot(op envelope.Store) *fault.Error {
	seq := x.keyed(x.box.owner, op.Namespace, op.Key)
	if e, ok := x.mail(x.box.owner, op.Namespace, seq); ok && !x.expired(e.expiry) {
		if _, taken := e.taken(); taken {
			return stale(x.box.certsHead(), "a commit took the slot in")
		}
	}
	return nil
}

// ended refuses what changes a disbanded group.
func (x *run) ended() *fault.Error {
	if x.box.group != nil && x.box.group.ended {
		return fault.New(fault.Denied, "change group", "the group is disbanded")
	}
	return nil
}
