package onion

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// Header is what a hop reads in its layer of a create packet.
type Header struct {
	Class    Class
	Hop      int // 1 to Hops
	Early    int // early cells that follow; 0 in this version
	Next     ident.NodeID
	Share    [shareSize]byte // the client's X25519 share for this hop
	Bucket   uint32
	Lifetime uint32 // seconds
}

func (h *Header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, Version, Suite, byte(h.Class), byte(h.Hop), byte(h.Early))
	b = append(b, h.Next[:]...)
	b = append(b, h.Share[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Bucket)
	b = binary.BigEndian.AppendUint32(b, h.Lifetime)
	return b[:headerSize]
}

func decodeHeader(p []byte) (h Header, err error) {
	bad := func(format string, args ...any) (Header, error) {
		return Header{}, invalid("decode create header", format, args...)
	}
	s := cryptobyte.String(p)
	var version, suite, class, hop, early uint8
	if !s.ReadUint8(&version) || !s.ReadUint8(&suite) || !s.ReadUint8(&class) || !s.ReadUint8(&hop) ||
		!s.ReadUint8(&early) ||
		!s.CopyBytes(h.Next[:]) || !s.CopyBytes(h.Share[:]) || !s.ReadUint32(&h.Bucket) ||
		!s.ReadUint32(&h.Lifetime) {
		return bad("has %d bytes, want %d", len(p), headerSize)
	}
	h.Class, h.Hop, h.Early = Class(class), int(hop), int(early)
	switch {
	case version != Version:
		return bad("version %d, want %d", version, Version)
	case suite != Suite:
		return bad("suite %d, want %d", suite, Suite)
	case h.Class != MSG && h.Class != Bulk:
		return bad("class %d is unknown", class)
	case h.Hop < 1 || h.Hop > Hops:
		return bad("hop %d, want 1 to %d", hop, Hops)
	case h.Early > MaxEarly:
		return bad("%d early cells, want at most %d", early, MaxEarly)
	case h.Next.IsZero() != (h.Hop == Hops):
		return bad("hop %d and its next node disagree", hop)
	case h.Lifetime == 0 || h.Lifetime > uint32(MaxLifetime.Seconds()):
		return bad("lifetime %d s, want 1 to %d", h.Lifetime, uint32(MaxLifetime.Seconds()))
	case !allZero(s):
		return bad("reserved bytes are not zero")
	}
	return h, nil
}

// HopKey is one hop as the client addresses it.
type HopKey struct {
	Node   ident.NodeID
	Period uint32
	Key    *PublicKey
}

// Params say what circuit to build.
type Params struct {
	Class    Class
	Bucket   uint32
	Lifetime uint32 // seconds
	Hops     [Hops]HopKey
}

// Pending is a circuit that the client has asked for.
type Pending struct {
	private.Redacted
	Tag  [TagSize]byte // the circuit tag that requests are signed over
	hops [Hops]pendingHop
}

type pendingHop struct {
	private.Redacted
	export []byte
	share  *ecdh.PrivateKey
}

// Build returns the create packet of a circuit, padded for the first link, and what Finish needs.
//
// rng gives the shares and the padding; the encapsulations draw from the system's source, as crypto/hpke
// takes no other. Errors: Internal (rng failed, or a key of p is none).
func Build(rng io.Reader, p Params) (*Pending, []byte, error) {
	const op = "build circuit"
	pend := new(Pending)
	var inner []byte
	for j := Hops; j >= 1; j-- {
		share, err := newShare(rng)
		if err != nil {
			return nil, nil, fault.Wrap(fault.Internal, op, err)
		}
		h := Header{Class: p.Class, Hop: j, Bucket: p.Bucket, Lifetime: p.Lifetime}
		copy(h.Share[:], share.PublicKey().Bytes())
		if j < Hops {
			h.Next = p.Hops[j].Node
		}
		hop := p.Hops[j-1]
		enc, sender, err := hpke.NewSender(hop.Key.key, hpke.HKDFSHA256(), hpke.AES256GCM(),
			hpkeInfo(hop.Node, hop.Period))
		if err != nil {
			return nil, nil, fault.Wrap(fault.Internal, op, err)
		}
		var sol [solSize]byte
		sealed, err := sender.Seal(sol[:], append(h.encode(), inner...))
		if err != nil {
			return nil, nil, fault.Wrap(fault.Internal, op, err)
		}
		if pend.hops[j-1].export, err = sender.Export(labelExport, 32); err != nil {
			return nil, nil, fault.Wrap(fault.Internal, op, err)
		}
		pend.hops[j-1].share = share
		layer := make([]byte, 0, CreateSize)
		layer = append(append(append(layer, sol[:]...), enc...), sealed...)
		if j == Hops {
			pend.Tag = circuitTag(layer)
		}
		inner = layer
	}
	packet := make([]byte, CreateSize)
	if err := Pad(rng, packet, inner); err != nil {
		return nil, nil, err
	}
	return pend, packet, nil
}

