package groups

import (
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/account"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Ticket is what a device enters a group with, besides its log and a slot: the keys of an account, as
// somebody who was added has them, or as another device of the account hands them over.
type Ticket struct {
	private.Redacted
	group  ident.GroupID
	self   ident.AccountID
	sign   secret
	leaves []leafKey

	slot secret // of somebody who was added: locates the first slot; of a door: its slots

	// of a door
	from   uint32 // the generation of its invitation
	opened uint64 // the commit that opened it, or a later one

	// of a handover
	at    Locator // where the newest slot lies, and which commit it is of
	index uint64
	read  secret
	head  uint64 // the log as the other device knew it
	sum   [32]byte
	first uint32 // the chain of the generation in force, from the first day that the other device opens
	ck    secret
	days  []pastDay // of generations that are over
}

// Ticket returns the ticket of a member that an admin added with keys k: what it enters the group with.
func (k *Keys) Ticket(group ident.GroupID, self ident.AccountID) *Ticket {
	return &Ticket{group: group, self: self, sign: k.sign, leaves: []leafKey{{number: 1, key: k.leaf}},
		slot: k.slot}
}

// Handover returns what another device of the account needs to enter the group and to open the messages that
// this one opens: of those of generations that are over, the newest 60 days' keys. It has at most 4 KiB, for
// which more than 33 leaf keys displace the oldest days. It is as secret as the state.
func (s *State) Handover() []byte {
	c := &s.chains[len(s.chains)-1]
	t := &Ticket{group: s.group, self: s.self, sign: s.sign, leaves: s.leaves, at: s.at, index: s.grant.index,
		read: s.grant.read(), first: c.day, ck: c.ck}
	t.head, t.sum = s.Head()
	days := s.pastDays(0)
	t.days = days[:min(len(days), (maxHandover-len(t.encode()))/dayKeySize)]
	return t.encode()
}

// Group returns the group's ID.
func (t *Ticket) Group() ident.GroupID { return t.group }

// Self returns the account.
func (t *Ticket) Self() ident.AccountID { return t.self }

// ReadKey returns the seed of the key that fetches log and slots; of a handover only.
func (t *Ticket) ReadKey() private.Key { return t.read.key() }

// Head returns how far the device that made a handover knew the log: which of two handovers is newer.
func (t *Ticket) Head() (index uint64, sum [32]byte) { return t.head, t.sum }

// Locator reports whether a commit may have brought the slot to enter with, and where that slot lies. For a
// handover exactly one commit does; for a new member any addition may; for a door, any commit that begins a
// generation, and the one that opened it.
func (t *Ticket) Locator(b []byte) (at Locator, ok bool) {
	c, err := decodeCommit(b)
	if err != nil || !t.candidate(c) {
		return at, false
	}
	return t.locator(c), true
}

func (t *Ticket) candidate(c *commit) bool {
	if t.index != 0 {
		return c.Index == t.index
	}
	if !t.byDoor() {
		return c.Kind == KindAdd
	}
	if c.Generation < t.from || c.SlotsRoot == [32]byte{} || c.Kind == KindInvite && c.Index > t.opened {
		return false
	}
	return c.Kind != KindCreate && c.Kind != KindAdd
}

func (t *Ticket) locator(c *commit) Locator {
	switch {
	case t.index != 0:
		return t.at
	case t.byDoor() && c.Kind == KindInvite:
		return locate(&t.slot, c.Generation, c.Index)
	}
	return locate(&t.slot, c.Generation, 0)
}

// encode returns the bytes of a handover; DecodeHandover reads them.
func (t *Ticket) encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddBytes(t.group[:])
	b.AddBytes(t.self[:])
	b.AddBytes(t.sign.b[:])
	addLeafKeys(&b, t.leaves)
	b.AddBytes(t.at[:])
	b.AddUint64(t.index)
	b.AddBytes(t.read.b[:])
	b.AddUint64(t.head)
	b.AddBytes(t.sum[:])
	b.AddUint32(t.first)
	b.AddBytes(t.ck.b[:])
	addDays(&b, t.days)
	return b.BytesOrPanic()
}

// DecodeHandover reads what Handover returned.
func DecodeHandover(b []byte) (*Ticket, error) {
	s, t := cryptobyte.String(b), new(Ticket)
	var version uint8
	var ok bool
	if !s.ReadUint8(&version) || version != formatVersion || !s.CopyBytes(t.group[:]) ||
		t.group[0] != ident.GroupType || !s.CopyBytes(t.self[:]) ||
		t.self[0] != ident.AccountType || !s.CopyBytes(t.sign.b[:]) {
		return nil, fault.New(fault.Corrupt, "decode handover", "malformed")
	}
	if t.leaves, ok = readLeafKeys(&s); !ok || !s.CopyBytes(t.at[:]) || !s.ReadUint64(&t.index) ||
		!s.CopyBytes(t.read.b[:]) || !s.ReadUint64(&t.head) ||
		!s.CopyBytes(t.sum[:]) || t.index == 0 || t.head < t.index || !s.ReadUint32(&t.first) ||
		t.first > maxDay || !s.CopyBytes(t.ck.b[:]) {
		return nil, fault.New(fault.Corrupt, "decode handover", "malformed")
	}
	if t.days, ok = readDays(&s, maxHistory*historyKeys); !ok || !s.Empty() {
		return nil, fault.New(fault.Corrupt, "decode handover", "malformed")
	}
	return t, nil
}

