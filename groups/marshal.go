package groups

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

const (
	maxOwnLeaves = 64
	maxChains    = 255
)

// Marshal returns the whole secret state, for an encrypted file. Unmarshal reads it. Sealing and opening
// messages change nothing of it.
func (s *State) Marshal() []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, 4096+len(s.core.members)*1500))
	b.AddUint8(formatVersion)
	b.AddBytes(s.group[:])
	b.AddBytes(s.mailbox[:])
	b.AddBytes(s.self[:])
	b.AddBytes(s.sign.b[:])
	b.AddBytes(s.first.b[:])
	b.AddBytes(s.at[:])
	addLeafKeys(b, s.leaves)
	for _, k := range [][32]byte{s.pks.read, s.pks.write, s.pks.mod, s.pks.admin} {
		b.AddBytes(k[:])
	}
	b.AddUint16(uint16(len(s.heads)))
	for i := range s.heads {
		b.AddBytes(s.heads[i][:])
	}
	b.AddUint8(bit(s.grant != nil))
	if s.grant != nil {
		b.AddUint32(s.grant.g)
		b.AddUint64(s.grant.index)
		s.grant.add(b)
	}
	b.AddUint16(uint16(len(s.past)))
	for i := range s.past {
		b.AddBytes(s.past[i].b[:])
	}
	s.addChains(b)
	s.core.add(b)
	return b.BytesOrPanic()
}

func addLeafKeys(b *cryptobyte.Builder, all []leafKey) {
	b.AddUint8(uint8(len(all)))
	for i := range all {
		b.AddUint32(all[i].number)
		b.AddUint64(uint64(all[i].until))
		b.AddBytes(all[i].key.b[:])
	}
}

func readLeafKeys(s *cryptobyte.String) (out []leafKey, ok bool) {
	var n uint8
	if !s.ReadUint8(&n) || n == 0 || n > maxOwnLeaves {
		return nil, false
	}
	for i := range int(n) {
		var l leafKey
		var until uint64
		if !s.ReadUint32(&l.number) || !s.ReadUint64(&until) || until >= maxTimeMS ||
			!s.CopyBytes(l.key.b[:]) || i > 0 && out[i-1].number > l.number {
			return nil, false
		}
		l.until = int64(until)
		out = append(out, l)
	}
	own := ownLeaves(out) // only the first may be a door's
	return out, len(own) > 0 && own[0].number != doorLeaf
}

func (s *State) addChains(b *cryptobyte.Builder) {
	b.AddUint8(uint8(len(s.chains)))
	for i := range s.chains {
		c := &s.chains[i]
		b.AddUint32(c.g)
		b.AddUint32(c.day)
		b.AddUint8(bit(c.live))
		b.AddBytes(c.ck.b[:])
		b.AddUint16(uint16(len(c.days)))
		for j := range c.days {
			b.AddBytes(c.days[j].b[:])
		}
	}
}

// Unmarshal reads what Marshal wrote. fault.Corrupt if it is malformed or of another version.
func Unmarshal(b []byte) (*State, error) { return unmarshal(b, nil) }

func unmarshal(b []byte, sh *Shared) (*State, error) {
	s, st := cryptobyte.String(b), new(State)
	bad := func(where string) error {
		return fault.New(fault.Corrupt, "read group state",
			"malformed %s", where)
	}
	var version uint8
	var ok bool
	if !s.ReadUint8(&version) || version != formatVersion {
		return nil, bad("version")
	}
	if !s.CopyBytes(st.group[:]) || !s.CopyBytes(st.mailbox[:]) || !s.CopyBytes(st.self[:]) ||
		st.self[0] != ident.AccountType ||
		!s.CopyBytes(st.sign.b[:]) || !s.CopyBytes(st.first.b[:]) || !s.CopyBytes(st.at[:]) {
		return nil, bad("keys")
	}
	if st.leaves, ok = readLeafKeys(&s); !ok {
		return nil, bad("leaf keys")
	}
	for _, k := range []*[32]byte{&st.pks.read, &st.pks.write, &st.pks.mod, &st.pks.admin} {
		if !s.CopyBytes(k[:]) {
			return nil, bad("public keys")
		}
	}
	if !st.readHeads(&s) {
		return nil, bad("heads")
	}
	if !st.readGrant(&s) {
		return nil, bad("keys of the generation")
	}
	if !st.readChains(&s) {
		return nil, bad("day keys")
	}
	if err := st.readCore(&s, sh); err != nil {
		return nil, err
	}
	if !st.whole() {
		return nil, bad("state: its parts do not fit")
	}
	return st, nil
}

// readCore reads what all members share, or takes it from those who have it.
func (s *State) readCore(in *cryptobyte.String, sh *Shared) error {
	var sum [32]byte
	if len(s.heads) > 0 {
		sum = s.heads[len(s.heads)-1]
		if t := sh.find(sum); t != nil {
			s.core, s.past = t.core, t.past
			return nil
		}
	}
	s.core = new(core)
	if !s.core.read(in) || !in.Empty() || s.core.group != s.group {
		return fault.New(fault.Corrupt, "read group state", "malformed members")
	}
	return nil
}

func (s *State) readHeads(in *cryptobyte.String) bool {
	var n uint16
	if !in.ReadUint16(&n) || n > keptHeads {
		return false
	}
	for range n {
		var h [32]byte
		if !in.CopyBytes(h[:]) {
			return false
		}
		s.heads = append(s.heads, h)
	}
	return true
}

func (s *State) readGrant(in *cryptobyte.String) bool {
	var granted bool
	var n uint16
	if !readFlag(in, &granted) {
		return false
	}
	if granted {
		s.grant = &grant{group: s.group}
		if !in.ReadUint32(&s.grant.g) || !in.ReadUint64(&s.grant.index) || !s.grant.readFrom(in) {
			return false
		}
	}
	if !in.ReadUint16(&n) || n > maxGaps+1 {
		return false
	}
	for range n {
		var k secret
		if !in.CopyBytes(k.b[:]) {
			return false
		}
		s.past = append(s.past, k)
	}
	return true
}

// whole reports whether the parts of a state fit each other, so that no operation meets what cannot be.
func (s *State) whole() bool {
	c := s.core
	if s.grant == nil {
		return !byDoor(s.leaves) && c.index == 0 && len(s.chains) == 0 && len(s.heads) == 0 && c.gen == 0 &&
			len(c.members) == 0
	}
	me := c.member(s.self)
	if byDoor(s.leaves) && (me == nil || !me.Door || me.JoinedGen != c.gen || s.grant.role != Plain) {
		return false
	}
	return me != nil && me.Role >= s.grant.role && !s.grant.next.zero() && s.grant.g == c.gen &&
		len(s.heads) > 0 && uint64(len(s.heads)) <= c.index &&
		len(s.chains) > 0 && s.chains[len(s.chains)-1].live && s.chains[len(s.chains)-1].g == c.gen &&
		s.grant.publics().fit(&s.pks)
}

func (s *State) readChains(in *cryptobyte.String) bool {
	var n uint8
	if !in.ReadUint8(&n) {
		return false
	}
	for i := range n {
		var c chain
		var days uint16
		if !in.ReadUint32(&c.g) || !in.ReadUint32(&c.day) || !readFlag(in, &c.live) || c.live && i != n-1 ||
			!in.CopyBytes(c.ck.b[:]) ||
			!in.ReadUint16(&days) || days > maxAhead+1 {
			return false
		}
		for range days {
			var k secret
			if !in.CopyBytes(k.b[:]) {
				return false
			}
			c.days = append(c.days, k)
		}
		s.chains = append(s.chains, c)
	}
	return true
}
