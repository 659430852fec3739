// Package private holds the types of keys and of the seeds they are made from, so that none of them gets into
// a log, an error or a file by accident.
//
// A Key is 32 secret bytes, a SigningKey an Ed25519 private key. Neither can be compared with ==; Equal takes
// the same time for all keys. Both print as "[redacted]" in fmt, slog and JSON, and Reveal is the one way to
// their bytes: what leaves this package in the clear is found by searching for it. A struct that keeps one in
// an unexported field embeds Redacted, as fmt prints the bytes of such fields without asking their type.
//
// The package is a leaf. Layouts that contain keys belong to the packages that write them.
package private

import (
	"crypto/ed25519"
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/starling-swarm/starling/internal/fault"
)

// Size is the size of a Key in bytes.
const Size = 32

const placeholder = "[redacted]"

// Redacted is embedded in everything secret: it cannot be compared with == and prints nothing of itself.
type Redacted struct{ _ [0]func() }

// Format prints a placeholder for every verb.
func (Redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, placeholder) }

// MarshalText keeps secrets out of JSON, slog and configuration files.
func (Redacted) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// Key is a symmetric key, or the seed of a private key. The zero Key stands for none.
type Key struct {
	Redacted
	b [Size]byte
}

// KeyOf returns the key of its bytes.
func KeyOf(b [Size]byte) Key { return Key{b: b} }

// Draw returns a new key of rng's bytes. Errors: Internal (rng failed).
func Draw(rng io.Reader) (k Key, err error) {
	if _, err := io.ReadFull(rng, k.b[:]); err != nil {
		return Key{}, fault.Wrap(fault.Internal, "draw a key", err)
	}
	return k, nil
}

// Reveal returns the bytes, to compute with them or to write them where they belong.
func (k Key) Reveal() [Size]byte { return k.b }

// IsZero reports whether k is none.
func (k Key) IsZero() bool { return k.Equal(Key{}) }

// Equal reports whether two keys are the same, in a time that tells nothing about them.
func (k Key) Equal(other Key) bool { return subtle.ConstantTimeCompare(k.b[:], other.b[:]) == 1 }

// Wipe overwrites the key in this place; copies stay.
func (k *Key) Wipe() { clear(k.b[:]) }

// Signing returns the Ed25519 key whose seed k is.
func (k Key) Signing() SigningKey { return SigningKey{key: ed25519.NewKeyFromSeed(k.b[:])} }

// SigningKey is an Ed25519 private key. The zero SigningKey is none, and signs nothing.
type SigningKey struct {
	Redacted
	key ed25519.PrivateKey
}

// SigningKeyOf returns the type for a private key of package ed25519. Errors: Invalid (the length).
func SigningKeyOf(k ed25519.PrivateKey) (SigningKey, error) {
	if len(k) != ed25519.PrivateKeySize {
		return SigningKey{}, fault.New(fault.Invalid, "take a signing key", "has %d bytes, want %d", len(k),
			ed25519.PrivateKeySize)
	}
	return SigningKey{key: k}, nil
}

// IsZero reports whether k is none.
func (k SigningKey) IsZero() bool { return len(k.key) == 0 }

// Public returns the public key.
func (k SigningKey) Public() [ed25519.PublicKeySize]byte {
	return [ed25519.PublicKeySize]byte(k.key.Public().(ed25519.PublicKey))
}

// Sign returns the signature of msg.
func (k SigningKey) Sign(msg []byte) [ed25519.SignatureSize]byte {
	return [ed25519.SignatureSize]byte(ed25519.Sign(k.key, msg))
}

// Seed returns the key's seed.
func (k SigningKey) Seed() Key { return KeyOf([Size]byte(k.key.Seed())) }

// Equal reports whether two keys are the same, in a time that tells nothing about them.
func (k SigningKey) Equal(other SigningKey) bool {
	return subtle.ConstantTimeCompare(k.key, other.key) == 1
}

// Reveal returns the key as package ed25519 has it, for a certificate or a key file.
func (k SigningKey) Reveal() ed25519.PrivateKey { return k.key }
