package account

import (
	"crypto/sha512"

	"filippo.io/edwards25519"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// This file is the key blinding of Tor's v3 onion services (rend-spec-v3, appendix A.2) with our own labels:
// docs/formats.md, section 5.3. It is the only code here that touches curve arithmetic.

// CheckID reports whether id can be an account at all: fault.NotFound if its key is no canonical point of
// prime order.
func CheckID(id ident.AccountID) error {
	_, err := point(id)
	return err
}

func point(id ident.AccountID) (*edwards25519.Point, error) {
	none := func(why string) error {
		return fault.New(fault.NotFound, "account "+id.String()[:10], "no such account: %s", why)
	}
	if id[0] != ident.AccountType {
		return nil, none("not an account ID")
	}
	p, why := primePoint(id[1:])
	if why != "" {
		return nil, none("its key " + why)
	}
	return p, nil
}

// primePoint reads an Ed25519 public key and says what is wrong with it, if anything.
func primePoint(b []byte) (p *edwards25519.Point, wrong string) {
	p, err := new(edwards25519.Point).SetBytes(b)
	if err != nil {
		return nil, "is no point of the curve"
	}
	if string(p.Bytes()) != string(b) {
		return nil, "is not canonical"
	}
	identity := edwards25519.NewIdentityPoint()
	if p.Equal(identity) == 1 {
		return nil, "is the identity"
	}
	// (l-1) * p = -p exactly for points of prime order l: the scalar -1 is the integer l-1.
	minusOne := edwards25519.NewScalar().Negate(scalarOne())
	// In variable time: the key is public.
	if q := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p,
		edwards25519.NewScalar()); q.Add(q, p).Equal(identity) != 1 {
		return nil, "is not of prime order"
	}
	return p, ""
}

// smallOrderDH are the canonical X25519 public keys with which every exchange gives zero: the points of order
// 1, 2, 4 and 8 on the curve and on its twist. A test holds them against the exchange itself, which takes a
// hundred times as long as this list.
var smallOrderDH = [5][32]byte{
	{},
	{1},
	{
		0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
		0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
	},
	{
		0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
		0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
	},
	{
		0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	},
}

// checkDHPublic says what is wrong with an X25519 public key, if anything. Torsion needs no check: X25519
// clears it.
func checkDHPublic(key [32]byte) (wrong string) {
	// 2^255 - 19, little-endian: anything from there on is a second name of a smaller number.
	canonical := key[31] < 0x7f || key[0] < 0xed
	for i := 1; !canonical && i < 31; i++ {
		canonical = key[i] != 0xff
	}
	if key[31]&0x80 != 0 || !canonical {
		return "is not canonical"
	}
	for _, small := range smallOrderDH {
		if key == small {
			return "is of small order"
		}
	}
	return ""
}

func scalarOne() *edwards25519.Scalar {
	s, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		panic("account: one is a scalar: " + err.Error())
	}
	return s
}

func blindingFactor(id ident.PeerKey, cluster ident.ClusterID) *edwards25519.Scalar {
	h := sha512.New()
	h.Write([]byte(labelMailboxBlind))
	h.Write(id[:]) // type byte and root key
	h.Write(cluster[:])
	b, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(nil))
	if err != nil {
		panic("account: 64 bytes make a scalar: " + err.Error())
	}
	return b
}

// MailboxOf returns the mailbox of an account in a cluster. It fails as CheckID does.
func MailboxOf(id ident.AccountID, cluster ident.ClusterID) (m ident.MailboxID, err error) {
	p, err := point(id)
	if err != nil {
		return m, err
	}
	copy(m[:], new(edwards25519.Point).ScalarMult(blindingFactor(id.Key(), cluster), p).Bytes())
	return m, nil
}

// MailboxKey is the blinded root key. It signs requests that hold an authority genesis or recover.
type MailboxKey struct {
	private.Redacted
	scalar *edwards25519.Scalar
	prefix secret
	pub    [32]byte
}

// MailboxKey returns the key of the account's mailbox in a cluster.
func (r *Root) MailboxKey(cluster ident.ClusterID) *MailboxKey {
	return blindedKey(r.sign.seed(), r.ID().Key(), cluster)
}

// GroupMailboxOf returns the mailbox of a closed group in a cluster: that of an account, but for the type
// byte. fault.NotFound if the group's key is no canonical point of prime order.
func GroupMailboxOf(id ident.GroupID, cluster ident.ClusterID) (m ident.MailboxID, err error) {
	p, wrong := primePoint(id[1:])
	if id[0] != ident.GroupType {
		wrong = "is not of a group"
	}
	if wrong != "" {
		return m, fault.New(fault.NotFound, "group "+id.String()[:10], "no such group: its key %s", wrong)
	}
	copy(m[:], new(edwards25519.Point).ScalarMult(blindingFactor(id.Key(), cluster), p).Bytes())
	return m, nil
}

// GroupMailboxKey returns the key of a group's mailbox from the seed of its genesis key. It signs the
// mailbox's genesis.
func GroupMailboxKey(seed private.Key, cluster ident.ClusterID) *MailboxKey {
	k := newSignKey(seed.Reveal())
	pub := k.public()
	id := ident.GroupID{ident.GroupType}
	copy(id[1:], pub[:])
	k.wipe()
	return blindedKey(seed.Reveal(), id.Key(), cluster)
}

func blindedKey(seed [32]byte, id ident.PeerKey, cluster ident.ClusterID) *MailboxKey {
	h := sha512.Sum512(seed[:])
	a, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		panic("account: 32 bytes make a scalar: " + err.Error())
	}
	b := blindingFactor(id, cluster)
	k := &MailboxKey{scalar: edwards25519.NewScalar().Multiply(b, a)}
	n := sha512.New()
	n.Write([]byte(labelBlindNonce))
	n.Write(h[32:])
	n.Write(b.Bytes())
	copy(k.prefix.b[:], n.Sum(nil))
	clear(h[:])
	return k.complete()
}

func (k *MailboxKey) complete() *MailboxKey {
	copy(k.pub[:], new(edwards25519.Point).ScalarBaseMult(k.scalar).Bytes())
	return k
}

// Public returns the MailboxID as a key.
func (k *MailboxKey) Public() [32]byte { return k.pub }

// Sign makes an ordinary Ed25519 signature (RFC 8032, section 5.1.6, from its step 2 on).
func (k *MailboxKey) Sign(msg []byte) (sig [64]byte) {
	r := hashToScalar(k.prefix.b[:], msg)
	copy(sig[:32], new(edwards25519.Point).ScalarBaseMult(r).Bytes())
	c := hashToScalar(sig[:32], k.pub[:], msg)
	copy(sig[32:], edwards25519.NewScalar().MultiplyAdd(c, k.scalar, r).Bytes())
	return sig
}

func hashToScalar(parts ...[]byte) *edwards25519.Scalar {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	s, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(nil))
	if err != nil {
		panic("account: 64 bytes make a scalar: " + err.Error())
	}
	return s
}

func (k *MailboxKey) bytes() []byte { return append(k.scalar.Bytes(), k.prefix.b[:]...) }

func mailboxKeyFrom(b []byte) (*MailboxKey, error) {
	k := new(MailboxKey)
	if len(b) != 64 {
		return nil, fault.New(fault.Corrupt, "read mailbox key", "has %d bytes, want 64", len(b))
	}
	var err error
	if k.scalar, err = edwards25519.NewScalar().SetCanonicalBytes(b[:32]); err != nil {
		return nil, fault.Wrap(fault.Corrupt, "read mailbox key", err)
	}
	copy(k.prefix.b[:], b[32:])
	return k.complete(), nil
}
