package envelope

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Labels of what a group's mailbox hashes and what its admins sign.
const (
	LabelCommit     = "starling/v1/group-commit\x00"
	LabelCommitHash = "starling/v1/group-commit-hash\x00"
	LabelSlot       = "starling/v1/group-slot\x00"
	LabelSlots      = "starling/v1/group-slots-root\x00"
	LabelRunning    = "starling/v1/group-running-hash\x00"
)

// CommitKind says what a commit changes. A node acts on create, disband and join only; the rest is for
// members.
type CommitKind uint8

// The kinds of commits.
const (
	CommitCreate       CommitKind = 1
	CommitAdd          CommitKind = 2
	CommitRemove       CommitKind = 3
	CommitRole         CommitKind = 4
	CommitInfo         CommitKind = 5
	CommitRekey        CommitKind = 6
	CommitInvite       CommitKind = 7
	CommitRevokeInvite CommitKind = 8
	CommitDisband      CommitKind = 9
	// somebody lets itself in, signed by the write key; in public groups only
	CommitJoin CommitKind = 10
)

// GroupForm says whose keys members store with, and how one comes in. It never changes.
type GroupForm uint8

// The forms of groups.
const (
	FormShared GroupForm = 0 // all members store with the generation's write key
	FormOwn    GroupForm = 1 // each member stores with a delegated key of its own
	FormPublic GroupForm = 2 // own keys, and who holds the write key may join without an admin
)

// MaxJoin is the most that an encoded commit of kind join may have, bytes.
const MaxJoin = 4096

// CommitHeader is the part of a commit that a node reads.
type CommitHeader struct {
	Index      uint64   // 1 for create, then one more each time
	Generation uint32   // of the keys; rises by one at most
	PrevHash   [32]byte // CommitHash of the commit before; zero for create
	Kind       CommitKind
	Form       GroupForm // the same in every commit of a log
	SlotsRoot  [32]byte  // SlotsRoot of the slots that this commit brings; zero: none
	Read       [32]byte
	Write      [32]byte
	Mod        [32]byte
	Admin      [32]byte // signs the next commit that is no join
}

// CommitHeaderSize is the encoded size of a CommitHeader.
const CommitHeaderSize = 8 + 4 + 32 + 1 + 1 + 5*32

// MaxCommitBody is the most that a commit's encrypted body may have, bytes.
const MaxCommitBody = 96<<10 - CommitHeaderSize - 3 - ed25519.SignatureSize

// Commit is one entry of a group's log.
type Commit struct {
	CommitHeader
	Body      []byte // encrypted; a node sees its length
	Signature [64]byte
}

// Bytes returns the header as it is encoded in its commit.
func (h *CommitHeader) Bytes() []byte {
	var b cryptobyte.Builder
	b.AddUint64(h.Index)
	b.AddUint32(h.Generation)
	b.AddBytes(h.PrevHash[:])
	b.AddUint8(uint8(h.Kind))
	b.AddUint8(uint8(h.Form))
	for _, k := range [][32]byte{h.SlotsRoot, h.Read, h.Write, h.Mod, h.Admin} {
		b.AddBytes(k[:])
	}
	return b.BytesOrPanic()
}

// unsigned returns header | body[u24].
func (c *Commit) unsigned() []byte {
	var b cryptobyte.Builder
	b.AddBytes(c.CommitHeader.Bytes())
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Body) })
	return b.BytesOrPanic()
}

// Encode returns header | body[u24] | signature 64.
func (c *Commit) Encode() []byte { return append(c.unsigned(), c.Signature[:]...) }

// SignedBytes returns what the commit's key signs: label | mailbox 32 | header | body[u24].
func (c *Commit) SignedBytes(m ident.MailboxID) []byte {
	out := append([]byte(LabelCommit), m[:]...)
	return append(out, c.unsigned()...)
}

// Verify checks the commit's signature under key: the admin key in force before it, for create the mailbox
// key, for join the write key in force.
func (c *Commit) Verify(m ident.MailboxID, key [32]byte) bool {
	return ed25519.Verify(key[:], c.SignedBytes(m), c.Signature[:])
}

