// Package directory is the signed view of a cluster that clients and nodes trust: which nodes there are, with
// which keys and addresses, which swarms they form, and which swarm stores a mailbox.
//
// A Directory is computed by every directory node from the committed log and signed by each of them; a client
// accepts it with t of n signatures of the signers that its cluster file pins. The encoding is a fixed
// big-endian layout (docs/formats.md, section 4); the digest and the signatures cover the bytes as received.
package directory

import (
	"github.com/starling-swarm/starling/internal/ident"
)

// Role is a set of what a node does.
type Role uint8

const (
	RoleDirectory Role = 1 << iota
	RoleStorage
	RoleRelay
)

// State is what the directory holds of a node's life.
type State uint8

const (
	Alive    State = 1
	Draining State = 2
	Dead     State = 3
	Removed  State = 4
)

// PeriodSeconds is the length of a relay's onion-key period: period = unix seconds / PeriodSeconds.
const PeriodSeconds = 21_600

// OnionKeySize is the size of an X-Wing (MLKEM768-X25519) public key in bytes.
const OnionKeySize = 1216

// OnionKey is a relay's public key for one period.
type OnionKey struct {
	Period uint32
	Key    [OnionKeySize]byte
}

// Node is one node as clients and other nodes see it.
type Node struct {
	ID          ident.NodeID
	Key         [32]byte // Ed25519; ID is its hash
	Roles       Role
	State       State
	Incarnation uint32
	Weight      uint16   // for placement and path choice; 100 is normal
	PeerAddr    string   // host:port of the node-to-node listener; may be a name
	ClientAddrs []string // host:port of the client listener, tried in parallel
	Zone        string
	Operator    string
	OnionKeys   []OnionKey // rising periods; at most 8
}

// Swarm is one Raft group of replicas.
type Swarm struct {
	ID       ident.SwarmID
	Config   uint64         // configuration number: rises with every change of Replicas
	Replicas []ident.NodeID // sorted
}

// SlotRange gives the slots First to Last to a swarm.
type SlotRange struct {
	First, Last ident.Slot
	Swarm       ident.SwarmID
	Config      uint64 // configuration number of these slots
}

// Params are the cluster's parameters that clients need.
type Params struct {
	StampDifficulty uint8  // bits of the proof-of-work stamp on what carries no authority
	QuotaBytes      uint64 // of one mailbox
	CircuitsPerConn uint16 // circuits that a client may hold on one guard
	MaxFileBytes    uint64
}

// Directory is one version of the view. Nodes are sorted by ID, swarms by ID, slot ranges by First; the
// ranges of a complete directory cover all slots (none at all before the first swarms exist).
type Directory struct {
	Cluster    ident.ClusterID
	Version    uint64
	Previous   [32]byte // digest of the version before
	IssuedAt   int64    // Unix milliseconds
	ValidUntil int64    // Unix milliseconds
	Params     Params
	Nodes      []Node
	Swarms     []Swarm
	Slots      []SlotRange
}

// Signature is one signer's signature: its index in the cluster file's list of signers, and the bytes.
type Signature struct {
	Signer uint8
	Sig    [64]byte
}

// Signed is a directory as it travels.
type Signed struct {
	Body       []byte // an encoded Directory
	Signatures []Signature
}

// Node returns the node with the given ID.
func (d *Directory) Node(id ident.NodeID) (*Node, bool) {
	for i := range d.Nodes {
		if d.Nodes[i].ID == id {
			return &d.Nodes[i], true
		}
	}
	return nil, false
}

// Swarm returns the swarm with the given ID.
func (d *Directory) Swarm(id ident.SwarmID) (*Swarm, bool) {
	for i := range d.Swarms {
		if d.Swarms[i].ID == id {
			return &d.Swarms[i], true
		}
	}
	return nil, false
}

// SwarmOf returns the swarm that stores mailbox m; false before the first swarms exist.
func (d *Directory) SwarmOf(m ident.MailboxID) (*Swarm, bool) {
	slot := m.Slot()
	for i := range d.Slots {
		if d.Slots[i].First <= slot && slot <= d.Slots[i].Last {
			return d.Swarm(d.Slots[i].Swarm)
		}
	}
	return nil, false
}

// Key returns the node's onion key for the period, or the newest it has before it.
func (n *Node) OnionKey(period uint32) (*OnionKey, bool) {
	var best *OnionKey
	for i := range n.OnionKeys {
		if n.OnionKeys[i].Period <= period {
			best = &n.OnionKeys[i]
		}
	}
	return best, best != nil
}
