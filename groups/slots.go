package groups

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// Slots of a generation: a power of two from minSlots to MaxSlots.
const (
	minSlots    = 16
	MaxSlots    = 1024
	contentSize = 4 + 1 + 4*32 + 64
	boxSize     = encSize + contentSize + 16
)

// Locator is the key of a slot in the mailbox's namespace of slots.
type Locator = [envelope.KeySize]byte

// locate returns where the slot lies that secret locates: the one with which a generation begins or an
// account joins (index 0), or the one of the commit that raises the account's role.
func locate(slot *secret, g uint32, index uint64) Locator {
	return locateBy(labelLocator, slot, g, index)
}

func locateBy(label string, slot *secret, g uint32, n uint64) (l Locator) {
	h := hmac.New(sha256.New, slot.b[:])
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32([]byte(label), g), n))
	copy(l[:], h.Sum(nil))
	return l
}

func bucketOf(members int) int {
	n := minSlots
	for n < members {
		n *= 2
	}
	return n
}

// slotContext binds a slot to its commit.
func (at *place) slotContext(g uint32, index uint64, prev [32]byte) []byte {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, g), index)
	return concat("", at.group[:], at.mailbox[:], b, prev[:])
}

func (k *grant) add(b *cryptobyte.Builder) {
	b.AddUint32(k.day)
	b.AddUint8(uint8(k.role))
	for _, s := range []*secret{&k.ck, &k.all, &k.next, &k.power} {
		b.AddBytes(s.b[:])
	}
}

func (k *grant) readFrom(s *cryptobyte.String) bool {
	if !s.ReadUint32(&k.day) || k.day > maxDay || !s.ReadUint8((*uint8)(&k.role)) {
		return false
	}
	for _, x := range []*secret{&k.ck, &k.all, &k.next, &k.power} {
		if !s.CopyBytes(x.b[:]) {
			return false
		}
	}
	return k.role >= Plain && k.role <= Admin && k.power.zero() == (k.role == Plain)
}

// sealer seals the slots of one commit.
type sealer struct {
	private.Redacted
	info   []byte
	author ed25519.PrivateKey // from its seed once: a thousand slots are signed with it
}

func (at *place) sealer(g uint32, index uint64, prev [32]byte, author *secret) *sealer {
	return &sealer{info: at.slotContext(g, index, prev), author: ed25519.NewKeyFromSeed(author.b[:])}
}

func (s *sealer) slot(leaf []byte, at Locator, k *grant) (envelope.Slot, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, contentSize))
	k.add(b)
	content := b.BytesOrPanic()
	content = append(content, ed25519.Sign(s.author, concat(labelSlotSign, s.info, at[:], content))...)
	defer clear(content)
	box, err := boxSeal(leaf, concat(labelSlot, s.info), content)
	return envelope.Slot{Locator: at, Sealed: box}, err
}

// fill adds decoys up to the bucket and puts all in the order of their locators, which is a random one. The
// decoys of a commit share a key that nobody keeps: a seal does not show its recipient, and random bytes need
// not be a valid one.
func (s *sealer) fill(rng io.Reader, slots []envelope.Slot) ([]envelope.Slot, error) {
	nobody, err := newSecret(rng)
	if err != nil {
		return nil, err
	}
	leaf := nobody.box().PublicKey().Bytes()
	for n := bucketOf(len(slots)); len(slots) < n; {
		at, err := newSecret(rng)
		if err != nil {
			return nil, err
		}
		box, err := boxSeal(leaf, concat(labelSlot, s.info), make([]byte, contentSize))
		if err != nil {
			return nil, err
		}
		slots = append(slots, envelope.Slot{Locator: Locator(at.b[:len(Locator{})]), Sealed: box})
	}
	return sortSlots(slots), nil
}

func sortSlots(slots []envelope.Slot) []envelope.Slot {
	slices.SortFunc(slots, func(a, b envelope.Slot) int { return slices.Compare(a.Locator[:], b.Locator[:]) })
	return slots
}

// opened is a slot whose author is not known yet.
type opened struct {
	*grant
	door    bool // it is that of a door
	at      Locator
	signed  []byte
	sig     []byte
	context []byte
}

// of reports whether the slot is by the author of the commit that led to t, and its day about that of the
// commit.
func (o *opened) of(t *taken) bool {
	return near(o.day, t.at) && verify(t.signer, o.sig, labelSlotSign, o.context, o.at[:], o.signed)
}

// openSlot opens the slot at a place, of a commit, with any of the leaf keys. body is what is stored: root 32
// | sealed. What is sealed to a door gives what a plain member holds and no more, and leads to no slot; every
// other slot leads to the next.
//
// Errors: Corrupt (it is of another commit, or its keys are not the commit's), Denied (not sealed to the keys
// at hand).
func (at *place) openSlot(c *commit, where Locator, body []byte, leaves []leafKey) (*opened, error) {
	if len(body) < 32 || [32]byte(body[:32]) != c.SlotsRoot {
		return nil, fault.New(fault.Corrupt, "open slot", "it is not one of commit %d", c.Index)
	}
	o := &opened{at: where, context: at.slotContext(c.Generation, c.Index, c.PrevHash)}
	for i := len(leaves) - 1; i >= 0; i-- {
		key := hpke.PrivateKey(leaves[i].key.box())
		content, err := boxOpen(key, concat(labelSlot, o.context), body[32:])
		if err != nil {
			continue
		}
		k, s := &grant{group: at.group, g: c.Generation, index: c.Index}, cryptobyte.String(content)
		if !k.readFrom(&s) || len(s) != 64 {
			return nil, fault.New(fault.Denied, "open slot", "malformed content")
		}
		pks := publicsOf(&c.CommitHeader)
		if !k.publics().fit(&pks) {
			return nil, fault.New(fault.Denied, "open slot", "its keys are not those of commit %d", c.Index)
		}
		if o.door = leaves[i].number == doorLeaf; o.door != k.next.zero() || o.door && k.role != Plain {
			return nil, fault.New(fault.Denied, "open slot", "it gives more or less than it may")
		}
		o.grant, o.signed, o.sig = k, content[:contentSize-64], content[contentSize-64:]
		return o, nil
	}
	return nil, fault.New(fault.Denied, "open slot", "no leaf key opens it")
}
