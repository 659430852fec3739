package groups

import (
	"io"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// maxPlain is the plaintext of the largest body.
const maxPlain = envelope.MaxCommitBody - 40

// nextSmaller is that of the next smaller one.
const nextSmaller = 65_536

// commit is one entry of the log.
type commit struct {
	*envelope.Commit
	hash [32]byte
}

func decodeCommit(b []byte) (*commit, error) {
	c, err := envelope.DecodeCommit(b)
	if err != nil {
		return nil, fault.New(fault.Corrupt, "decode commit", "%v", err)
	}
	return &commit{c, envelope.CommitHash(b)}, nil
}

// place is where a commit stands: everything that the body, the author's signature and the slots are bound
// to.
type place struct {
	group   ident.GroupID
	mailbox ident.MailboxID
}

func (p *place) bound(h *envelope.CommitHeader) []byte {
	return concat("", p.group[:], p.mailbox[:], h.Bytes())
}

// content is the plaintext of a commit's body.
type content struct {
	author  ident.AccountID
	at      int64
	change  []byte
	state   [32]byte
	earlier []secret // what the members held in the generations right before the header's, newest last
	sig     []byte

	unsigned []byte
}

func (p *content) bytes() []byte {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddBytes(p.author[:])
	b.AddUint64(uint64(p.at))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.change) })
	b.AddBytes(p.state[:])
	b.AddUint16(uint16(len(p.earlier)))
	for i := range p.earlier {
		b.AddBytes(p.earlier[i].b[:])
	}
	return b.BytesOrPanic()
}

func decodeContent(b []byte) (*content, error) {
	s, p := cryptobyte.String(b), new(content)
	var version uint8
	var n uint16
	var at uint64
	var change cryptobyte.String
	ok := s.ReadUint8(&version) && version == formatVersion && s.CopyBytes(p.author[:]) &&
		s.ReadUint64(&at) && at < maxTimeMS &&
		s.ReadUint24LengthPrefixed(&change) && s.CopyBytes(p.state[:]) && s.ReadUint16(&n) && n <= maxGaps+1
	for i := 0; ok && i < int(n); i++ {
		var k secret
		ok = s.CopyBytes(k.b[:])
		p.earlier = append(p.earlier, k)
	}
	p.unsigned = b[:len(b)-len(s)]
	if !ok || !s.ReadBytes(&p.sig, 64) || !zeros(s) {
		return nil, fault.New(fault.Corrupt, "decode commit", "malformed body")
	}
	p.at, p.change = int64(at), change
	return p, nil
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// pad adds zeros up to the next size of a body.
func pad(b []byte) ([]byte, error) {
	n := 256
	for n < len(b) && n < nextSmaller {
		n *= 2
	}
	if n < len(b) {
		n = maxPlain
	}
	if n < len(b) {
		return nil, fault.New(fault.Limited, "pad commit", "has %d bytes, want at most %d", len(b), maxPlain)
	}
	return append(b, make([]byte, n-len(b))...), nil
}

// sealCommit finishes a commit: the author's signature inside, that of the key that nodes ask for outside.
func (at *place) sealCommit(rng io.Reader, h envelope.CommitHeader, p *content, all, author *secret,
	outer func([]byte) [64]byte) (*envelope.Commit, error) {
	bound := at.bound(&h)
	plain := p.bytes()
	plain = append(plain, author.sign(labelAuthor, bound, plain)...)
	plain, err := pad(plain)
	if err != nil {
		return nil, err
	}
	c := &envelope.Commit{CommitHeader: h}
	key := memberKey(all, labelBody, at.group, h.Generation)
	if c.Body, err = key.seal(rng, concat(labelCommitBody, bound), plain); err != nil {
		return nil, err
	}
	c.Signature = outer(c.SignedBytes(at.mailbox))
	return c, nil
}

// open opens a commit's body with what the members of its generation hold.
func (at *place) open(c *commit, all *secret) (*content, error) {
	key := memberKey(all, labelBody, at.group, c.Generation)
	plain, err := key.open("open commit", concat(labelCommitBody, at.bound(&c.CommitHeader)), c.Body)
	if err != nil {
		return nil, err
	}
	return decodeContent(plain)
}

// taken is what a commit leads to. It is the same for all who hold the log.
type taken struct {
	core   *core
	at     int64    // of the author's clock; 0: void
	signer [32]byte // the author's key, which signed the slots; zero: void
	past   []secret // what members held in the generations before core.gen, newest last, at most maxGaps
	why    error    // void: why
}

// take returns the state after a commit whose place in the log and admin signature are known to be good. all
// is what the members of its generation hold, past what they held in those before. A commit whose content is
// malformed or breaks the policy is void: it moves head and generation and changes nothing else. An error:
// the first commit is void.
func (at *place) take(c0 *core, c *commit, all *secret, past []secret) (*taken, error) {
	if c.Index == 1 {
		c0 = c0.clone()
		c0.form = c.Form
	}
	out, err := at.tryTake(c0, c, all, past)
	if err != nil && c.Index == 1 {
		return nil, fault.New(fault.Denied, "take commit", "the group never began: %v", err)
	}
	if err != nil {
		next := c0.clone()
		next.index, next.void = c.Index, true
		if next.over = c0.over || c.Kind == KindDisband; next.over {
			next.invites = nil
		} else if c.Generation != c0.gen {
			next.gen, next.gaps = c.Generation, min(c0.gaps+1, maxGaps)
		}
		out = &taken{core: next, why: err}
	}
	out.past = past
	return out, nil
}

func (at *place) tryTake(c0 *core, c *commit, all *secret, past []secret) (*taken, error) {
	p, err := at.open(c, all)
	if err != nil {
		return nil, err
	}
	ch, err := decodeChange(c.Kind, p.change)
	if err != nil {
		return nil, err
	}
	next, fresh, err := c0.next(ch, p.author, p.at)
	if err != nil {
		return nil, err
	}
	m := c0.member(p.author)
	if c.Index == 1 || c.Kind == KindJoin {
		m = next.member(p.author)
	}
	if !verify(m.Sign, p.sig, labelAuthor, at.bound(&c.CommitHeader), p.unsigned) {
		return nil, fault.New(fault.Unauthenticated, "take commit", "commit %d is not signed by its author",
			c.Index)
	}
	if next.gen != c.Generation || fresh != (c.Generation != c0.gen) || next.digest() != p.state {
		return nil, fault.New(fault.Corrupt, "take commit",
			"commit %d does not lead to the state that it says", c.Index)
	}
	if !samePast(p.earlier, c0.owed(fresh, past)) {
		return nil, fault.New(fault.Corrupt, "take commit", "commit %d breaks the chain of keys", c.Index)
	}
	return &taken{core: next, at: p.at, signer: m.Sign}, nil
}

// owed returns the keys of earlier generations that the next commit carries, so that a newcomer can read the
// log: of those that no commit carries yet, and of the one that it ends.
func (c *core) owed(fresh bool, past []secret) []secret {
	n := int(c.gaps)
	if fresh && c.gen > 0 {
		n++
	}
	return past[max(0, len(past)-n):]
}

func samePast(a, b []secret) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].b != b[i].b {
			return false
		}
	}
	return true
}

// after returns the past of the generation that follows the one whose members hold all.
func after(past []secret, all *secret) []secret {
	past = past[max(0, len(past)-maxGaps):]
	return append(past[:len(past):len(past)], secret{b: all.b})
}
