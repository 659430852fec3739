package groups

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Sizes of X-Wing (MLKEM768-X25519).
const (
	leafSize = 1216
	encSize  = 1120
)

const formatVersion = 1

// secret is 32 secret bytes.
type secret struct {
	private.Redacted
	b [32]byte
}

// secretOf takes in what key returned.
func secretOf(k private.Key) secret { return secret{b: k.Reveal()} }

// key is s as other packages get it.
func (s secret) key() private.Key { return private.KeyOf(s.b) }

func (s *secret) wipe()                { clear(s.b[:]) }
func (s *secret) zero() bool           { return s.equal(&secret{}) }
func (s *secret) equal(o *secret) bool { return subtle.ConstantTimeCompare(s.b[:], o.b[:]) == 1 }

func newSecret(rng io.Reader) (s secret, err error) {
	if _, err := io.ReadFull(rng, s.b[:]); err != nil {
		return s, fault.Wrap(fault.Internal, "draw a key", err)
	}
	return s, nil
}

// derive is HKDF-SHA256, 32 bytes.
func derive(key, salt []byte, label string, context ...byte) (out secret) {
	b, err := hkdf.Key(sha256.New, key, salt, label+string(context), 32)
	if err != nil {
		panic("groups: hkdf: " + err.Error()) // only for outputs over 8,160 bytes
	}
	copy(out.b[:], b)
	clear(b)
	return out
}

// context is the group's ID and a generation.
func context(group ident.GroupID, g uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(nil), group[:]...), g)
}

func concat(label string, parts ...[]byte) []byte {
	out := []byte(label)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func hash(label string, parts ...[]byte) [32]byte { return sha256.Sum256(concat(label, parts...)) }

// public returns the Ed25519 public key of a seed.
func (s *secret) public() (p [32]byte) {
	copy(p[:], ed25519.NewKeyFromSeed(s.b[:])[32:])
	return p
}

func (s *secret) sign(label string, parts ...[]byte) []byte {
	return ed25519.Sign(ed25519.NewKeyFromSeed(s.b[:]), concat(label, parts...))
}

func verify(key [32]byte, sig []byte, label string, parts ...[]byte) bool {
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(key[:], concat(label, parts...), sig)
}

// seal is a random nonce and XChaCha20-Poly1305.
func (s *secret) seal(rng io.Reader, aad, plaintext []byte) ([]byte, error) {
	nonce := make([]byte, 24, 24+len(plaintext)+16)
	if _, err := io.ReadFull(rng, nonce); err != nil {
		return nil, fault.Wrap(fault.Internal, "draw a nonce", err)
	}
	a, err := chacha20poly1305.NewX(s.b[:])
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "seal", err)
	}
	return a.Seal(nonce, nonce, plaintext, aad), nil
}

func (s *secret) open(op string, aad, b []byte) ([]byte, error) {
	if len(b) < 40 {
		return nil, fault.New(fault.Corrupt, op, "has %d bytes, want 40 at least", len(b))
	}
	a, err := chacha20poly1305.NewX(s.b[:])
	if err != nil {
		return nil, fault.Wrap(fault.Internal, op, err)
	}
	out, err := a.Open(nil, b[:24], b[24:], aad)
	if err != nil {
		return nil, fault.New(fault.Denied, op, "does not open with the key at hand")
	}
	return out, nil
}

// box returns the X-Wing key of a private form.
func (s *secret) box() hpke.PrivateKey {
	k, err := hpke.MLKEM768X25519().NewPrivateKey(s.b[:])
	if err != nil {
		panic("groups: x-wing: " + err.Error()) // only for a wrong length
	}
	return k
}

func boxSeal(public, info, plaintext []byte) ([]byte, error) {
	pk, err := hpke.MLKEM768X25519().NewPublicKey(public)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "read an X-Wing key", err)
	}
	return hpke.Seal(pk, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, plaintext)
}

func boxOpen(key hpke.PrivateKey, info, ciphertext []byte) ([]byte, error) {
	return hpke.Open(key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, ciphertext)
}

// Keys are what an account is in one group: its signing key and the first of its leaf keys, and the secret
// that finds its first slot. All devices of the account share them.
type Keys struct {
	private.Redacted
	sign, leaf, slot secret
}

// NewKeys draws the keys of an account for one group.
func NewKeys(rng io.Reader) (k *Keys, err error) {
	k = new(Keys)
	for _, s := range []*secret{&k.sign, &k.leaf, &k.slot} {
		if *s, err = newSecret(rng); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// SignPublic returns the signing key, to make a credential for (CredentialBytes).
func (k *Keys) SignPublic() [32]byte { return k.sign.public() }

// Marshal returns the secret bytes of k; UnmarshalKeys reads them.
func (k *Keys) Marshal() []byte {
	return append(append(append([]byte{formatVersion}, k.sign.b[:]...), k.leaf.b[:]...), k.slot.b[:]...)
}

// UnmarshalKeys reads what Marshal wrote.
func UnmarshalKeys(b []byte) (*Keys, error) {
	if len(b) != 97 || b[0] != formatVersion {
		return nil, fault.New(fault.Corrupt, "read group keys", "has %d bytes or another version, want 97",
			len(b))
	}
	k := new(Keys)
	copy(k.sign.b[:], b[1:])
	copy(k.leaf.b[:], b[33:])
	copy(k.slot.b[:], b[65:])
	return k, nil
}

// CredentialBytes is what an account signs to say that a signing key of a group is its own.
func CredentialBytes(group ident.GroupID, account ident.AccountID, sign [32]byte) []byte {
	return concat(labelCredential, group[:], account[:], sign[:])
}
