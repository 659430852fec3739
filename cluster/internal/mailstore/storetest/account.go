package storetest

import (
	"crypto/ed25519"
	"crypto/sha512"
	"fmt"

	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// Account owns a mailbox: it holds the mailbox key and one authority key for each generation.
type Account struct {
	seed    string
	mailbox ed25519.PrivateKey
}

// NewAccount returns the account of a seed. Equal seeds give equal accounts.
func NewAccount(seed string) *Account {
	return &Account{seed: seed, mailbox: keyOf(seed + "/mailbox")}
}

func keyOf(seed string) ed25519.PrivateKey {
	sum := sha512.Sum512_256([]byte(seed))
	return ed25519.NewKeyFromSeed(sum[:])
}

// Mailbox returns the mailbox's ID, which is its key.
func (a *Account) Mailbox() ident.MailboxID { return ident.MailboxID(public(a.mailbox)) }

// MailboxKey returns the key that signs genesis and recover.
func (a *Account) MailboxKey() ed25519.PrivateKey { return a.mailbox }

// Authority returns the authority key of a generation.
func (a *Account) Authority(generation int) ed25519.PrivateKey {
	return keyOf(fmt.Sprintf("%s/authority/%d", a.seed, generation))
}

func public(k ed25519.PrivateKey) [32]byte { return [32]byte(k.Public().(ed25519.PublicKey)) }

// Request returns a request to the mailbox, signed later by key; nil: unsigned.
func (a *Account) Request(key ed25519.PrivateKey, ops ...envelope.Op) *envelope.Request {
	r := &envelope.Request{Mailbox: a.Mailbox(), Ops: ops}
	if key != nil {
		r.Authority = public(key)
	}
	return r
}

// Genesis returns the batch that makes the mailbox with the authority of generation 1.
func (a *Account) Genesis() *envelope.Request {
	return a.Change(envelope.Genesis, 1, 0)
}

// Change returns the batch of a change to a generation's authority: its certificate, which follows the one at
// certsHead, the change, a device group and one day record.
func (a *Account) Change(change envelope.AuthorityChange, generation int,
	certsHead uint64) *envelope.Request {
	key := a.mailbox
	if change == envelope.Rotate {
		key = a.Authority(generation - 1)
	}
	name := fmt.Sprintf("%d", generation)
	return a.Request(key,
		envelope.Store{Namespace: envelope.Certs, IfHead: &certsHead, Body: []byte("certificate " + name)},
		envelope.SetAuthority{Change: change, Key: public(a.Authority(generation))},
		envelope.Store{Namespace: envelope.Devices, Key: Key(name), TTL: 60 * day,
			Body: []byte("devices " + name)},
		envelope.Store{Namespace: envelope.Days, Key: Key("day"), TTL: 30 * day,
			Body: []byte("day record " + name)},
	)
}

const day = 24 * 3600 // seconds

// Key returns the key of a keyed namespace that begins with name.
func Key(name string) (k [envelope.KeySize]byte) {
	copy(k[:], name)
	return k
}

// Sign makes the signature of a request for a node and a circuit.
type Sign func(node ident.NodeID, tag [32]byte, timeMS int64, b []byte) envelope.Signed

// Signer returns the Sign of key under label; nil signs nothing.
func Signer(label string, key ed25519.PrivateKey) Sign {
	return func(node ident.NodeID, tag [32]byte, timeMS int64, b []byte) envelope.Signed {
		s := envelope.Signed{TimeMS: timeMS, Bytes: b}
		if key != nil {
			copy(s.Signature[:], ed25519.Sign(key, envelope.SignedBytes(label, node, tag, timeMS, b)))
		}
		return s
	}
}
