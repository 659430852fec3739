package groups

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Limits of a group.
const (
	MaxMembers    = 1000
	MaxName       = 128
	MaxAbout      = 2048
	MaxPicture    = 16 << 10
	MaxInvites    = 128
	MaxDoors      = 8  // invitations of a public group that are bound to nobody
	MaxAdds       = 48 // members that one commit adds
	maxOwnAdds    = 16 // the same where each has a key at the nodes
	MaxLeaves     = 64 // leaf keys that one commit replaces
	MaxBanned     = 1024
	MaxCredential = 256
	maxGone       = 1024
	maxGaps       = 400 // their keys fit beside the largest other change
	maxTimeMS     = 1 << 48
)

// Info is what all members see of the group itself.
type Info struct {
	Name, About string
	Picture     []byte // a small image; not to be changed in place
	Timer       uint32 // seconds that a message lives; 0: for good
}

// Equal reports whether both say the same.
func (i *Info) Equal(o *Info) bool {
	return i.Name == o.Name && i.About == o.About && i.Timer == o.Timer &&
		string(i.Picture) == string(o.Picture)
}

func (i *Info) check() error {
	if len(i.Name) > MaxName || len(i.About) > MaxAbout || len(i.Picture) > MaxPicture ||
		!utf8.ValidString(i.Name) || !utf8.ValidString(i.About) {
		return fault.New(fault.Invalid, "read group info",
			"name of %d, text of %d and picture of %d bytes, want at most %d, %d and %d, texts of UTF-8",
			len(i.Name), len(i.About), len(i.Picture), MaxName, MaxAbout, MaxPicture)
	}
	return nil
}

func (i *Info) add(b *cryptobyte.Builder) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(i.Name)) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(i.About)) })
	b.AddUint32(i.Timer)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(i.Picture) })
}

func (i *Info) read(s *cryptobyte.String) bool {
	var name, about, picture cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&name) || !s.ReadUint16LengthPrefixed(&about) || !s.ReadUint32(&i.Timer) ||
		!s.ReadUint16LengthPrefixed(&picture) {
		return false
	}
	i.Name, i.About, i.Picture = string(name), string(about), slices.Clone([]byte(picture))
	return i.check() == nil
}

// gone remembers a member that was removed: for its older messages and against late invitations.
type gone struct {
	account    ident.AccountID
	sign       [32]byte
	joined     uint64
	joinedGen  uint32
	removedGen uint32
}

// core is the state that all members share; docs/formats.md, section 11.2. What its slices point to is never
// changed in place, so that states can share it.
type core struct {
	group   ident.GroupID
	form    Form
	index   uint64
	gen     uint32
	over    bool
	void    bool   // the newest commit changed nothing
	gaps    uint16 // generations right before this one whose keys no commit that counts holds
	info    Info
	members []*Member // by account
	gone    []gone    // oldest first
	banned  []ident.AccountID
	invites []Invite // by serial
}

func (c *core) clone() *core {
	out := *c
	out.members, out.gone = slices.Clone(c.members), slices.Clone(c.gone)
	out.banned, out.invites = slices.Clone(c.banned), slices.Clone(c.invites)
	return &out
}

func (c *core) find(id ident.AccountID) (int, bool) {
	return slices.BinarySearchFunc(c.members, id, func(m *Member, id ident.AccountID) int {
		return slices.Compare(m.Account[:], id[:])
	})
}

func (c *core) member(id ident.AccountID) *Member {
	if i, ok := c.find(id); ok {
		return c.members[i]
	}
	return nil
}

// maxAdds is how many members one commit adds.
func (c *core) maxAdds() int {
	if c.form == FormShared {
		return MaxAdds
	}
	return maxOwnAdds
}

func (c *core) admins() (n int) {
	for _, m := range c.members {
		if m.Role == Admin {
			n++
		}
	}
	return n
}

// knows reports whether a signing key is or was a member's.
func (c *core) knows(sign [32]byte) bool {
	return slices.ContainsFunc(c.members, func(m *Member) bool { return m.Sign == sign }) ||
		slices.ContainsFunc(c.gone, func(t gone) bool { return t.sign == sign })
}

// revoked takes the keys of members that are removed from the nodes.
func (c *core) revoked(targets []Target) (op envelope.RevokeKeys) {
	for _, t := range targets {
		op.Keys = append(op.Keys, c.member(t.Account).Sign)
	}
	return op
}

// lastStay returns the newest stay of an account that has ended, or nil.
func (c *core) lastStay(id ident.AccountID) *gone {
	for i := len(c.gone) - 1; i >= 0; i-- {
		if c.gone[i].account == id {
			return &c.gone[i]
		}
	}
	return nil
}