// DecodeCommit reads what Encode wrote. Body aliases p. Errors: Invalid.
func DecodeCommit(p []byte) (*Commit, error) {
	bad := func(format string, args ...any) (*Commit, error) {
		return nil, fault.New(fault.Invalid, "decode commit", format, args...)
	}
	s := cryptobyte.String(p)
	c := new(Commit)
	var kind, form uint8
	var body cryptobyte.String
	if !s.ReadUint64(&c.Index) || !s.ReadUint32(&c.Generation) || !s.CopyBytes(c.PrevHash[:]) ||
		!s.ReadUint8(&kind) || !s.ReadUint8(&form) ||
		!s.CopyBytes(c.SlotsRoot[:]) || !s.CopyBytes(c.Read[:]) || !s.CopyBytes(c.Write[:]) ||
		!s.CopyBytes(c.Mod[:]) || !s.CopyBytes(c.Admin[:]) {
		return bad("ends in its header")
	}
	if c.Kind = CommitKind(kind); c.Kind < CommitCreate || c.Kind > CommitJoin {
		return bad("kind %d is unknown", kind)
	}
	if c.Form = GroupForm(form); c.Form > FormPublic {
		return bad("form %d is unknown", form)
	}
	if c.Kind == CommitJoin && (c.Form != FormPublic || c.SlotsRoot != [32]byte{} || len(p) > MaxJoin) {
		return bad("a join is of a public group, brings no slots and has at most %d bytes", MaxJoin)
	}
	if (c.Kind == CommitCreate) != (c.Index == 1) || c.Index == 0 ||
		c.Index == 1 && (c.PrevHash != [32]byte{} || c.Generation != 1) {
		return bad("create, and only create, has index 1, generation 1 and no predecessor")
	}
	if !s.ReadUint24LengthPrefixed(&body) || len(body) > MaxCommitBody || !s.CopyBytes(c.Signature[:]) ||
		!s.Empty() {
		return bad("body or signature is malformed")
	}
	c.Body = body
	return c, nil
}

// CommitHash is what the next commit names as its predecessor: SHA-256(label | encoded commit).
func CommitHash(commit []byte) [32]byte {
	return sha256.Sum256(append([]byte(LabelCommitHash), commit...))
}

// Slot is a group slot as it is stored: the root of the set it belongs to, in the clear, and sealed bytes.
type Slot struct {
	Locator [KeySize]byte
	Sealed  []byte
}

// SlotsRoot names a set of slots, which come in the order of their locators: SHA-256(label | one hash for
// each), where that hash is SHA-256(label | locator 16 | sealed). Zero for no slots.
func SlotsRoot(slots []Slot) (root [32]byte) {
	if len(slots) == 0 {
		return root
	}
	all := sha256.New()
	all.Write([]byte(LabelSlots))
	for _, s := range slots {
		one := sha256.New()
		one.Write([]byte(LabelSlot))
		one.Write(s.Locator[:])
		one.Write(s.Sealed)
		all.Write(one.Sum(nil))
	}
	all.Sum(root[:0])
	return root
}

// SlotBody returns the body of a stored slot: root 32 | sealed.
func SlotBody(root [32]byte, sealed []byte) []byte {
	return append(append(make([]byte, 0, 32+len(sealed)), root[:]...), sealed...)
}

// Running continues a group's running hash over an accepted envelope of the log, the messages or the notices.
func Running(before [32]byte, seq uint64, h Hash) [32]byte {
	b := append([]byte(LabelRunning), before[:]...)
	b = binary.BigEndian.AppendUint64(b, seq)
	return sha256.Sum256(append(b, h[:]...))
}

// InRunning reports whether envelopes of ns are part of the running hash: what every member can read.
func InRunning(ns Namespace) bool { return ns == GroupLog || ns == GroupMail || ns == GroupNotice }

// IsGroup reports whether ns belongs to a group's mailbox, which has no other namespaces.
func (ns Namespace) IsGroup() bool { return ns >= GroupLog && ns <= GroupAsk }