// Pad fills the frame, of CreateSize bytes, with create and bytes of rng behind it. Errors: Internal (rng
// failed).
func Pad(rng io.Reader, frame, create []byte) error {
	if _, err := io.ReadFull(rng, frame[copy(frame, create):]); err != nil {
		return fault.Wrap(fault.Internal, "pad create packet", err)
	}
	return nil
}

// newShare makes an X25519 key from 32 bytes of rng. GenerateKey of crypto/ecdh looks at no reader that it is
// given.
func newShare(rng io.Reader) (*ecdh.PrivateKey, error) {
	seed := make([]byte, shareSize)
	defer clear(seed)
	if _, err := io.ReadFull(rng, seed); err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPrivateKey(seed)
}

func circuitTag(create4 []byte) (tag [TagSize]byte) {
	d := sha256.New()
	d.Write([]byte(labelTag))
	d.Write(create4)
	d.Sum(tag[:0])
	return tag
}

// ReplayTag names a create packet before it is opened: the hash of its encapsulation. It is zero for a frame
// of the wrong size.
func ReplayTag(frame []byte) (tag [16]byte) {
	if len(frame) != CreateSize {
		return tag
	}
	d := sha256.New()
	d.Write([]byte(labelReplay))
	d.Write(frame[solSize : solSize+encSize])
	copy(tag[:], d.Sum(nil))
	return tag
}

// Create is a create packet that a hop has opened.
type Create struct {
	Header
	Inner []byte        // CREATE of the next hop, without padding; nil at the storage node
	Tag   [TagSize]byte // the circuit tag; only at the storage node

	export []byte
}

// OpenCreate opens a frame with the key of node for a period. An error says nothing about the other keys of
// the node. Errors: Invalid (it does not open, or its header breaks a rule), Internal.
func OpenCreate(key *PrivateKey, node ident.NodeID, period uint32, frame []byte) (*Create, error) {
	const op = "open create packet"
	if len(frame) != CreateSize {
		return nil, invalid(op, "has %d bytes, want %d", len(frame), CreateSize)
	}
	sol, enc := frame[:solSize], frame[solSize:solSize+encSize]
	r, err := hpke.NewRecipient(enc, key.key, hpke.HKDFSHA256(), hpke.AES256GCM(), hpkeInfo(node, period))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	for j := Hops; j >= 1; j-- {
		plain, err := r.Open(sol, frame[solSize+encSize:createSize(j)])
		if err != nil {
			continue
		}
		c := new(Create)
		if c.Header, err = decodeHeader(plain[:headerSize]); err != nil {
			return nil, err
		}
		if c.Hop != j {
			return nil, invalid(op, "is of the length for hop %d, says hop %d", j, c.Hop)
		}
		if j == Hops {
			c.Tag = circuitTag(frame[:createSize(j)])
		} else {
			c.Inner = plain[headerSize:]
		}
		if c.export, err = r.Export(labelExport, 32); err != nil {
			return nil, fault.Wrap(fault.Internal, op, err)
		}
		return c, nil
	}
	return nil, invalid(op, "does not open")
}

// Accept makes the hop's own share, from rng, and its keys for the circuit. It can be called once. Errors:
// Internal (rng failed), Invalid (the client's share gives no key).
func (c *Create) Accept(rng io.Reader) (*Hop, error) {
	const op = "accept circuit"
	own, err := newShare(rng)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, op, err)
	}
	h := &Hop{hop: c.Hop, share: own.PublicKey().Bytes()}
	if h.fwd, h.bwd, err = deriveKeys(c.Hop, c.export, own, c.Share[:], c.Share[:], h.share); err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	clear(c.export)
	return h, nil
}
