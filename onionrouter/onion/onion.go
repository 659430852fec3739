// Package onion implements the create packet and the cells that carry a request from a client to a swarm
// without any node learning both ends.
//
// A client calls Build for a path and sends the packet; each relay calls OpenCreate on what reaches it,
// forwards Create.Inner, and wraps the CREATED that comes back with Hop.SealCreated. Pending.Finish turns the
// answer into a Circuit. From then on cells of one size travel both ways: Circuit.Seal and Circuit.Open at
// the client, Hop.Forward, Hop.Backward and Hop.SealOwn at a hop. A Message cuts a body into cells, a
// Reassembler puts it together again.
//
// The package is pure: it does no I/O and keeps no replay state; the caller drops create packets whose
// ReplayTag it has seen (package onionrouter does). Nothing here is safe for concurrent use, but forward and
// backward of one Hop or Circuit are independent of each other. Randomness for keys and padding comes in as
// an argument; what crypto/hpke needs for its encapsulations it draws itself. Layouts, labels and the key
// schedule: docs/formats.md, section 2.
package onion

import (
	"time"

	"github.com/starling-swarm/starling/internal/fault"
)

// Version and Suite open every header. A hop rejects any other.
const (
	Version = 1
	Suite   = 1 // MLKEM768-X25519, HKDF-SHA256, AES-256-GCM
)

// Hops of a circuit: guard, middle, exit, storage node.
const Hops = 4

// Sizes in bytes.
const (
	CellSize    = 2_048 // a MSG cell, and a CREATED, on every link
	BulkSize    = 16_368
	CreateSize  = 6_144 // a create packet, on every link
	PublicSize  = 1_216 // an onion key
	SeedSize    = 32    // its private half
	PayloadSize = CellSize - Hops*layerOverhead
	DataSize    = PayloadSize - payloadHeader // data of one cell: 1,974
	TagSize     = 32                          // a circuit tag

	gcmTag        = 16
	layerOverhead = 1 + gcmTag
	payloadHeader = 6
	encSize       = 1_120
	solSize       = 8
	headerSize    = 128
	createLayer   = solSize + encSize + gcmTag + headerSize // 1,272
	shareSize     = 32
	createdPlain  = 1 + 8 + 32                        // status, time, digest
	createdLayer  = shareSize + createdPlain + gcmTag // 89
)

// Class is the kind of cells that a circuit carries.
type Class uint8

const (
	MSG  Class = 1 // requests, pushes, acknowledgements
	Bulk Class = 2 // files; reserved, no node accepts it yet
)

// MaxEarly bounds the early count of a header, MaxLifetime a circuit's life.
const (
	MaxEarly    = 8
	MaxLifetime = 24 * time.Hour
)

// BucketSeconds is the length of the time bucket that a create packet names.
const BucketSeconds = 300

// BucketOf returns the time bucket that t lies in.
func BucketOf(t time.Time) uint32 { return uint32(t.Unix() / BucketSeconds) }

// Labels of everything that is hashed, derived or sealed here.
const (
	labelCreate   = "starling/v1/onion-create\x00"
	labelReplay   = "starling/v1/onion-replay\x00"
	labelTag      = "starling/v1/onion-tag\x00"
	labelExport   = "starling/v1/onion-export\x00"
	labelForward  = "starling/v1/onion-forward\x00"
	labelBackward = "starling/v1/onion-backward\x00"
	labelRatchet  = "starling/v1/onion-ratchet\x00"
)

// layerSize returns the bytes of hop j's layer in a cell of the given size.
func layerSize(cell, hop int) int { return cell - layerOverhead*(hop-1) }

// createSize returns the bytes of CREATE_j, createdSize those of CREATED_j.
func createSize(hop int) int  { return createLayer * (Hops + 1 - hop) }
func createdSize(hop int) int { return CellSize - createdLayer*(hop-1) }

// allZero reports whether b holds zero bytes only.
func allZero(b []byte) bool {
	var v byte
	for _, c := range b {
		v |= c
	}
	return v == 0
}

func invalid(op, format string, args ...any) error {
	return fault.New(fault.Invalid, op, format, args...)
}
