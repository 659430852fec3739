package envelope

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/starling-swarm/starling/internal/ident"
)

// Version opens every request, response and subscription. A reader rejects any other.
const Version = 1

// Labels of what is signed or hashed here. internal/account's registry test knows them too.
const (
	LabelRequest   = "starling/v1/request\x00"
	LabelSubscribe = "starling/v1/subscribe\x00"
	LabelHash      = "starling/v1/envelope-hash\x00"
)

// Mode says how the operations of a request hang together.
type Mode uint8

const (
	All  Mode = 0 // stop at the first failure; nothing is applied
	Each Mode = 1 // every operation stands alone
)

// Request is one or more operations on one mailbox, replicated as ONE Raft entry.
type Request struct {
	Mailbox   ident.MailboxID
	Authority [32]byte // the key that signs: the authority or the mailbox key; zero: unsigned
	MinSeq    uint64   // reads: the replica has applied at least this sequence number of the mailbox
	Mode      Mode
	Ops       []Op // 1 to MaxOps
}

// Op is one operation. The types below are all there are.
type Op interface{ kind() opKind }

type opKind uint8

// Kinds of operations on the wire. 9 (expire) is reserved.
const (
	opStore        opKind = 1
	opRetrieve     opKind = 2
	opRetrieveKey  opKind = 3
	opDelete       opKind = 4
	opDeleteBefore opKind = 5
	opSetAuthority opKind = 6
	opInfo         opKind = 7
	opCapability   opKind = 10
)

// Store puts one envelope into the mailbox.
type Store struct {
	Namespace Namespace
	Key       [KeySize]byte // zero in namespaces that are not keyed
	TTL       uint32        // seconds; 0: permanent, where the namespace allows it
	// compare-and-set: the namespace's head (0: empty); in keyed namespaces the key's
	IfHead  *uint64
	IfCerts *uint64 // the head of the mailbox's certificate log
	// the generation of the group's log; a delegate's store to GroupMail or GroupLeaves must carry it
	IfGeneration *uint32
	// kind u8 | length u16 | bytes, for stores that carry no authority; may be empty
	Admission []byte
	Body      []byte
}

// Retrieve reads envelopes with a sequence number above After, in order, from the named namespaces.
type Retrieve struct {
	Namespaces []Namespace // 1 to MaxNamespaces
	After      uint64
	MaxCount   uint16 // 0: MaxPageCount
	MaxBytes   uint32 // 0: MaxPage
}

// RetrieveKey reads the newest envelope under a key of a keyed namespace.
type RetrieveKey struct {
	Namespace Namespace
	Key       [KeySize]byte
}

// Delete removes envelopes by hash. With Required the absence of one is an error.
type Delete struct {
	Namespace Namespace // 0: wherever they are
	Required  bool
	Hashes    []Hash // 1 to MaxDeleteHashes
}

// DeleteBefore removes what was stored before an instant (Unix milliseconds; MaxInt64: all).
type DeleteBefore struct {
	Namespace Namespace // 0: everywhere but certs and contest
	Before    int64
}

// AuthorityChange says why the authority of a mailbox changes.
type AuthorityChange uint8

const (
	Genesis AuthorityChange = 1 // makes the mailbox; signed by the mailbox key
	Rotate  AuthorityChange = 2 // signed by the current authority
	Recover AuthorityChange = 3 // signed by the mailbox key
)

// NoRecover makes the mailbox a group's: the mailbox key signs nothing after the genesis, which holds the
// group's first commit, and commits change the authority, which is the admin key. Bit 0 is reserved.
const NoRecover uint8 = 1 << 1

// SetAuthority makes Key the authority of the mailbox.
type SetAuthority struct {
	Change AuthorityChange
	Key    [32]byte
	Flags  uint8 // 0, or NoRecover in a genesis
}

// Info asks for the mailbox's and the replica's limits.
type Info struct{}

func (Store) kind() opKind        { return opStore }
func (Retrieve) kind() opKind     { return opRetrieve }
func (RetrieveKey) kind() opKind  { return opRetrieveKey }
func (Delete) kind() opKind       { return opDelete }
func (DeleteBefore) kind() opKind { return opDeleteBefore }
func (SetAuthority) kind() opKind { return opSetAuthority }
func (Info) kind() opKind         { return opInfo }

// Hash names an envelope: SHA-256 over label, mailbox, namespace, key and body.
type Hash [32]byte

// HashOf returns the hash of the envelope that a store with these fields makes.
func HashOf(m ident.MailboxID, ns Namespace, key [KeySize]byte, body []byte) (h Hash) {
	d := sha256.New()
	d.Write([]byte(LabelHash))
	d.Write(m[:])
	d.Write(binary.BigEndian.AppendUint16(nil, uint16(ns)))
	d.Write(key[:])
	d.Write(body)
	d.Sum(h[:0])
	return h
}

// ReadOnly reports whether the request changes nothing, so that any replica may answer it without Raft.
func (r *Request) ReadOnly() bool {
	for _, op := range r.Ops {
		switch op.(type) {
		case Retrieve, RetrieveKey, Info:
		default:
			return false
		}
	}
	return true
}
