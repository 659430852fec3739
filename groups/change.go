package groups

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Form says whose key members store with, and whether a link lets its holder in at once; it is fixed when a
// group is made.
type Form = envelope.GroupForm

// The forms of groups.
const (
	FormShared = envelope.FormShared
	FormOwn    = envelope.FormOwn
	FormPublic = envelope.FormPublic
)

// Kind is what a commit does; nodes see it.
type Kind = envelope.CommitKind

// The kinds of commits.
const (
	KindCreate       = envelope.CommitCreate
	KindAdd          = envelope.CommitAdd
	KindRemove       = envelope.CommitRemove
	KindRole         = envelope.CommitRole
	KindInfo         = envelope.CommitInfo
	KindRekey        = envelope.CommitRekey
	KindInvite       = envelope.CommitInvite
	KindRevokeInvite = envelope.CommitRevokeInvite
	KindDisband      = envelope.CommitDisband
	KindJoin         = envelope.CommitJoin
)

// Target names one stay of a member: a removal meant for an earlier stay does not touch a later one.
type Target struct {
	Account ident.AccountID
	Joined  uint64
}

func (t *Target) read(s *cryptobyte.String) bool {
	return s.CopyBytes(t.Account[:]) && s.ReadUint64(&t.Joined)
}

// Addition is somebody who is to be added. OpenRequest and OpenReturn make it.
type Addition struct {
	Member    *Member // Account, Sign, Leaf and Credential; the rest is filled in
	Serial    uint64  // the invitation that it asks with; 0: none, it returns
	Replaces  uint64  // Joined of the stay that a return follows
	ShareDays uint16  // days of history that it opens besides today, as far as the admin keeps them

	slot secret // locates the first slot; not in the commit
	door bool   // it lets itself in
}

// Change is what an admin wants. It outlives lost races: the same Change is proposed again upon the new head.
type Change struct {
	Kind    Kind
	Info    Info       // create, info
	Adds    []Addition // add; create: the creator; join: who comes in, its author
	Targets []Target   // remove; role: exactly one
	// remove, revoke_invite with accounts: keeps them out until they are invited again
	Ban      bool
	Left     bool              // remove: they said that they leave; not with Ban
	Return   bool              // remove: an addition with new keys follows; not with Ban or Left
	Role     Role              // role
	Leaves   []LeafUpdate      // remove, rekey, role that falls
	Invite   Invite            // invite
	Serial   uint64            // revoke_invite; 0: every invitation that is bound
	Accounts []ident.AccountID // revoke_invite: only these; empty: all
}

// JoinAdds puts the additions of several changes into one, as many as a commit takes (State.MaxAdds); the
// rest is what is left over.
func JoinAdds(most int, changes ...Change) (one Change, left []Change) {
	one.Kind = KindAdd
	for i, ch := range changes {
		if len(one.Adds)+len(ch.Adds) > most {
			return one, changes[i:]
		}
		one.Adds = append(one.Adds, ch.Adds...)
	}
	return one, nil
}

// Encode returns all of c, secrets included; DecodeChange reads it.
func (c *Change) Encode() []byte {
	b := cryptobyte.NewBuilder([]byte{formatVersion, byte(c.Kind)})
	b.AddBytes(c.encode())
	for i := range c.Adds {
		b.AddBytes(c.Adds[i].slot.b[:])
	}
	return b.BytesOrPanic()
}

// DecodeChange reads what Encode wrote.
func DecodeChange(b []byte) (Change, error) {
	s, c := cryptobyte.String(b), Change{}
	var version uint8
	ok := s.ReadUint8(&version) && version == formatVersion && s.ReadUint8((*uint8)(&c.Kind)) && c.read(&s)
	for i := range c.Adds {
		ok = ok && s.CopyBytes(c.Adds[i].slot.b[:])
	}
	if !ok || !s.Empty() {
		return Change{}, fault.New(fault.Corrupt, "decode group change", "kind %d is unknown or malformed",
			c.Kind)
	}
	return c, nil
}

// encode returns what a commit holds of c.
func (c *Change) encode() []byte {
	var b cryptobyte.Builder
	switch c.Kind {
	case KindCreate:
		c.Info.add(&b)
		c.addAdds(&b)
	case KindAdd:
		c.addAdds(&b)
	case KindRemove:
		b.AddUint8(bit(c.Ban) | bit(c.Left)<<1 | bit(c.Return)*3)
		c.addTargets(&b)
		c.addLeaves(&b)
	case KindRole:
		b.AddUint8(uint8(c.Role))
		c.addTargets(&b)
		c.addLeaves(&b)
	case KindInfo:
		c.Info.add(&b)
	case KindRekey:
		c.addLeaves(&b)
	case KindInvite:
		c.Invite.add(&b)
	case KindRevokeInvite:
		b.AddUint64(c.Serial)
		b.AddUint8(bit(c.Ban))
		addAccounts(&b, c.Accounts)
	case KindJoin:
		for i := range c.Adds {
			b.AddUint64(c.Adds[i].Serial)
			c.Adds[i].Member.addKeys(&b)
		}
	}
	return b.BytesOrPanic()
}

