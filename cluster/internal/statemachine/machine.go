package statemachine

import (
	"encoding/binary"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Rows of TableState.
var (
	keyClock  = []byte("clock")
	keyConfig = []byte("config")
	keyOwner  = []byte("owner")
)

// View is the state as a reader sees it. It is good for one transaction.
type View struct {
	r      Reader
	clock  int64
	config Config
}

// NewView reads the clock and the configuration from r.
func NewView(r Reader) *View {
	v := &View{r: r}
	if p := r.Get(TableState, keyClock); len(p) == 8 {
		v.clock = int64(binary.BigEndian.Uint64(p))
	}
	if p := r.Get(TableState, keyConfig); p != nil {
		c, err := DecodeCommand(p)
		if cfg, ok := c.(*Config); err == nil && ok {
			v.config = *cfg
		} else {
			r.Fail(damaged("configuration", keyConfig))
		}
	}
	if v.config.QuotaBytes == 0 {
		v.config.QuotaBytes = DefaultQuota
	}
	return v
}

// Clock returns the state's clock, Unix milliseconds; 0 before the first command.
func (v *View) Clock() int64 { return v.clock }

// Config returns the last configuration applied.
func (v *View) Config() Config { return v.config }

// expired reports whether what has this expiry (0: permanent) is gone.
func (v *View) expired(expiry int64) bool { return expiry != 0 && expiry <= v.clock }

// owns answers WrongSwarm for a mailbox whose slot the swarm does not own.
func (v *View) owns(m ident.MailboxID) *fault.Error {
	if slot := m.Slot(); !v.config.Slots.Has(slot) {
		e := fault.New(fault.WrongSwarm, "route request", "slot %d lives in another swarm", slot)
		e.Version = v.config.DirectoryVersion
		return e
	}
	return nil
}

// mailbox returns the row of m, nil if there is none.
func (v *View) mailbox(m ident.MailboxID) *mailbox {
	p := v.r.Get(TableOwn, m[:])
	if p == nil {
		return nil
	}
	box, err := decodeMailbox(m, p)
	if err != nil {
		v.r.Fail(err)
		return nil
	}
	if box.head(envelope.GroupLog).seq != 0 { // only a group's mailbox has a log
		g, ok := decodeGroup(v.r.Get(TableGroup, box.owner.key()))
		if !ok {
			v.r.Fail(damaged("group", box.owner.key()))
			return nil
		}
		box.group = g
	}
	return box
}

// mail returns an envelope's row, whether it has expired or not.
func (v *View) mail(o owner, ns envelope.Namespace, seq uint64) (mail, bool) {
	k := mailKey(o, ns, seq)
	p := v.r.Get(TableMail, k)
	if p == nil {
		return mail{}, false
	}
	e, ok := decodeMail(p)
	if !ok {
		v.r.Fail(damaged("envelope", k))
	}
	return e, ok
}

// keyed returns the sequence number of the newest envelope under a key, whether it has expired or not; 0:
// none.
func (v *View) keyed(o owner, ns envelope.Namespace, key [envelope.KeySize]byte) uint64 {
	k := keyKey(o, ns, key)
	p := v.r.Get(TableKey, k)
	if p == nil {
		return 0
	}
	if len(p) != 8 {
		v.r.Fail(damaged("key", k))
		return 0
	}
	return binary.BigEndian.Uint64(p)
}

func (v *View) dup(o owner, h shortHash) (dup, bool) {
	k := dupKey(o, h)
	p := v.r.Get(TableDup, k)
	if p == nil {
		return dup{}, false
	}
	d, ok := decodeDup(p)
	if !ok {
		v.r.Fail(damaged("dup row", k))
	}
	return d, ok
}

// Slot returns what the envelopes of a slot add up to.
func (v *View) Slot(s ident.Slot) SlotState {
	p := v.r.Get(TableSlot, slotKey(s))
	if p == nil {
		return SlotState{}
	}
	st, ok := decodeSlot(p)
	if !ok {
		v.r.Fail(damaged("slot", slotKey(s)))
	}
	return st
}

// Mailbox returns what the state knows of m.
func (v *View) Mailbox(m ident.MailboxID) (Mailbox, bool) {
	box := v.mailbox(m)
	if box == nil {
		return Mailbox{}, false
	}
	return Mailbox{Authority: box.authority, Head: box.next - 1, CertsHead: box.certsHead()}, true
}

// NextDue returns the instant of the first row that Expire would take; false: there is none.
func (v *View) NextDue() (int64, bool) {
	k, _ := v.r.Next(TableDue, nil)
	if len(k) != 8+ownerSize+8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(k)), true
}

// Machine applies commands within one transaction.
type Machine struct {
	View
	tx journal
}

// New returns a Machine over tx.
func New(tx Tx) *Machine {
	m := &Machine{tx: journal{Tx: tx}}
	m.View = *NewView(&m.tx)
	return m
}

// Apply runs one encoded command. Every replica gets the same Result and the same tables.
func (m *Machine) Apply(p []byte) Result {
	c, err := DecodeCommand(p)
	if err != nil {
		return Result{Err: err.(*fault.Error)}
	}
	_, stamp := c.command()
	m.advance(stamp)
	switch c := c.(type) {
	case *Request:
		return m.request(c)
	case *Expire:
		return m.expire(min(c.UpTo, m.clock), int(c.Max))
	case *Clock:
		m.setClock(c.To)
	case *Config:
		if c.Number > m.config.Number {
			stored := *c
			stored.Stamp = Stamp{}
			m.tx.Put(TableState, keyConfig, EncodeCommand(&stored))
			m.config = stored
			if m.config.QuotaBytes == 0 {
				m.config.QuotaBytes = DefaultQuota
			}
		}
	}
	return Result{}
}