// signer returns the key that account signed with as a member in generation g.
func (c *core) signer(account ident.AccountID, g uint32) (key [32]byte, ok bool) {
	if m := c.member(account); m != nil && m.JoinedGen <= g {
		return m.Sign, true
	}
	for i := len(c.gone) - 1; i >= 0; i-- {
		if t := &c.gone[i]; t.account == account && t.joinedGen <= g && g < t.removedGen {
			return t.sign, true
		}
	}
	return key, false
}

func (c *core) digest() [32]byte {
	var b cryptobyte.Builder
	b.AddBytes([]byte(labelState))
	c.addHead(&b)
	b.AddUint16(uint16(len(c.members)))
	for _, m := range c.members {
		b.AddBytes(m.sum[:])
	}
	c.addRest(&b)
	return hash(string(b.BytesOrPanic()))
}

func (c *core) add(b *cryptobyte.Builder) {
	c.addHead(b)
	b.AddUint16(uint16(len(c.members)))
	for _, m := range c.members {
		m.add(b)
	}
	c.addRest(b)
}

func (c *core) addHead(b *cryptobyte.Builder) {
	b.AddBytes(c.group[:])
	b.AddUint8(uint8(c.form))
	b.AddUint64(c.index)
	b.AddUint32(c.gen)
	b.AddUint8(bit(c.over))
	b.AddUint8(bit(c.void))
	b.AddUint16(c.gaps)
	c.info.add(b)
}

func (c *core) addRest(b *cryptobyte.Builder) {
	b.AddUint16(uint16(len(c.gone)))
	for i := range c.gone {
		t := &c.gone[i]
		b.AddBytes(t.account[:])
		b.AddBytes(t.sign[:])
		b.AddUint64(t.joined)
		b.AddUint32(t.joinedGen)
		b.AddUint32(t.removedGen)
	}
	addAccounts(b, c.banned)
	b.AddUint16(uint16(len(c.invites)))
	for i := range c.invites {
		c.invites[i].add(b)
	}
}

// read reads what add wrote. It is the own disk's: keys are not checked again.
func (c *core) read(s *cryptobyte.String) bool {
	var n uint16
	if !s.CopyBytes(c.group[:]) || c.group[0] != ident.GroupType || !s.ReadUint8((*uint8)(&c.form)) ||
		c.form > FormPublic ||
		!s.ReadUint64(&c.index) || !s.ReadUint32(&c.gen) || !readFlag(s, &c.over) ||
		!readFlag(s, &c.void) || !s.ReadUint16(&c.gaps) || c.gaps > maxGaps || !c.info.read(s) ||
		!s.ReadUint16(&n) || n > MaxMembers {
		return false
	}
	for i := range int(n) {
		m := new(Member)
		if !m.read(s) || i > 0 && string(c.members[i-1].Account[:]) >= string(m.Account[:]) {
			return false
		}
		c.members = append(c.members, m.seal())
	}
	var ok bool
	if c.gone, ok = readGone(s); !ok {
		return false
	}
	if c.banned, ok = readAccounts(s, MaxBanned); !ok {
		return false
	}
	c.invites, ok = readInvites(s)
	return ok
}

func readGone(s *cryptobyte.String) (out []gone, ok bool) {
	var n uint16
	if !s.ReadUint16(&n) || n > maxGone {
		return nil, false
	}
	for range n {
		var t gone
		if !s.CopyBytes(t.account[:]) || !s.CopyBytes(t.sign[:]) || !s.ReadUint64(&t.joined) ||
			!s.ReadUint32(&t.joinedGen) ||
			!s.ReadUint32(&t.removedGen) {
			return nil, false
		}
		out = append(out, t)
	}
	return out, true
}

func bit(v bool) uint8 {
	if v {
		return 1
	}
	return 0
}

func readFlag(s *cryptobyte.String, v *bool) bool {
	var f uint8
	ok := s.ReadUint8(&f) && f <= 1
	*v = f == 1
	return ok
}

func addAccounts(b *cryptobyte.Builder, all []ident.AccountID) {
	b.AddUint16(uint16(len(all)))
	for i := range all {
		b.AddBytes(all[i][:])
	}
}

func readAccounts(s *cryptobyte.String, most int) (out []ident.AccountID, ok bool) {
	var n uint16
	if !s.ReadUint16(&n) || int(n) > most {
		return nil, false
	}
	for range n {
		var id ident.AccountID
		if !s.CopyBytes(id[:]) || id[0] != ident.AccountType {
			return nil, false
		}
		out = append(out, id)
	}
	return out, true
}

// rising reports whether accounts are sorted and none is there twice.
func rising(all []ident.AccountID) bool {
	for i := 1; i < len(all); i++ {
		if slices.Compare(all[i-1][:], all[i][:]) >= 0 {
			return false
		}
	}
	return true
}

// sorted returns accounts in order, each once.
func sorted(all []ident.AccountID) []ident.AccountID {
	out := slices.Clone(all)
	slices.SortFunc(out, func(a, b ident.AccountID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(out)
}
