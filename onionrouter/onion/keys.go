package onion

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// GenerateKey returns a new onion key as its seed, 32 bytes of rng, and its public half. Errors: Internal
// (rng failed).
func GenerateKey(rng io.Reader) (seed private.Key, public [PublicSize]byte, err error) {
	if seed, err = private.Draw(rng); err != nil {
		return private.Key{}, public, err
	}
	k, err := ParsePrivate(seed)
	if err != nil {
		return private.Key{}, public, err
	}
	return seed, k.Public(), nil
}

// PrivateKey is a relay's onion key for one period. Parsing is slow enough to be done once per period.
type PrivateKey struct {
	private.Redacted
	key hpke.PrivateKey
}

// ParsePrivate returns the key of a seed. Errors: Corrupt.
func ParsePrivate(seed private.Key) (*PrivateKey, error) {
	b := seed.Reveal()
	defer clear(b[:])
	k, err := hpke.MLKEM768X25519().NewPrivateKey(b[:])
	if err != nil {
		return nil, fault.Wrap(fault.Corrupt, "parse onion key", err)
	}
	return &PrivateKey{key: k}, nil
}

// Public returns the public half.
func (k *PrivateKey) Public() (p [PublicSize]byte) {
	copy(p[:], k.key.PublicKey().Bytes())
	return p
}

// PublicKey is what a client seals a create layer to. It is safe for concurrent use.
type PublicKey struct{ key hpke.PublicKey }

// ParsePublic reads a published onion key. Errors: Invalid.
func ParsePublic(b []byte) (*PublicKey, error) {
	k, err := hpke.MLKEM768X25519().NewPublicKey(b)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "parse onion key", err)
	}
	return &PublicKey{k}, nil
}

// hpkeInfo binds a create layer to the node, the period of its key and the suite.
func hpkeInfo(node ident.NodeID, period uint32) []byte {
	b := append(make([]byte, 0, len(labelCreate)+37), labelCreate...)
	b = append(b, node[:]...)
	b = binary.BigEndian.AppendUint32(b, period)
	return append(b, Suite)
}

const (
	forward  = 0
	backward = 1
)

// deriveKeys returns the forward and backward keys of hop j from the HPKE export and the X25519 shares.
func deriveKeys(hop int, export []byte, own *ecdh.PrivateKey, peer, share,
	answer []byte) (f, b *chain, err error) {
	pub, err := ecdh.X25519().NewPublicKey(peer)
	if err != nil {
		return nil, nil, err
	}
	dh, err := own.ECDH(pub) // refuses an all-zero result
	if err != nil {
		return nil, nil, err
	}
	prk, err := hkdf.Extract(sha256.New, dh, export)
	if err != nil {
		return nil, nil, err
	}
	shares := string(share) + string(answer)
	kf, err := hkdf.Expand(sha256.New, prk, labelForward+shares, 32)
	if err != nil {
		return nil, nil, err
	}
	kb, err := hkdf.Expand(sha256.New, prk, labelBackward+shares, 32)
	if err != nil {
		return nil, nil, err
	}
	return newChain(kf, forward, hop), newChain(kb, backward, hop), nil
}

// ratchetEvery is the number of cells that one key seals.
const ratchetEvery = 1_024

// chain is a key with its counter: one direction at one hop.
type chain struct {
	private.Redacted
	aead  cipher.AEAD
	key   [32]byte
	nonce [12]byte // prefix 4, counter 8; what the next cell uses
	count uint64
}

func newChain(key []byte, direction, hop int) *chain {
	c := new(chain)
	copy(c.key[:], key)
	clear(key)
	c.nonce[0], c.nonce[1] = byte(direction), byte(hop)
	c.rekey()
	return c
}

func (c *chain) rekey() {
	block, err := aes.NewCipher(c.key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	if c.aead, err = cipher.NewGCM(block); err != nil {
		panic(err)
	}
}

// next prepares key and nonce for the next cell.
func (c *chain) next() {
	if c.count > 0 && c.count%ratchetEvery == 0 {
		k, err := hkdf.Expand(sha256.New, c.key[:], labelRatchet, 32)
		if err != nil {
			panic(err) // 32 bytes can always be expanded
		}
		copy(c.key[:], k)
		clear(k)
		c.rekey()
	}
	binary.BigEndian.PutUint64(c.nonce[4:], c.count)
	c.count++
}

// seal seals b[:n] in place; the tag lands behind it.
func (c *chain) seal(b []byte, n int, aad []byte) {
	c.next()
	c.aead.Seal(b[:0], c.nonce[:], b[:n], aad)
}

// open opens b in place and returns the plaintext, which begins where b does.
func (c *chain) open(b, aad []byte) ([]byte, bool) {
	c.next()
	p, err := c.aead.Open(b[:0], c.nonce[:], b, aad)
	return p, err == nil
}
