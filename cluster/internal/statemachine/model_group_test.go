package statemachine_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"slices"

	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// What the model knows of groups.

type groupModel struct {
	last    *envelope.Commit // nil: genesis is under way
	hash    [32]byte
	reads   [][32]byte // the newest last
	writes  [][32]byte
	mods    [][32]byte
	admins  [][32]byte
	running [32]byte
	serial  uint64
	joins   int // of this generation
	floor   uint64
	caps    []capModel
}

type capModel struct {
	envelope.Delegate
	revoked bool
}

func (g *groupModel) copy() *groupModel {
	if g == nil {
		return nil
	}
	c := *g
	c.reads, c.writes, c.mods, c.admins, c.caps = slices.Clone(g.reads), slices.Clone(g.writes),
		slices.Clone(g.mods), slices.Clone(g.admins), slices.Clone(g.caps)
	return &c
}

func (g *groupModel) dead(c capModel) bool { return c.revoked || uint64(c.Generation) < g.floor }

func (g *groupModel) generation() uint32 {
	if g.last == nil {
		return 0
	}
	return g.last.Generation
}

// shared tells whether members store with the write key; before the genesis is done, whether they may.
func (g *groupModel) shared() bool { return g.last == nil || g.last.Form == envelope.FormShared }

func (g *groupModel) used(key [32]byte) bool {
	for _, list := range [][][32]byte{g.reads, g.writes, g.mods, g.admins} {
		if slices.Contains(list, key) {
			return true
		}
	}
	return slices.ContainsFunc(g.caps, func(c capModel) bool { return c.Key == key })
}

func (b *box) certs() uint64 {
	if b.group != nil {
		return b.heads[envelope.GroupLog]
	}
	return b.heads[envelope.Certs]
}

// groupWho tells whose a key of the group is; a delegate's capability comes with it.
func (m *model) groupWho(g *groupModel, key [32]byte) (string, *capModel, *fault.Error) {
	newest := func(list [][32]byte, now, then string) (string, *capModel, *fault.Error) {
		if list[len(list)-1] == key {
			return now, nil, nil
		}
		return then, nil, nil
	}
	switch {
	case slices.Contains(g.reads, key):
		return newest(g.reads, "reader", "old reader")
	case slices.Contains(g.writes, key):
		return newest(g.writes, "writer", "superseded")
	case slices.Contains(g.mods, key):
		return newest(g.mods, "moderator", "superseded")
	}
	for _, c := range g.caps {
		switch {
		case c.Key != key:
		case g.dead(c):
			return "superseded", nil, nil
		case c.NotAfter != 0 && c.NotAfter < m.clock:
			return "", nil, kindError(fault.Denied)
		default:
			return "delegate", &c, nil
		}
	}
	return "", nil, kindError(fault.Denied)
}

func (x *step) granted(right envelope.Rights, ns envelope.Namespace) bool {
	return x.who == "delegate" && x.cap.Rights&right != 0 && slices.Contains(x.cap.Namespaces, ns)
}

func (x *step) storable(op envelope.Store, set envelope.Who) *fault.Error {
	ns := op.Namespace
	switch {
	case x.who == "mailbox" && x.b.group != nil && !x.born:
		return staleError(x.b.certs())
	case (x.b.group != nil) != (ns >= 16 && ns <= 21):
		return kindError(fault.Denied)
	case x.granted(envelope.MayWrite, ns) && (ns == envelope.GroupMail || ns == envelope.GroupLeaves) &&
		op.IfGeneration == nil:
		return kindError(fault.Invalid)
	case x.granted(envelope.MayWrite, ns) && ns == envelope.GroupLeaves && (len(op.Body) < 5 ||
		binary.BigEndian.Uint32(op.Body[1:5]) != *op.IfGeneration):
		return kindError(fault.Invalid)
	case x.granted(envelope.MayWrite, ns):
		return nil
	case x.b.group != nil && x.joins(op):
		if set = 0; x.b.group.last != nil && x.b.group.last.Form == envelope.FormPublic {
			set = envelope.WriteKey
		}
	case x.b.group != nil && x.who == "writer" && !x.b.group.shared():
		return kindError(fault.Denied)
	}
	return x.allowed(set)
}

func (x *step) joins(op envelope.Store) bool {
	if op.Namespace != envelope.GroupLog {
		return false
	}
	c, _ := envelope.DecodeCommit(op.Body)
	return c.Kind == envelope.CommitJoin
}