// Enter makes the state of a device from a ticket, the log from its first commit on, and what is stored as
// the slot that Ticket.Locator finds. It takes in the log up to that slot's commit, of a door up to the own
// join; the rest is for Needs and Apply. in is the invitation that was used, or nil. Who came through a door
// has no day before its join but those that the invitation shares; who was handed over opens what the other
// device does.
//
// Errors: Denied (the slot is of no such commit, or not for these keys; or the log does not have them as a
// member), Stale (the log is shorter than the inviter or the other device knew it), Unavailable (a commit
// that brings keys of the past is missing: an admin has to make one), Corrupt and Unauthenticated (it is not
// the group's).
func Enter(now time.Time, cluster ident.ClusterID, t *Ticket, in *Invitation, log [][]byte,
	slot []byte) (*State, error) {
	return (*Shared)(nil).Enter(now, cluster, t, in, log, slot)
}

// Enter is described at the function of that name.
func (sh *Shared) Enter(now time.Time, cluster ident.ClusterID, t *Ticket, in *Invitation, log [][]byte,
	slot []byte) (*State, error) {
	mailbox, err := account.GroupMailboxOf(t.group, cluster)
	if err != nil {
		return nil, err
	}
	s := newState(place{t.group, mailbox}, t.self, t.sign, append([]leafKey(nil), t.leaves...))
	s.shared = sh
	commits, err := s.readLog(log)
	if err != nil {
		return nil, err
	}
	if err := t.checkHeads(in, commits); err != nil {
		return nil, err
	}
	o, at, err := t.find(&s.place, commits, slot)
	if err != nil {
		return nil, err
	}
	sign := t.sign.public()
	r, err := s.replayTo(commits, at, o, func(c *core, _ int) bool {
		me := c.member(t.self)
		return !o.door || me != nil && me.Sign == sign && me.Door && me.JoinedGen == o.g
	})
	if err != nil {
		return nil, err
	}
	me := r.last.core.member(t.self)
	if me == nil || me.Sign != sign {
		return nil, fault.New(fault.Denied, "enter group", "the log does not have these keys as a member")
	}
	if err := r.checkSlot(o); err != nil {
		return nil, err
	}
	for _, c := range commits[max(0, r.end+1-keptHeads):r.end] {
		s.heads = append(s.heads, c.hash)
	}
	if o.door {
		o.next = o.doorSecret(t.self)
	}
	s.adopt(now, commits[r.end], r.last, o.grant, o)
	if o.door {
		s.forgetBefore(now, commits[r.end], r)
	}
	if t.index != 0 {
		if err := s.openAsHanded(t); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// readLog checks what can be checked of a log without its keys: that it is one chain of signatures from the
// mailbox's key on.
func (at *place) readLog(log [][]byte) ([]*commit, error) {
	out := make([]*commit, 0, len(log))
	var prev [32]byte
	signer, gen, pks, form := [32]byte(at.mailbox), uint32(0), publics{}, Form(0)
	for i, b := range log {
		c, err := decodeCommit(b)
		if err != nil {
			return nil, err
		}
		if c.Index != uint64(i)+1 || c.PrevHash != prev {
			return nil, fault.New(fault.Corrupt, "read group log", "commit %d does not follow the one before",
				i+1)
		}
		if i == 0 {
			form = c.Form
		}
		if err := at.checkSigned(c, signer, gen, form, &pks); err != nil {
			return nil, err
		}
		prev, signer, gen, pks = c.hash, c.Admin, c.Generation, publicsOf(&c.CommitHeader)
		out = append(out, c)
	}
	return out, nil
}

// checkHeads compares the log with what others knew of it.
func (t *Ticket) checkHeads(in *Invitation, log []*commit) error {
	check := func(index uint64, sum [32]byte) error {
		switch {
		case index > uint64(len(log)):
			return &fault.Error{Kind: fault.Stale, Op: "enter group",
				Detail: "the log is shorter than it was known to be", Head: index}
		case index > 0 && log[index-1].hash != sum:
			return fault.New(fault.Corrupt, "enter group", "the log is forked at or before commit %d", index)
		}
		return nil
	}
	if in != nil {
		if in.Group != t.group {
			return fault.New(fault.Invalid, "enter group", "the invitation is of another group")
		}
		if err := check(in.HeadIndex, in.HeadHash); err != nil {
			return err
		}
	}
	return check(t.head, t.sum)
}

// find opens the slot and returns the place of its commit in the log.
func (t *Ticket) find(at *place, log []*commit, slot []byte) (*opened, int, error) {
	leaves := t.leaves
	if t.byDoor() {
		leaves = leaves[:1]
	}
	for i := len(log) - 1; i >= 0; i-- {
		c := log[i]
		if !t.candidate(c) || len(slot) < 32 || [32]byte(slot[:32]) != c.SlotsRoot {
			continue
		}
		o, err := at.openSlot(c, t.locator(c), slot, leaves)
		if err == nil {
			return o, i, nil
		}
	}
	return nil, 0, fault.New(fault.Denied, "enter group",
		"the slot is of no commit in the log, or not for these keys")
}

// replay takes in a log whose last commit gave the slot o.
func (s *State) replay(log []*commit, o *opened) (*taken, error) {
	r, err := s.replayTo(log, len(log)-1, o, func(*core, int) bool { return true })
	if err != nil {
		return nil, err
	}
	return r.last, nil
}

// replayed is what a log led to.
type replayed struct {
	slot   *taken // by the commit that gave the slot
	before *core  // ahead of the last commit, if that is another one
	last   *taken
	end    int // which commit is the last
}

// checkSlot sees that the author of its commit made the slot; nobody is known to have made what is void.
func (r *replayed) checkSlot(o *opened) error {
	if r.slot.why == nil && !r.slot.core.void && !o.of(r.slot) {
		return fault.New(fault.Corrupt, "enter group",
			"the slot is not the author's of its commit, or of another time")
	}
	return nil
}

// replayTo takes in a log whose commit at gave the slot o, as far as the first commit from there on that done
// accepts. None of a later generation can be.
func (s *State) replayTo(log []*commit, at int, o *opened,
	done func(c *core, i int) bool) (*replayed, error) {
	for i := at; i < len(log); i++ {
		if log[i].Generation != o.g {
			log = log[:i]
		}
	}
	r, keys, begin := &replayed{last: &taken{core: s.core}}, map[uint32]*secret{o.g: &o.all}, 0
	if t := s.shared.find(log[at].hash); t != nil {
		r.slot, r.last, begin = t, t, at+1
		if done(t.core, at) {
			r.end = at
			return r, nil
		}
	} else {
		keys = s.walkBack(log, &o.all)
	}
	for i := begin; i < len(log); i++ {
		c, t := log[i], r.last
		all, past := keys[c.Generation], t.past
		if all == nil {
			return nil, fault.New(fault.Unavailable, "enter group",
				"no commit brings the keys of generation %d yet: an admin has to make one", c.Generation)
		}
		if c.Generation > 1 && c.Generation != t.core.gen && c.Kind != KindDisband {
			past = after(past, keys[c.Generation-1])
		}
		t, err := s.shared.take(&s.place, t.core, c, all, past)
		if err != nil {
			return nil, err
		}
		r.before, r.last, r.end = r.last.core, t, i
		if i == at {
			r.slot = t
		}
		if i >= at && done(t.core, i) {
			return r, nil
		}
	}
	return nil, fault.New(fault.Denied, "enter group",
		"the log does not have these keys as a member that let itself in with generation %d", o.g)
}

// forgetBefore forgets the days before a join that its invitation does not share.
func (s *State) forgetBefore(now time.Time, join *commit, r *replayed) {
	p, err := s.open(join, &s.grant.all)
	if err != nil {
		return
	}
	ch, err := decodeChange(join.Kind, p.change)
	if err != nil || r.before == nil || join.Kind != KindJoin {
		return
	}
	if in, err := r.before.findInvite(ch.Adds[0].Serial); err == nil {
		day := min(Day(now), Day(time.UnixMilli(p.at)))
		s.chains[0].erase(day - min(day, uint32(in.ShareDays)))
		s.given = in.ShareDays
	}
}

// Given returns how many days of earlier messages the invitation shares through whose door the account came,
// right after Enter; 0 for all others.
func (s *State) Given() int { return int(s.given) }

// walkBack collects what members held in each generation: commits carry what was held before them. Each is
// known to be right by the read key that the log has for it.
func (s *State) walkBack(log []*commit, all *secret) map[uint32]*secret {
	reads := map[uint32][32]byte{}
	for _, c := range log {
		reads[c.Generation] = c.Read
	}
	keys := map[uint32]*secret{log[len(log)-1].Generation: all}
	for i := len(log) - 1; i >= 0; i-- {
		g := log[i].Generation
		if keys[g] == nil {
			continue
		}
		p, err := s.open(log[i], keys[g])
		if err != nil {
			continue
		}
		for j := range p.earlier {
			old := g - uint32(len(p.earlier)-j)
			if read, ok := reads[old]; ok && keys[old] == nil && opens(&p.earlier[j], s.group, old, read) {
				keys[old] = &p.earlier[j]
			}
		}
	}
	return keys
}
