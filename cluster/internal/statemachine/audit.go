package statemachine

import (
	"bytes"
	"encoding/binary"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Audit reads every row and checks that they agree: counts and bytes of mailboxes and namespaces, digests of
// slots, and one way from each envelope, hash and due row to the others. Errors: Corrupt.
func Audit(r Reader) error {
	a := &audit{v: NewView(r), boxes: make(map[owner]*mailbox), slots: make(map[ident.Slot]*SlotState)}
	for _, step := range []func() error{a.mailboxes, a.mails, a.dups, a.dues, a.keys, a.groups, a.sums} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

type audit struct {
	v     *View
	boxes map[owner]*mailbox // with what is still unaccounted for in their counts
	slots map[ident.Slot]*SlotState
}

func (a *audit) walk(t Table, fn func(k, v []byte) bool) error {
	k, v := a.v.r.Next(t, nil)
	for k != nil {
		if !fn(k, v) {
			return fault.New(fault.Corrupt, "audit mailboxes", "row %x of table %d disagrees with the others",
				k, t)
		}
		k, v = a.v.r.Next(t, append(append(make([]byte, 0, len(k)+1), k...), 0))
	}
	return nil
}

func (a *audit) mailboxes() error {
	err := a.walk(TableOwn, func(k, v []byte) bool {
		if len(k) != 32 {
			return false
		}
		box, err := decodeMailbox(ident.MailboxID(k), v)
		if err != nil || a.boxes[box.owner] != nil || !bytes.Equal(a.v.r.Get(TableName, box.owner.key()), k) {
			return false
		}
		a.boxes[box.owner] = box
		a.slot(box.id).Mailboxes++
		return a.v.r.Get(TableDue, dueKey(box.idleAt, box.owner, 0)) != nil
	})
	if err != nil {
		return err
	}
	return a.walk(TableName, func(k, _ []byte) bool {
		return len(k) == ownerSize &&
			a.boxes[ownerOf(k)] != nil
	})
}

func (a *audit) slot(m ident.MailboxID) *SlotState {
	s := a.slots[m.Slot()]
	if s == nil {
		s = new(SlotState)
		a.slots[m.Slot()] = s
	}
	return s
}

func (a *audit) mails() error {
	return a.walk(TableMail, func(k, v []byte) bool {
		o, ns, seq, ok := splitMailKey(k)
		box := a.boxes[o]
		e, valid := decodeMail(v)
		if !ok || !valid || box == nil || seq == 0 || seq >= box.next {
			return false
		}
		rules, known := envelope.RulesOf(ns)
		d, found := a.v.dup(o, e.hash)
		if !known || !found || d != (dup{seq, ns, e.expiry}) ||
			rules.Keyed && a.v.keyed(o, ns, e.key) != seq {
			return false
		}
		if short(envelope.HashOf(box.id, ns, e.key, e.body)) != e.hash || ns == envelope.GroupSlots &&
			!a.slotLife(o, &e) {
			return false
		}
		h := box.head(ns)
		h.count--
		h.bytes -= e.size()
		box.setHead(h)
		box.count--
		box.bytes -= e.size()
		a.slot(box.id).add(e.digest(box.id, ns, seq), 1, int64(e.size()))
		return true
	})
}

// slotLife wants slots without an expiry in the generation in force only, and there for all that a commit
// took in.
func (a *audit) slotLife(o owner, e *mail) bool {
	g, ok := decodeGroup(a.v.r.Get(TableGroup, o.key()))
	generation, taken := e.taken()
	if !ok || taken && (generation == 0 || generation > g.generation) {
		return false
	}
	return (e.expiry == 0) == (taken && generation == g.generation)
}

func (a *audit) dups() error {
	return a.walk(TableDup, func(k, v []byte) bool {
		d, ok := decodeDup(v)
		if !ok || len(k) != ownerSize+16 || a.boxes[ownerOf(k)] == nil {
			return false
		}
		if d.until == 0 {
			_, lives := a.v.mail(ownerOf(k), d.ns, d.seq)
			return lives
		}
		return bytes.Equal(a.v.r.Get(TableDue, dueKey(d.until, ownerOf(k), d.seq)), k[ownerSize:])
	})
}

func (a *audit) dues() error {
	return a.walk(TableDue, func(k, v []byte) bool {
		if len(k) != 8+ownerSize+8 {
			return false
		}
		o, seq, at := ownerOf(k[8:]), binary.BigEndian.Uint64(k[8+ownerSize:]),
			int64(binary.BigEndian.Uint64(k))
		if box := a.boxes[o]; box == nil || seq == 0 {
			return box != nil && box.idleAt == at
		}
		var h shortHash
		copy(h[:], v)
		d, ok := a.v.dup(o, h)
		return ok && d.seq == seq && d.until == at
	})
}

func (a *audit) keys() error {
	return a.walk(TableKey, func(k, v []byte) bool {
		if len(k) != ownerSize+2+envelope.KeySize || len(v) != 8 {
			return false
		}
		_, lives := a.v.mail(ownerOf(k), envelope.Namespace(binary.BigEndian.Uint16(k[ownerSize:])),
			binary.BigEndian.Uint64(v))
		return lives
	})
}

// groups wants a row for each mailbox with a log, its keys in the table of keys, and as many delegates as it
// counts.
func (a *audit) groups() error {
	groups := make(map[owner]*group)
	err := a.walk(TableGroup, func(k, v []byte) bool {
		g, ok := decodeGroup(v)
		if !ok || len(k) != ownerSize || a.boxes[ownerOf(k)] == nil || g.index == 0 || g.joins > maxJoins ||
			g.joins > 0 && g.form != envelope.FormPublic {
			return false
		}
		o := ownerOf(k)
		groups[o] = g
		for key, use := range map[[32]byte]keyUse{g.read: useRead, g.write: useWrite, g.mod: useMod} {
			if row, ok := a.v.groupKey(o, key); !ok || row.use != use {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	err = a.walk(TableGroupKey, func(k, v []byte) bool {
		row, ok := decodeGroupKey(v)
		if !ok || len(k) != ownerSize+32 || groups[ownerOf(k)] == nil {
			return false
		}
		if row.use == useDelegate {
			groups[ownerOf(k)].caps--
		}
		return true
	})
	if err != nil {
		return err
	}
	return a.walk(TableOwn, func(_, v []byte) bool {
		o := ownerOf(v)
		g := groups[o]
		return (g != nil) == (a.boxes[o].head(envelope.GroupLog).seq != 0) && (g == nil || g.caps == 0)
	})
}

// sums wants nothing left unaccounted for.
func (a *audit) sums() error {
	err := a.walk(TableOwn, func(_, v []byte) bool {
		box := a.boxes[ownerOf(v)] // the row begins with the owner
		for _, h := range box.heads {
			if h.count != 0 || h.bytes != 0 {
				return false
			}
		}
		return box.count == 0 && box.bytes == 0
	})
	if err != nil {
		return err
	}
	err = a.walk(TableSlot, func(k, v []byte) bool {
		got, ok := decodeSlot(v)
		if !ok || len(k) != 2 {
			return false
		}
		slot := ident.Slot(binary.BigEndian.Uint16(k))
		want := a.slots[slot]
		delete(a.slots, slot)
		return want != nil && *want == got
	})
	if err == nil && len(a.slots) != 0 {
		err = fault.New(fault.Corrupt, "audit mailboxes", "%d slots have envelopes but no digest",
			len(a.slots))
	}
	return err
}
