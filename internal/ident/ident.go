// Package ident names the parties and places of Starling: accounts, groups, devices, messages, nodes,
// clusters, mailboxes, slots and swarms.
//
// Every identifier is an array with one strict text form: lower-case hex of its full length for IDs, decimal
// for numbers. Values are comparable and safe as map keys; none of them is secret, though AccountID and
// GroupID are never shown to nodes.
package ident

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/starling-swarm/starling/internal/fault"
)

// Type bytes that open account and group IDs.
const (
	AccountType = 0x05
	GroupType   = 0x03
)

// AccountID names an account: the type byte 0x05 and the account's 32-byte root key. 66 hex digits as text.
type AccountID [33]byte

// GroupID names a closed group: the type byte 0x03 and the group's genesis key. 66 hex digits as text.
type GroupID [33]byte

// DeviceID names a device within its account; drawn at random. 32 hex digits as text.
type DeviceID [16]byte

// MessageID names a message for its sender and recipient; drawn at random, never shown to nodes. 32 hex
// digits.
type MessageID [16]byte

// NodeID is SHA-256 of a node's raw Ed25519 public key. 64 hex digits as text.
type NodeID [32]byte

// Path is the relays of a circuit in order: guard, middle, exit. The zero Path is none.
type Path [3]NodeID

// ClusterID names a cluster (see directory.ClusterFile). 64 hex digits as text.
type ClusterID [32]byte

// MailboxID is the blinded public key that owns a mailbox; all that a node learns of an account. 64 hex
// digits.
type MailboxID [32]byte

// SwarmID numbers a swarm from 1 and is never reused; 0 is the directory's own Raft group.
type SwarmID uint32

// DirectoryGroup is the group number of the directory, which is no swarm.
const DirectoryGroup SwarmID = 0

// Slot is one of SlotCount fixed ranges of hashed mailbox IDs.
type Slot uint16

// SlotCount is the number of slots; it never changes.
const SlotCount = 4096

// Slot returns the slot that m hashes to: the first 12 bits of SHA-256(m).
func (m MailboxID) Slot() Slot {
	h := sha256.Sum256(m[:])
	return Slot(h[0])<<4 | Slot(h[1])>>4
}

// NodeIDOf returns the ID of the node with the given raw 32-byte Ed25519 public key.
func NodeIDOf(publicKey []byte) NodeID { return sha256.Sum256(publicKey) }

// AccountIDOf returns the ID of the account with the given 32-byte root key.
func AccountIDOf(rootKey []byte) (id AccountID) {
	id[0] = AccountType
	copy(id[1:], rootKey)
	return id
}

// RootKey returns the 32-byte Ed25519 public key inside the ID.
func (a AccountID) RootKey() []byte { return append([]byte(nil), a[1:]...) }

func (a AccountID) String() string { return hex.EncodeToString(a[:]) }
func (g GroupID) String() string   { return hex.EncodeToString(g[:]) }
func (d DeviceID) String() string  { return hex.EncodeToString(d[:]) }
func (m MessageID) String() string { return hex.EncodeToString(m[:]) }
func (n NodeID) String() string    { return hex.EncodeToString(n[:]) }
func (c ClusterID) String() string { return hex.EncodeToString(c[:]) }
func (m MailboxID) String() string { return hex.EncodeToString(m[:]) }
func (s SwarmID) String() string   { return strconv.FormatUint(uint64(s), 10) }

// Short returns the first 8 hex digits, for logs and tables.
func (n NodeID) Short() string { return n.String()[:8] }

// Short returns the first 8 hex digits, for people.
func (m MessageID) Short() string { return m.String()[:8] }

// IsZero reports whether the ID is all zero, which names nothing.
func (n NodeID) IsZero() bool { return n == NodeID{} }

// ParseAccountID reads 66 hex digits that begin with 05. It does not check that the key is a point of the
// curve; account.CheckID does.
func ParseAccountID(s string) (id AccountID, err error) {
	err = parseTyped("account ID", s, id[:], AccountType)
	return id, err
}

// ParseGroupID reads 66 hex digits that begin with 03.
func ParseGroupID(s string) (id GroupID, err error) {
	err = parseTyped("group ID", s, id[:], GroupType)
	return id, err
}

// ParseDeviceID reads 32 hex digits.
func ParseDeviceID(s string) (id DeviceID, err error) {
	err = parseHex("device ID", s, id[:])
	return id, err
}

// ParseMessageID reads 32 hex digits, or a UUID with hyphens.
func ParseMessageID(s string) (id MessageID, err error) {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		s = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	}
	err = parseHex("message ID", s, id[:])
	return id, err
}

// ParseNodeID reads 64 hex digits.
func ParseNodeID(s string) (id NodeID, err error) {
	err = parseHex("node ID", s, id[:])
	return id, err
}

// ParseClusterID reads 64 hex digits.
func ParseClusterID(s string) (id ClusterID, err error) {
	err = parseHex("cluster ID", s, id[:])
	return id, err
}

// ParseMailboxID reads 64 hex digits.
func ParseMailboxID(s string) (id MailboxID, err error) {
	err = parseHex("mailbox ID", s, id[:])
	return id, err
}

func parseTyped(what, s string, dst []byte, typ byte) error {
	if err := parseHex(what, s, dst); err != nil {
		return err
	}
	if dst[0] != typ {
		return fault.New(fault.Invalid, "parse "+what, "begins with %02x, want %02x", dst[0], typ)
	}
	return nil
}

func parseHex(what, s string, dst []byte) error {
	if len(s) != 2*len(dst) {
		return fault.New(fault.Invalid, "parse "+what, "has %d characters, want %d", len(s), 2*len(dst))
	}
	if _, err := hex.Decode(dst, []byte(s)); err != nil {
		return fault.New(fault.Invalid, "parse "+what, "%q is not hexadecimal", s)
	}
	return nil
}

// MarshalText and UnmarshalText give every ID its text form in JSON and configuration files.

func (a AccountID) MarshalText() ([]byte, error) { return []byte(a.String()), nil }
func (g GroupID) MarshalText() ([]byte, error)   { return []byte(g.String()), nil }
func (d DeviceID) MarshalText() ([]byte, error)  { return []byte(d.String()), nil }
func (m MessageID) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
func (n NodeID) MarshalText() ([]byte, error)    { return []byte(n.String()), nil }
func (c ClusterID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
func (m MailboxID) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (a *AccountID) UnmarshalText(b []byte) (err error) { return unmarshal(a, b, ParseAccountID) }
func (g *GroupID) UnmarshalText(b []byte) (err error)   { return unmarshal(g, b, ParseGroupID) }
func (d *DeviceID) UnmarshalText(b []byte) (err error)  { return unmarshal(d, b, ParseDeviceID) }
func (m *MessageID) UnmarshalText(b []byte) (err error) { return unmarshal(m, b, ParseMessageID) }
func (n *NodeID) UnmarshalText(b []byte) (err error)    { return unmarshal(n, b, ParseNodeID) }
func (c *ClusterID) UnmarshalText(b []byte) (err error) { return unmarshal(c, b, ParseClusterID) }
func (m *MailboxID) UnmarshalText(b []byte) (err error) { return unmarshal(m, b, ParseMailboxID) }

func unmarshal[T any](dst *T, b []byte, parse func(string) (T, error)) error {
	v, err := parse(string(b))
	if err != nil {
		return err
	}
	*dst = v
	return nil
}