func (x *step) ended() bool {
	return x.b.group != nil && x.b.group.last != nil && x.b.group.last.Kind == envelope.CommitDisband
}

// slotsOf returns the living staged slots of a root, by locator.
func (x *step) slotsOf(root [32]byte) (out []*item, set []envelope.Slot) {
	for i := range x.b.mail {
		if e := &x.b.mail[i]; e.Namespace == envelope.GroupSlots && e.taken == 0 && !x.m.dead(e.Expiry) &&
			bytes.Equal(e.Body[:32], root[:]) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *item) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	for _, e := range out {
		set = append(set, envelope.Slot{Locator: e.Key, Sealed: e.Body[32:]})
	}
	return out, set
}

// groupConditions is what a store to a group wants beside if_head.
func (x *step) groupConditions(op envelope.Store) *fault.Error {
	if op.Namespace == envelope.GroupSlots {
		for _, e := range x.b.mail {
			if e.Namespace == op.Namespace && e.Key == op.Key && e.taken > 0 && !x.m.dead(e.Expiry) {
				return staleError(x.b.certs())
			}
		}
	}
	if op.Namespace != envelope.GroupLog {
		return nil
	}
	g := x.b.group
	c, _ := envelope.DecodeCommit(op.Body)
	index, generation, signer := uint64(0), g.generation(), x.b.authority
	if g.last != nil {
		index = g.last.Index
	}
	if c.Kind == envelope.CommitJoin && g.last != nil {
		signer = g.last.Write
	}
	if c.Index != index+1 || c.PrevHash != g.hash {
		return staleError(x.b.certs())
	}
	if x.born {
		if signer = x.b.id; c.Admin != x.genesisKey {
			return kindError(fault.Invalid)
		}
	}
	if !ed25519.Verify(signer[:], c.SignedBytes(x.b.id), c.Signature[:]) {
		return kindError(fault.Unauthenticated)
	}
	if g.last != nil && c.Form != g.last.Form {
		return kindError(fault.Invalid)
	}
	if l := g.last; c.Kind == envelope.CommitJoin && (c.Generation != l.Generation || c.Read != l.Read ||
		c.Write != l.Write || c.Mod != l.Mod || c.Admin != l.Admin) {
		return kindError(fault.Invalid)
	}
	all := [][32]byte{c.Read, c.Write, c.Mod, c.Admin}
	distinct := map[[32]byte]bool{}
	for i, k := range all {
		distinct[k] = true
		stays := g.last != nil && k == [][32]byte{g.last.Read, g.last.Write, g.last.Mod, g.last.Admin}[i]
		if same := c.Generation == generation; same && !stays || i < 2 && !same && stays ||
			!stays && g.used(k) || k == x.b.id {
			return kindError(fault.Invalid)
		}
	}
	if len(distinct) != 4 || c.Generation != generation && c.Generation != generation+1 {
		return kindError(fault.Invalid)
	}
	if c.Kind == envelope.CommitJoin && g.joins >= 1024 {
		return kindError(fault.Limited)
	}
	if _, set := x.slotsOf(c.SlotsRoot); c.SlotsRoot != [32]byte{} && envelope.SlotsRoot(set) != c.SlotsRoot {
		return kindError(fault.NotFound)
	}
	return nil
}

// makeRoom drops retired slots of old generations, the first stored first, until bytes more have room under
// the quota.
func (x *step) makeRoom(bytes, quota uint64, counts func(item) bool) bool {
	gone := map[uint64]bool{}
	fits := func() bool {
		return size(x.b.mail, func(e item) bool { return counts(e) && !gone[e.Seq] })+bytes <= quota
	}
	for _, e := range x.b.mail {
		if fits() || e.taken > 0 && e.taken+3 >= x.b.group.generation() {
			break
		}
		gone[e.Seq] = e.taken > 0 && counts(e)
	}
	if !fits() {
		return false
	}
	x.remove(func(e item) bool { return gone[e.Seq] })
	return true
}

