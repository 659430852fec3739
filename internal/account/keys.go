package account

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"io"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Sizes of X-Wing (MLKEM768-X25519).
const (
	kemPublicSize = 1216
	kemEncSize    = 1120
)

// secret is 32 secret bytes.
type secret struct {
	private.Redacted
	b [32]byte
}

func (s *secret) wipe() { clear(s.b[:]) }

func newSecret(rng io.Reader) (s secret, err error) {
	if _, err := io.ReadFull(rng, s.b[:]); err != nil {
		return s, fault.Wrap(fault.Internal, "draw a key", err)
	}
	return s, nil
}

// Signer is a key that signs a mailbox's requests: AuthorityKey, or MailboxKey for genesis and recover.
type Signer interface {
	Public() [32]byte
	Sign(msg []byte) [64]byte
}

// SignRequest signs an encoded request (envelope.LabelRequest) or subscription (envelope.LabelSubscribe) for
// one node and circuit.
func SignRequest(k Signer, label string, node ident.NodeID, tag [32]byte, timeMS int64,
	b []byte) envelope.Signed {
	return envelope.Signed{TimeMS: timeMS, Signature: k.Sign(envelope.SignedBytes(label, node, tag,
		timeMS, b)), Bytes: b}
}

// signKey is an Ed25519 key with a role given by the type around it.
type signKey struct {
	private.Redacted
	key ed25519.PrivateKey
}

func newSignKey(seed [32]byte) signKey { return signKey{key: ed25519.NewKeyFromSeed(seed[:])} }

func (k *signKey) seed() (s [32]byte) {
	copy(s[:], k.key.Seed())
	return s
}

func (k *signKey) public() (p [32]byte) {
	copy(p[:], k.key[32:])
	return p
}

func (k *signKey) sign(label string, parts ...[]byte) (sig [64]byte) {
	msg := []byte(label)
	for _, p := range parts {
		msg = append(msg, p...)
	}
	copy(sig[:], ed25519.Sign(k.key, msg))
	return sig
}

func (k *signKey) wipe() { clear(k.key) }

func verify(key [32]byte, sig []byte, label string, parts ...[]byte) bool {
	msg := []byte(label)
	for _, p := range parts {
		msg = append(msg, p...)
	}
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(key[:], msg, sig)
}

// AuthorityKey signs the requests of one generation (auth_g).
type AuthorityKey struct{ signKey }

// Public returns the authority's Ed25519 key.
func (k *AuthorityKey) Public() [32]byte { return k.public() }

// Sign signs msg as it is; its label is the caller's (SignRequest).
func (k *AuthorityKey) Sign(msg []byte) [64]byte { return k.sign("", msg) }

// certKey signs day records and the next certificate (ask_g).
type certKey struct{ signKey }

// deviceKey signs what one device says to the others (dsk).
type deviceKey struct{ signKey }

// dhKey is an X25519 key: sx_g, which authenticates what an account sends, or ax_{g,d}, which checks it.
type dhKey struct {
	private.Redacted
	key *ecdh.PrivateKey
}

func newDHKey(b [32]byte) dhKey {
	k, err := ecdh.X25519().NewPrivateKey(b[:])
	if err != nil {
		panic("account: x25519: " + err.Error()) // only for a wrong length
	}
	return dhKey{key: k}
}

func (k *dhKey) public() (p [32]byte) {
	copy(p[:], k.key.PublicKey().Bytes())
	return p
}

// exchange fails for peers that have no point of large order.
func (k *dhKey) exchange(peer [32]byte) ([]byte, error) {
	p, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return nil, err
	}
	return k.key.ECDH(p)
}

// boxKey is an X-Wing key: kem_{g,d} opens messages, dk a slot of a device group, vault_sk wraps.
type boxKey struct {
	private.Redacted
	raw secret
	key hpke.PrivateKey
}

func newBoxKey(raw [32]byte) boxKey {
	k, err := hpke.MLKEM768X25519().NewPrivateKey(raw[:])
	if err != nil {
		panic("account: x-wing: " + err.Error()) // only for a wrong length
	}
	return boxKey{raw: secret{b: raw}, key: k}
}

func (k *boxKey) public() []byte { return k.key.PublicKey().Bytes() }

func (k *boxKey) open(info, ciphertext []byte) ([]byte, error) {
	return hpke.Open(k.key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, ciphertext)
}

func boxSeal(public, info, plaintext []byte) ([]byte, error) {
	pk, err := hpke.MLKEM768X25519().NewPublicKey(public)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "read an X-Wing key", err)
	}
	return hpke.Seal(pk, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, plaintext)
}

func checkBoxPublic(public []byte) error {
	if _, err := hpke.MLKEM768X25519().NewPublicKey(public); err != nil {
		return fault.Wrap(fault.Invalid, "read an X-Wing key", err)
	}
	return nil
}

// Root holds the keys of the recovery phrase. It signs (certificates, link requests) and opens vault wraps;
// it has no way to open a message.
type Root struct {
	private.Redacted
	sign  signKey
	vault secret // private form of vault_sk
}

// NewRoot derives the phrase's keys from its entropy.
func NewRoot(entropy private.Key) *Root {
	b := entropy.Reveal()
	defer clear(b[:])
	return &Root{sign: newSignKey(derive(b[:], labelRoot)), vault: secret{b: derive(b[:], labelVault)}}
}

// ID returns the account that the phrase is the root of.
func (r *Root) ID() ident.AccountID {
	p := r.sign.public()
	return ident.AccountIDOf(p[:])
}

// Wipe forgets the keys; r is of no use afterwards.
func (r *Root) Wipe() {
	r.sign.wipe()
	r.vault.wipe()
}

func (r *Root) vaultKey() boxKey { return newBoxKey(r.vault.b) }