func (m *Machine) advance(s Stamp) {
	to := s.Time
	if m.clock != 0 {
		to = min(to, m.clock+int64(s.Allowance))
	}
	m.setClock(to)
}

func (m *Machine) setClock(to int64) {
	if to > m.clock {
		m.clock = to
		m.tx.Put(TableState, keyClock, binary.BigEndian.AppendUint64(nil, uint64(to)))
	}
}

// newOwner gives out the next owner number; numbers are never reused.
func (m *Machine) newOwner() owner {
	o := owner(1)
	if p := m.tx.Get(TableState, keyOwner); len(p) == ownerSize {
		o = ownerOf(p) + 1
	}
	m.tx.Put(TableState, keyOwner, o.key())
	return o
}

func (m *Machine) save(box *mailbox) {
	m.tx.Put(TableOwn, box.id[:], box.encode())
	if box.group != nil {
		m.tx.Put(TableGroup, box.owner.key(), box.group.encode())
	}
}

func (m *Machine) addSlot(id ident.MailboxID, change func(*SlotState)) {
	slot := id.Slot()
	s := m.Slot(slot)
	change(&s)
	if s == (SlotState{}) {
		m.tx.Delete(TableSlot, slotKey(slot))
		return
	}
	m.tx.Put(TableSlot, slotKey(slot), s.encode())
}

// insert puts an envelope's rows; the caller saves box.
func (m *Machine) insert(box *mailbox, ns envelope.Namespace, seq uint64, e *mail) {
	m.tx.Put(TableMail, mailKey(box.owner, ns, seq), e.encode())
	m.tx.Put(TableDup, dupKey(box.owner, e.hash), dup{seq, ns, e.expiry}.encode())
	if e.expiry != 0 {
		m.tx.Put(TableDue, dueKey(e.expiry, box.owner, seq), e.hash[:])
	}
	if r, _ := envelope.RulesOf(ns); r.Keyed {
		m.tx.Put(TableKey, keyKey(box.owner, ns, e.key), binary.BigEndian.AppendUint64(nil, seq))
	}
	m.account(box, ns, seq, e, 1)
}

// setExpiry gives a living envelope another expiry.
func (m *Machine) setExpiry(box *mailbox, ns envelope.Namespace, seq uint64, e mail, expiry int64) {
	old := e.digest(box.id, ns, seq)
	if e.expiry != 0 {
		m.tx.Delete(TableDue, dueKey(e.expiry, box.owner, seq))
	}
	e.expiry = expiry
	if e.expiry != 0 {
		m.tx.Put(TableDue, dueKey(e.expiry, box.owner, seq), e.hash[:])
	}
	m.tx.Put(TableMail, mailKey(box.owner, ns, seq), e.encode())
	m.tx.Put(TableDup, dupKey(box.owner, e.hash), dup{seq, ns, e.expiry}.encode())
	m.addSlot(box.id, func(s *SlotState) {
		s.add(old, 0, 0)
		s.add(e.digest(box.id, ns, seq), 0, 0)
	})
}

// dupKeep is how long the hash of a removed permanent envelope is remembered: 60 days, as long as recipients
// remember message IDs.
const dupKeep = 60 * dayMS

const dayMS = 24 * 3_600_000

// remove takes an envelope away; its dup row stays until the original expiry. The caller saves box.
func (m *Machine) remove(box *mailbox, ns envelope.Namespace, seq uint64, e *mail) {
	m.tx.Delete(TableMail, mailKey(box.owner, ns, seq))
	if r, _ := envelope.RulesOf(ns); r.Keyed && m.keyed(box.owner, ns, e.key) == seq {
		m.tx.Delete(TableKey, keyKey(box.owner, ns, e.key))
	}
	if e.expiry == 0 {
		until := m.clock + dupKeep
		m.tx.Put(TableDup, dupKey(box.owner, e.hash), dup{seq, ns, until}.encode())
		m.tx.Put(TableDue, dueKey(until, box.owner, seq), e.hash[:])
	}
	m.account(box, ns, seq, e, -1)
}

// forget takes away a dup row that is due, its due row and the envelope, if that is still there. The caller
// saves box.
func (m *Machine) forget(box *mailbox, h shortHash, d dup) {
	if e, ok := m.mail(box.owner, d.ns, d.seq); ok {
		m.remove(box, d.ns, d.seq, &e)
	}
	m.tx.Delete(TableDup, dupKey(box.owner, h))
	m.tx.Delete(TableDue, dueKey(d.until, box.owner, d.seq))
}

func (m *Machine) account(box *mailbox, ns envelope.Namespace, seq uint64, e *mail, sign int) {
	h := box.head(ns)
	h.count += uint32(sign)
	h.bytes += uint64(int64(sign) * int64(e.size()))
	box.setHead(h)
	box.count += uint64(int64(sign))
	box.bytes += uint64(int64(sign) * int64(e.size()))
	digest := e.digest(box.id, ns, seq)
	m.addSlot(box.id, func(s *SlotState) { s.add(digest, sign, int64(sign)*int64(e.size())) })
}
