package groups

import (
	"encoding/binary"
	"io"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Kinds of words to the admins.
const (
	wordLeaf   = 1
	wordLeave  = 2
	wordUrgent = 3 // a leaf update like that of wordLeaf

	wordSize        = 1344 // plaintext, of every kind: nodes cannot tell who leaves
	wordGenerations = 32   // that a word may lag
)

// Word is what a member said to the admins.
type Word struct {
	Account ident.AccountID
	Leaf    *LeafUpdate // the member's new leaf key, for the next commit that begins a generation
	Urgent  bool        // somebody else has the keys before Leaf: that commit is due now
	Leave   *Change     // finishes the member's leaving
}

// SealLeaf makes the word that brings the admins a leaf update of the own account.
func (s *State) SealLeaf(rng io.Reader, u *LeafUpdate) ([]byte, error) {
	return s.sealWord(rng, append([]byte{wordLeaf}, u.Encode()...))
}

// SealUrgentLeaf is SealLeaf for when a device that has the account's keys in the group was shut out of the
// account: any admin who reads it begins a generation at once.
func (s *State) SealUrgentLeaf(rng io.Reader, u *LeafUpdate) ([]byte, error) {
	return s.sealWord(rng, append([]byte{wordUrgent}, u.Encode()...))
}

// Leave makes the word of the own account that it leaves; any admin finishes it with a removal. fault.Denied
// for the last admin, who makes another one first, or disbands.
func (s *State) Leave(rng io.Reader) ([]byte, error) {
	me := s.core.member(s.self)
	if me == nil || me.Role == Admin && s.core.admins() == 1 {
		return nil, fault.New(fault.Denied, "leave group", "the last admin cannot leave")
	}
	stay := binary.BigEndian.AppendUint64(append([]byte(nil), s.self[:]...), me.Joined)
	word := append([]byte{wordLeave}, stay...)
	return s.sealWord(rng, append(word, s.sign.sign(labelLeave, s.group[:], stay)...))
}

func (s *State) sealWord(rng io.Reader, word []byte) ([]byte, error) {
	if s.grant == nil {
		return nil, fault.New(fault.Denied, "write to the admins", "the group has not begun")
	}
	key := memberKey(&s.grant.all, labelWord, s.group, s.grant.g)
	b, err := key.seal(rng, concat(labelWord, context(s.group, s.grant.g)),
		append(word, make([]byte, wordSize-len(word))...))
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32([]byte{formatVersion}, s.grant.g), b...), nil
}

// ReadToAdmins reads what a member said with SealLeaf, SealUrgentLeaf or Leave, in this generation or one of
// the last 32.
//
// Errors: Stale (of a later or a much earlier generation), Exists (whoever said it is no member any more),
// Denied, Unauthenticated (not signed by the member), Corrupt.
func (s *State) ReadToAdmins(b []byte) (*Word, error) {
	bad := fault.New(fault.Corrupt, "read word to the admins", "malformed")
	if len(b) != 5+wordSize+40 || b[0] != formatVersion {
		return nil, bad
	}
	g := binary.BigEndian.Uint32(b[1:])
	all, ok := s.keysOf(g)
	if !ok {
		return nil, fault.New(fault.Stale, "read word to the admins", "it is of generation %d, have %d", g,
			s.core.gen)
	}
	key := memberKey(all, labelWord, s.group, g)
	plain, err := key.open("read word to the admins", concat(labelWord, context(s.group, g)), b[5:])
	if err != nil {
		return nil, err
	}
	in := cryptobyte.String(plain[1:])
	switch plain[0] {
	case wordLeaf, wordUrgent:
		u := new(LeafUpdate)
		if !u.read(&in) || !zeros(in) {
			return nil, bad
		}
		return s.leafWord(u, plain[0] == wordUrgent)
	case wordLeave:
		var t Target
		var sig []byte
		if !t.read(&in) || !in.ReadBytes(&sig, 64) || !zeros(in) {
			return nil, bad
		}
		return s.leaveWord(t, sig, plain[1:1+len(t.Account)+8])
	}
	return nil, bad
}

func (s *State) leafWord(u *LeafUpdate, urgent bool) (*Word, error) {
	m := s.core.member(u.Account)
	switch {
	case m == nil || u.Number <= m.LeafNumber:
		return nil, fault.New(fault.Exists, "read leaf update", "of no member, or taken in already")
	case !verify(m.Sign, u.Signature, labelLeaf, u.signed(s.group)):
		return nil, fault.New(fault.Unauthenticated, "read leaf update", "not signed by its member")
	}
	return &Word{Account: u.Account, Leaf: u, Urgent: urgent}, nil
}

func (s *State) leaveWord(t Target, sig, signed []byte) (*Word, error) {
	m := s.core.member(t.Account)
	switch {
	case m == nil || m.Joined != t.Joined:
		return nil, fault.New(fault.Exists, "read leave", "of no member any more")
	case !verify(m.Sign, sig, labelLeave, s.group[:], signed):
		return nil, fault.New(fault.Unauthenticated, "read leave", "not signed by its member")
	}
	return &Word{Account: t.Account, Leave: &Change{Kind: KindRemove, Left: true, Targets: []Target{t}}}, nil
}