func (c *Change) addAdds(b *cryptobyte.Builder) {
	b.AddUint8(uint8(len(c.Adds)))
	for i := range c.Adds {
		a := &c.Adds[i]
		a.Member.addKeys(b)
		b.AddUint64(a.Serial)
		b.AddUint64(a.Replaces)
		b.AddUint16(a.ShareDays)
	}
}

func (c *Change) addTargets(b *cryptobyte.Builder) {
	b.AddUint16(uint16(len(c.Targets)))
	for _, t := range c.Targets {
		b.AddBytes(t.Account[:])
		b.AddUint64(t.Joined)
	}
}

func (c *Change) addLeaves(b *cryptobyte.Builder) {
	b.AddUint8(uint8(len(c.Leaves)))
	for i := range c.Leaves {
		b.AddBytes(c.Leaves[i].Encode())
	}
}

// readWhy reads why members are removed: 0, 1 for a ban, 2 if they left, 3 if they return.
func (c *Change) readWhy(s *cryptobyte.String) bool {
	var why uint8
	ok := s.ReadUint8(&why) && why <= 3
	c.Ban, c.Left, c.Return = why == 1, why == 2, why == 3
	return ok
}

func (c *Change) read(s *cryptobyte.String) bool {
	switch c.Kind {
	case KindCreate:
		return c.Info.read(s) && c.readAdds(s)
	case KindAdd:
		return c.readAdds(s)
	case KindRemove:
		return c.readWhy(s) && c.readTargets(s) && c.readLeaves(s)
	case KindRole:
		return s.ReadUint8((*uint8)(&c.Role)) && c.Role >= Plain && c.Role <= Admin &&
			c.readTargets(s) && c.readLeaves(s)
	case KindInfo:
		return c.Info.read(s)
	case KindRekey:
		return c.readLeaves(s)
	case KindInvite:
		return c.Invite.read(s)
	case KindRevokeInvite:
		var ok bool
		if !s.ReadUint64(&c.Serial) || !readFlag(s, &c.Ban) {
			return false
		}
		c.Accounts, ok = readAccounts(s, MaxMembers)
		return ok
	case KindDisband:
		return true
	case KindJoin:
		m := &Member{LeafNumber: 1}
		c.Adds = []Addition{{Member: m}}
		return s.ReadUint64(&c.Adds[0].Serial) && m.readKeys(s)
	}
	return false
}

func (c *Change) readAdds(s *cryptobyte.String) bool {
	var n uint8
	if !s.ReadUint8(&n) || n == 0 || n > MaxAdds {
		return false
	}
	c.Adds = make([]Addition, n)
	for i := range c.Adds {
		a := &c.Adds[i]
		a.Member = &Member{LeafNumber: 1}
		if !a.Member.readKeys(s) || !s.ReadUint64(&a.Serial) || !s.ReadUint64(&a.Replaces) ||
			!s.ReadUint16(&a.ShareDays) {
			c.Adds = nil
			return false
		}
	}
	return true
}

func (c *Change) readTargets(s *cryptobyte.String) bool {
	var n uint16
	if !s.ReadUint16(&n) || n == 0 || n > MaxMembers {
		return false
	}
	c.Targets = make([]Target, n)
	for i := range c.Targets {
		if !c.Targets[i].read(s) {
			return false
		}
	}
	return true
}

func (c *Change) readLeaves(s *cryptobyte.String) bool {
	var n uint8
	if !s.ReadUint8(&n) || n > MaxLeaves {
		return false
	}
	c.Leaves = make([]LeafUpdate, n)
	for i := range c.Leaves {
		if !c.Leaves[i].read(s) {
			return false
		}
	}
	return true
}

func decodeChange(kind Kind, b []byte) (*Change, error) {
	c, s := &Change{Kind: kind}, cryptobyte.String(b)
	if !c.read(&s) || !s.Empty() {
		return nil, fault.New(fault.Corrupt, "decode group change", "kind %d is unknown or malformed", kind)
	}
	return c, nil
}

// check refuses what could not be encoded, or read again.
func (c *Change) check() error {
	bad := func(why string) error { return fault.New(fault.Invalid, "change group", "%s", why) }
	switch {
	case c.Kind < KindCreate || c.Kind > KindJoin:
		return bad("kind is unknown")
	case (c.Kind == KindCreate || c.Kind == KindJoin) && len(c.Adds) != 1:
		return bad("a group begins with one member, and one comes in by itself")
	case len(c.Leaves) > MaxLeaves || len(c.Targets) > MaxMembers || len(c.Adds) > MaxAdds ||
		len(c.Accounts) > MaxMembers:
		return bad("too many members or leaf keys")
	case c.Ban && c.Left, c.Return && (c.Ban || c.Left):
		return bad("who left is not banned")
	case c.Kind == KindRole && (c.Role < Plain || c.Role > Admin):
		return bad("role is unknown")
	case slices.ContainsFunc(c.Adds, func(a Addition) bool { return !a.whole() }):
		return bad("an addition is malformed")
	case c.Kind == KindInvite && !c.Invite.whole():
		return bad("the invitation has no serial, use or end, or too many accounts")
	}
	return c.Info.check()
}

func (a *Addition) whole() bool {
	m := a.Member
	return m != nil && m.Account[0] == ident.AccountType && len(m.Leaf) == leafSize &&
		len(m.Credential) <= MaxCredential && !a.slot.zero()
}
