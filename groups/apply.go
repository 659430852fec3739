package groups

import (
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Needs returns the locator of the own slot that stands beside a commit upon the head, and whether there must
// be one: then fetch it, and give Apply nil only if the nodes do not have it.
func (s *State) Needs(b []byte) (at Locator, must bool, err error) {
	c, err := decodeCommit(b)
	if err != nil {
		return at, false, err
	}
	switch {
	case c.Kind == KindDisband:
		return at, false, nil
	case s.grant == nil:
		return locate(&s.first, c.Generation, 0), true, nil
	case c.Generation != s.core.gen:
		return locate(&s.grant.next, c.Generation, 0), true, nil
	case c.Kind == KindRole:
		return locate(&s.grant.next, c.Generation, c.Index), s.raises(c), nil
	}
	return at, false, nil
}

// raises reports whether c, upon the head, raises the own role.
func (s *State) raises(c *commit) bool {
	p, err := s.open(c, &s.grant.all)
	if err != nil {
		return false
	}
	ch, err := decodeChange(c.Kind, p.change)
	return err == nil && len(ch.Targets) == 1 && ch.Targets[0].Account == s.self && ch.Role > s.grant.role
}

// Apply takes in the commit that follows the head, with what is stored as the own slot beside it, or nil. A
// commit that was taken in before changes nothing. Apply changes all of s or nothing.
//
// A commit that was properly made but whose content is malformed or breaks the policy is void: it moves the
// head, and the generation, and nothing else, for all members alike. A member whose role a commit raises but
// who has no good slot of it has the role in name only, until the next generation.
//
// Errors: Stale (it does not follow the head: fetch what lies between), Corrupt (another history than the one
// known, malformed, or the slot is not the commit's), Unauthenticated (not signed by the admin key in force),
// Denied (it begins a generation that leaves this account out).
func (s *State) Apply(now time.Time, b, slot []byte) error {
	c, err := decodeCommit(b)
	if err != nil {
		return err
	}
	if done, err := s.follows(c); done || err != nil {
		return err
	}
	if err := s.checkHeader(c); err != nil {
		return err
	}
	g, past, o := s.grant, s.past, (*opened)(nil)
	if fresh := c.Generation != s.core.gen && c.Kind != KindDisband; fresh {
		if slot == nil {
			return fault.New(fault.Denied, "apply commit", "generation %d has no slot for this account",
				c.Generation)
		}
		if o, err = s.openSlot(c, s.locatorOf(c), slot, ownLeaves(s.leaves)); err != nil {
			return err
		}
		if g = o.grant; s.grant != nil {
			past = after(past, &s.grant.all)
		}
	}
	t, err := s.shared.take(&s.place, s.core, c, &g.all, past)
	if err != nil {
		return err
	}
	me := t.core.member(s.self)
	if me == nil {
		return fault.New(fault.Denied, "apply commit", "commit %d leaves this account out", c.Index)
	}
	if o == nil && me.Role > g.role && slot != nil { // a bad slot gives no keys, and harms nobody
		if raised, err := s.openSlot(c, s.locatorOf(c), slot, ownLeaves(s.leaves)); err == nil &&
			raised.of(t) && raised.role > g.role && raised.all.b == g.all.b {
			o, g = raised, raised.grant
		}
	} else if o != nil && t.why == nil && !o.of(t) {
		return fault.New(fault.Corrupt, "apply commit",
			"the slot is not the author's of commit %d, or of another time", c.Index)
	}
	s.adopt(now, c, t, g, o)
	return nil
}

// locatorOf returns where the own slot beside c lies.
func (s *State) locatorOf(c *commit) Locator {
	switch {
	case s.grant == nil:
		return locate(&s.first, c.Generation, 0)
	case c.Generation != s.core.gen:
		return locate(&s.grant.next, c.Generation, 0)
	}
	return locate(&s.grant.next, c.Generation, c.Index)
}

// checkHeader sees what nodes see: a commit that fails it never was in the log.
func (s *State) checkHeader(c *commit) error {
	signer := s.pks.admin
	if c.Index == 1 {
		signer = s.mailbox
	}
	return s.checkSigned(c, signer, s.core.gen, s.core.form, &s.pks)
}

// checkSigned checks a commit's signature, and its form and keys against those before it.
func (at *place) checkSigned(c *commit, signer [32]byte, gen uint32, form Form, before *publics) error {
	if c.Kind == KindJoin {
		signer = before.write
	}
	if !c.Verify(at.mailbox, signer) {
		return fault.New(fault.Unauthenticated, "read commit",
			"commit %d is not signed by the key for it before it", c.Index)
	}
	if c.Form != form {
		return fault.New(fault.Corrupt, "read commit", "commit %d is of form %d, the group of %d",
			c.Index, c.Form, form)
	}
	if c.Kind == KindJoin && c.Generation != gen {
		return fault.New(fault.Corrupt, "read commit", "commit %d begins a generation, but is a join",
			c.Index)
	}
	if c.Generation != gen && c.Generation != gen+1 {
		return fault.New(fault.Corrupt, "read commit", "commit %d is of generation %d, want %d or the next",
			c.Index, c.Generation, gen)
	}
	if pks := publicsOf(&c.CommitHeader); c.Generation == gen && pks != *before {
		return fault.New(fault.Corrupt, "read commit", "commit %d changes keys within a generation", c.Index)
	}
	return nil
}

// adopt puts in force what a commit led to. o is the slot that gave g, nil if g was there before.
func (s *State) adopt(now time.Time, c *commit, t *taken, g *grant, o *opened) {
	if t.core.gen != s.core.gen {
		last := Day(now)
		if t.at != 0 {
			last = min(last, Day(time.UnixMilli(t.at)))
		}
		for i := range s.chains {
			s.chains[i].retire(last)
		}
		if len(s.chains) == maxChains {
			s.chains = s.chains[1:]
		}
		s.chains = append(s.chains, chain{g: g.g, day: g.day, live: true, ck: g.ck})
		s.pks = publicsOf(&c.CommitHeader)
	}
	if o != nil {
		s.at = o.at
		if !o.door {
			s.leaves = ownLeaves(s.leaves)
		}
	}
	me := t.core.member(s.self)
	g.ck.wipe()
	g.lower(me.Role)
	s.first.wipe()
	s.grant, s.core, s.past = g, t.core, t.past
	s.heads = append(s.heads, c.hash)
	s.heads = s.heads[max(0, len(s.heads)-keptHeads):]
	for i := range s.leaves {
		if l := &s.leaves[i]; l.number != doorLeaf && l.number < me.LeafNumber && l.until == 0 {
			l.until = now.Add(leafLife).UnixMilli()
		}
	}
}

// Described is what a commit did.
type Described struct {
	Index  uint64
	Kind   Kind
	Hash   [32]byte
	Void   bool            // it changed nothing; who made it is not known
	Author ident.AccountID // of a commit that is not void
	At     int64           // Unix milliseconds, the author's word
	Change *Change
}

// Describe reads the commit that was taken in last. fault.Invalid: it is another one.
func (s *State) Describe(b []byte) (*Described, error) {
	c, err := decodeCommit(b)
	if err != nil {
		return nil, err
	}
	if _, sum := s.Head(); sum != c.hash || s.grant == nil {
		return nil, fault.New(fault.Invalid, "describe commit", "commit %d is not the head", c.Index)
	}
	d := &Described{Index: c.Index, Kind: c.Kind, Hash: c.hash, Void: s.core.void}
	if d.Void {
		return d, nil
	}
	p, err := s.open(c, &s.grant.all)
	if err != nil {
		return nil, err
	}
	d.Author, d.At = p.author, p.at
	d.Change, err = decodeChange(c.Kind, p.change)
	return d, err
}
