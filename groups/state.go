package groups

import (
	"io"
	"slices"
	"time"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

const (
	keptHeads = 1024
	leafLife  = 16 * 24 * time.Hour // of a superseded leaf key
)

// leafKey is one of the own leaf keys; until is when a superseded one goes, Unix milliseconds, 0 for not
// superseded.
type leafKey struct {
	private.Redacted
	number uint32
	until  int64
	key    secret
}

// State is what one account holds of one group. The zero State is of no use: Create and Enter make one.
type State struct {
	private.Redacted
	place

	self   ident.AccountID
	sign   secret
	leaves []leafKey // newest last
	first  secret    // locates the first slot, before there is a grant
	at     Locator   // where the slot of the grant lies
	core   *core     // shared; never changed
	pks    publics
	heads  [][32]byte // hashes of the newest commits; the last is the head's
	grant  *grant     // without its chain key
	past   []secret   // what members held in the generations before; never changed in place
	chains []chain    // newest last
	shared *Shared
	given  uint16 // right after Enter: days that the invitation shares through whose door the account came
}

// newState is an account before its first commit.
func newState(at place, self ident.AccountID, sign secret, leaves []leafKey) *State {
	return &State{place: at, self: self, sign: sign, leaves: leaves, core: &core{group: at.group}}
}

// Clone returns a state of its own that shares what all members have.
func (s *State) Clone() *State {
	out := *s
	out.leaves, out.heads, out.chains = slices.Clone(s.leaves), slices.Clone(s.heads), slices.Clone(s.chains)
	for i := range out.chains {
		out.chains[i].days = slices.Clone(out.chains[i].days)
	}
	if s.grant != nil {
		g := *s.grant
		out.grant = &g
	}
	return &out
}

// Group returns the group's ID.
func (s *State) Group() ident.GroupID { return s.group }

// MailboxID returns the group's mailbox.
func (s *State) MailboxID() ident.MailboxID { return s.mailbox }

// Self returns the account that the state is of.
func (s *State) Self() ident.AccountID { return s.self }

// Head returns index and hash of the newest commit taken in; zero before the first.
func (s *State) Head() (index uint64, sum [32]byte) {
	if len(s.heads) > 0 {
		sum = s.heads[len(s.heads)-1]
	}
	return s.core.index, sum
}

// Slot returns where the newest own slot lies that was opened.
func (s *State) Slot() Locator { return s.at }

// Generation returns the number of the generation in force.
func (s *State) Generation() uint32 { return s.core.gen }

// Form returns whose key members store with, and whether links let in at once.
func (s *State) Form() Form { return s.core.form }

// MaxAdds returns how many members one commit adds (JoinAdds).
func (s *State) MaxAdds() int { return s.core.maxAdds() }

// Disbanded reports whether the group has ended.
func (s *State) Disbanded() bool { return s.core.over }

// Info returns name, text, picture and timer.
func (s *State) Info() Info { return s.core.info }

// Members returns who is in the group, by account. What it points to must not be changed.
func (s *State) Members() []*Member { return slices.Clone(s.core.members) }

// Member returns one of them, or nil.
func (s *State) Member(id ident.AccountID) *Member { return s.core.member(id) }

// WasMember reports whether an account had a stay that has ended, as far back as the state remembers.
func (s *State) WasMember(id ident.AccountID) bool { return s.core.lastStay(id) != nil }

// Invites returns the open invitations, by serial. Their accounts must not be changed.
func (s *State) Invites() []Invite { return slices.Clone(s.core.invites) }

// Invited returns the accounts that open invitations are bound to, in order.
func (s *State) Invited() []ident.AccountID {
	var out []ident.AccountID
	for i := range s.core.invites {
		out = append(out, s.core.invites[i].For...)
	}
	return sorted(out)
}

// Banned returns the accounts that are kept out, the longest first.
func (s *State) Banned() []ident.AccountID { return slices.Clone(s.core.banned) }

// Digest is the state hash: equal for all who have taken in the same log.
func (s *State) Digest() [32]byte { return s.core.digest() }

// Admin reports whether the own account may make commits: it is an admin and has the keys of one.
func (s *State) Admin() bool { return s.grant != nil && s.grant.role == Admin }

// MayDelete reports whether actor may delete a message of author: its own, or anybody's as moderator or
// admin.
func (s *State) MayDelete(actor, author ident.AccountID) bool {
	m := s.core.member(actor)
	return m != nil && (actor == author || m.Role >= Moderator)
}

// ReadKey returns the seed of the Ed25519 key that fetches from the group's mailbox; WriteKey stores messages
// and words to the admins, ModerateKey deletes others' (false for those who may not). There are none before
// the first commit is taken in.
func (s *State) ReadKey() private.Key { return s.grant.read().key() }

// WriteKey is described at ReadKey. It is the generation's, or, in the other forms, the account's own signing
// key.
func (s *State) WriteKey() private.Key {
	if s.core.form != FormShared {
		return s.sign.key()
	}
	return s.grant.write().key()
}

// ModerateKey is described at ReadKey.
func (s *State) ModerateKey() (seed private.Key, ok bool) {
	return s.grant.mod().key(), s.grant.role >= Moderator
}

// AdminKey returns the seed of the key that signs commits and their storing; false for those who are no
// admin.
func (s *State) AdminKey() (seed private.Key, ok bool) {
	return s.grant.admin().key(), s.grant.role == Admin
}

func (s *State) headAt(index uint64) (sum [32]byte, ok bool) {
	back := s.core.index - index
	if index > s.core.index || index == 0 || back >= uint64(len(s.heads)) {
		return sum, false
	}
	return s.heads[uint64(len(s.heads))-1-back], true
}

// keysOf returns what the members held in a generation, if it is one of the last wordGenerations.
func (s *State) keysOf(g uint32) (*secret, bool) {
	if s.grant == nil || g > s.grant.g {
		return nil, false
	}
	if g == s.grant.g {
		return &s.grant.all, true
	}
	back := s.grant.g - g
	if back > wordGenerations || int(back) > len(s.past) {
		return nil, false
	}
	return &s.past[len(s.past)-int(back)], true
}

// NewLeaf draws the account's next leaf key. It counts from the commit that takes the update in; slots for
// the keys before it still open for 16 days. Hand the state over to the account's other devices before the
// update goes out.
func (s *State) NewLeaf(rng io.Reader) (*LeafUpdate, error) {
	key, err := newSecret(rng)
	if err != nil {
		return nil, err
	}
	number := s.NewestLeaf() + 1
	u := &LeafUpdate{Account: s.self, Number: number, Leaf: key.box().PublicKey().Bytes()}
	u.Signature = s.sign.sign(labelLeaf, u.signed(s.group))
	s.addLeaf(leafKey{number: number, key: key})
	return u, nil
}

// NewestLeaf returns the number of the account's newest leaf key, which the log may not have yet.
func (s *State) NewestLeaf() uint32 { return s.leaves[len(s.leaves)-1].number }

// follows reports whether c was taken in already; an error if it is not the next.
func (s *State) follows(c *commit) (done bool, err error) {
	index, sum := s.Head()
	switch {
	case c.Index <= index:
		if known, ok := s.headAt(c.Index); ok && known != c.hash {
			return false, fault.New(fault.Corrupt, "apply commit", "the log is forked at %d", c.Index)
		}
		return true, nil
	case c.Index > index+1:
		return false, &fault.Error{Kind: fault.Stale, Op: "apply commit",
			Detail: "commits are missing before it", Head: index}
	case c.PrevHash != sum:
		return false, fault.New(fault.Corrupt, "apply commit", "the log is forked at %d", index)
	}
	return false, nil
}
