package statemachine

import (
	"encoding/binary"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// idleFor is how long a mailbox whose authority signs no write is kept.
const idleFor = 400 * dayMS

// expire takes the rows that are due up to an instant, the earliest first: at most limit of them (0: one).
func (m *Machine) expire(upTo int64, limit int) Result {
	limit = max(limit, 1)
	var res Result
	var box *mailbox // the rows of one mailbox often come together
	flush := func() {
		if box == nil {
			return
		}
		m.save(box)
		if m.spent(box) {
			res.Events = append(res.Events, m.drop(box))
		}
		box = nil
	}
	for {
		k, value := m.r.Next(TableDue, nil)
		if len(k) != 8+ownerSize+8 {
			break
		}
		at, o, seq := int64(binary.BigEndian.Uint64(k)), ownerOf(k[8:]), binary.BigEndian.Uint64(
			k[8+ownerSize:])
		if at > upTo {
			break
		}
		if res.Expired >= limit {
			res.More = true
			break
		}
		res.Expired++
		if box == nil || box.owner != o {
			flush()
			box = m.named(o)
		}
		switch {
		case box == nil:
			m.tx.Delete(TableDue, append([]byte(nil), k...)) // Fail was called: nothing of this stays
		case seq == 0:
			if at = box.signedAt + idleFor; at > upTo {
				m.tx.Delete(TableDue, append([]byte(nil), k...))
				m.tx.Put(TableDue, dueKey(at, o, 0), []byte{})
				box.idleAt = at
				continue
			}
			n, gone := m.empty(box, limit-res.Expired)
			if res.Expired += n; gone {
				res.Events = append(res.Events, m.drop(box))
				box = nil
			}
		default:
			var h shortHash
			copy(h[:], value)
			if d, ok := m.dup(o, h); ok && d.seq == seq && d.until == at {
				m.forget(box, h, d)
			} else {
				m.r.Fail(damaged("due row", k))
				m.tx.Delete(TableDue, append([]byte(nil), k...))
			}
		}
	}
	flush()
	return res
}

// named returns the mailbox of an owner number.
func (m *Machine) named(o owner) *mailbox {
	id := m.r.Get(TableName, o.key())
	if len(id) != 32 {
		m.r.Fail(damaged("owner", o.key()))
		return nil
	}
	return m.mailbox(ident.MailboxID(id))
}

// empty removes at most limit envelopes of box and reports whether none is left.
func (m *Machine) empty(box *mailbox, limit int) (n int, done bool) {
	for ; ; n++ {
		k, p := m.r.Next(TableMail, mailKey(box.owner, 0, 0))
		o, ns, seq, ok := splitMailKey(k)
		if !ok || o != box.owner {
			return n, true
		}
		if n >= limit {
			return n, false
		}
		e, ok := decodeMail(p)
		if !ok {
			m.r.Fail(damaged("envelope", k))
			return n, true
		}
		m.remove(box, ns, seq, &e)
	}
}

// spent reports whether box is a one-time mailbox whose last envelope went: it held chunks of files, and no
// certificate says that it belongs to an account.
func (m *Machine) spent(box *mailbox) bool {
	return box.count == 0 && box.head(envelope.Blobs).seq != 0 && box.certsHead() == 0
}

// drop removes what is left of a mailbox without envelopes.
func (m *Machine) drop(box *mailbox) Event {
	for {
		k, p := m.r.Next(TableDup, box.owner.key())
		if !hasPrefix(k, box.owner) {
			break
		}
		if d, ok := decodeDup(p); ok {
			m.tx.Delete(TableDue, dueKey(d.until, box.owner, d.seq))
		}
		m.tx.Delete(TableDup, append([]byte(nil), k...))
	}
	for _, t := range []Table{TablePast, TableGroupKey} {
		for {
			k, _ := m.r.Next(t, box.owner.key())
			if !hasPrefix(k, box.owner) {
				break
			}
			m.tx.Delete(t, append([]byte(nil), k...))
		}
	}
	if box.group != nil {
		m.tx.Delete(TableGroup, box.owner.key())
	}
	m.tx.Delete(TableDue, dueKey(box.idleAt, box.owner, 0))
	m.tx.Delete(TableName, box.owner.key())
	m.tx.Delete(TableOwn, append([]byte(nil), box.id[:]...))
	m.addSlot(box.id, func(s *SlotState) { s.Mailboxes-- })
	return Event{Kind: Dropped, Mailbox: box.id}
}