// append does what a commit does, once it is stored.
func (x *step) append(body []byte) {
	g := x.b.group
	c, _ := envelope.DecodeCommit(body)
	if !x.born && c.Admin != x.b.authority {
		x.b.past = append(x.b.past, x.b.authority)
		x.b.authority = c.Admin
		x.events = append(x.events, statemachine.Event{Kind: statemachine.AuthorityChanged, Mailbox: x.b.id,
			Authority: c.Admin})
	}
	if c.Kind == envelope.CommitJoin {
		g.joins++
	}
	if g.last == nil || c.Generation != g.last.Generation {
		g.joins = 0
		for i := range x.b.mail {
			if e := &x.b.mail[i]; e.Namespace == envelope.GroupSlots && e.Expiry == 0 {
				e.Expiry = x.m.clock + 60*dayMS
				x.remembered(e.hash).until = e.Expiry
			}
		}
	}
	if c.SlotsRoot != [32]byte{} {
		taken, _ := x.slotsOf(c.SlotsRoot)
		for _, e := range taken {
			e.taken, e.Expiry = c.Generation, 0
			x.remembered(e.hash).until = 0
		}
	}
	for _, l := range []struct {
		list *[][32]byte
		key  [32]byte
	}{{&g.reads, c.Read}, {&g.writes, c.Write}, {&g.mods, c.Mod}, {&g.admins, c.Admin}} {
		if !slices.Contains(*l.list, l.key) {
			*l.list = append(*l.list, l.key)
		}
	}
	g.last, g.hash = c, envelope.CommitHash(body)
}

func (x *step) delegate(op envelope.Delegate, log string) (res envelope.Result, err *fault.Error) {
	admits := x.b.group != nil && !x.b.group.shared() && x.whole && log != "" && (x.who == "writer" ||
		x.who == "mailbox")
	if err := x.delegator(); err != nil && !admits {
		return res, err
	}
	g := x.b.group
	for _, c := range g.caps {
		if !g.dead(c) && c.Serial == op.Serial && c.Key == op.Key && c.NotAfter == op.NotAfter &&
			c.Generation == op.Generation &&
			c.Rights == op.Rights && slices.Equal(c.Namespaces, op.Namespaces) {
			return envelope.Result{Existed: true}, nil
		}
	}
	switch {
	case x.ended():
		return res, kindError(fault.Denied)
	case admits && log == "again":
		return res, staleError(x.b.certs())
	case admits && (op.Serial != g.last.Index*256 || op.Rights != 2 || op.NotAfter != 0 ||
		op.Generation != g.generation() || !slices.Equal(op.Namespaces, []envelope.Namespace{18, 19})):
		return res, kindError(fault.Invalid)
	case op.Serial <= g.serial, op.Serial/256 < g.last.Index, uint64(op.Generation) < g.floor:
		return res, staleError(g.serial)
	case op.Serial/256 != g.last.Index, op.NotAfter != 0 && op.NotAfter <= x.m.clock, g.used(op.Key):
		return res, kindError(fault.Invalid)
	}
	g.caps, g.serial, x.changed = append(g.caps, capModel{Delegate: op}), op.Serial, true
	return res, nil
}

func (x *step) delegator() *fault.Error {
	if x.b.group == nil {
		return kindError(fault.Denied)
	}
	return x.allowed(envelope.AdminKey)
}

func (x *step) revoke(op envelope.Revoke) (res envelope.Result, err *fault.Error) {
	if err := x.delegator(); err != nil {
		return res, err
	}
	g, hit := x.b.group, false
	if op.ByGeneration && op.Generation >= g.generation() {
		return res, kindError(fault.Invalid)
	}
	if op.ByGeneration {
		if hit, res.Existed = true, uint64(op.Generation) < g.floor; !res.Existed {
			g.floor = uint64(op.Generation) + 1
		}
	}
	for i := range g.caps {
		if c := &g.caps[i]; !op.ByGeneration && c.Serial == op.Serial {
			hit, res.Existed = true, g.dead(*c)
			c.revoked = true
		}
	}
	if !hit {
		return res, kindError(fault.NotFound)
	}
	if !res.Existed {
		x.wake()
	}
	return res, nil
}

func (x *step) revokeKeys(op envelope.RevokeKeys) (res envelope.Result, err *fault.Error) {
	if err := x.delegator(); err != nil {
		return res, err
	}
	g := x.b.group
	res.Existed = true
	for i := range g.caps {
		if c := &g.caps[i]; slices.Contains(op.Keys, c.Key) && !g.dead(*c) {
			c.revoked, res.Existed = true, false
		}
	}
	if !res.Existed {
		x.wake()
	}
	return res, nil
}

func (x *step) wake() {
	x.changed = true
	x.events = append(x.events, statemachine.Event{Kind: statemachine.AuthorityChanged, Mailbox: x.b.id,
		Authority: x.b.authority})
}
