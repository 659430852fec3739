package dirstate

import (
	"crypto/ed25519"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// commandVersion opens every command and every descriptor. A reader rejects any other.
const commandVersion = 1

const labelDescriptor = "starling/v1/node-descriptor\x00"

// MaxCommand is the size in bytes of the largest command: a Register with all its onion keys and addresses.
const MaxCommand = 32 << 10

// maxTime bounds the times in commands so that sums never overflow.
const maxTime = 1 << 47

type commandKind uint8

const (
	kindFound    commandKind = 1
	kindRegister commandKind = 2
	kindSign     commandKind = 3
	kindReissue  commandKind = 4
	kindParams   commandKind = 5
)

// Command is one of Found, Register, Sign, Reissue and SetParams.
type Command interface {
	kind() commandKind
	body(b *cryptobyte.Builder)
}

// Found is the first command of a cluster, proposed by the first leader: how many nodes found it, and what is
// made when they have registered. A second one changes nothing.
type Found struct {
	Now         int64  // Unix milliseconds, the leader's
	Expect      uint16 // nodes that found the cluster
	Swarms      uint16 // swarms to make then
	Replication uint8  // replicas of each
	Params      directory.Params
}

// Register puts a node into the directory, or changes its entry.
type Register struct {
	Now int64
	// HMAC that shows knowledge of the cluster secret; needed for a node that is not listed yet
	Proof      [32]byte
	Descriptor []byte   // an encoded Descriptor
	Signature  [64]byte // by the node's key, over label and Descriptor
}

// Sign carries one member's signature over the directory of a version.
type Sign struct {
	Version uint64
	Digest  [32]byte
	Signer  uint8 // index in the cluster file
	Sig     [64]byte
}

// Reissue makes a new version without another change, so that its validity begins anew.
type Reissue struct{ Now int64 }

// SetParams changes the cluster's parameters.
type SetParams struct {
	Now    int64
	Params directory.Params
}

func (*Found) kind() commandKind     { return kindFound }
func (*Register) kind() commandKind  { return kindRegister }
func (*Sign) kind() commandKind      { return kindSign }
func (*Reissue) kind() commandKind   { return kindReissue }
func (*SetParams) kind() commandKind { return kindParams }

func (c *Found) body(b *cryptobyte.Builder) {
	b.AddUint64(uint64(c.Now))
	b.AddUint16(c.Expect)
	b.AddUint16(c.Swarms)
	b.AddUint8(c.Replication)
	c.Params.Append(b)
}

func (c *Register) body(b *cryptobyte.Builder) {
	b.AddUint64(uint64(c.Now))
	b.AddBytes(c.Proof[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Descriptor) })
	b.AddBytes(c.Signature[:])
}

func (c *Sign) body(b *cryptobyte.Builder) {
	b.AddUint64(c.Version)
	b.AddBytes(c.Digest[:])
	b.AddUint8(c.Signer)
	b.AddBytes(c.Sig[:])
}

func (c *Reissue) body(b *cryptobyte.Builder) { b.AddUint64(uint64(c.Now)) }

func (c *SetParams) body(b *cryptobyte.Builder) {
	b.AddUint64(uint64(c.Now))
	c.Params.Append(b)
}

// Encode returns version u8 | kind u8 | body.
func Encode(c Command) []byte {
	var b cryptobyte.Builder
	b.AddUint8(commandVersion)
	b.AddUint8(uint8(c.kind()))
	c.body(&b)
	return b.BytesOrPanic()
}

// Decode reads what Encode wrote. Byte fields alias p.
func Decode(p []byte) (Command, error) {
	bad := func(format string, args ...any) (Command, error) {
		return nil, fault.New(fault.Invalid, "decode directory command", format, args...)
	}
	if len(p) > MaxCommand {
		return bad("has %d bytes, want at most %d", len(p), MaxCommand)
	}
	s := cryptobyte.String(p)
	var version, kind uint8
	if !s.ReadUint8(&version) || version != commandVersion || !s.ReadUint8(&kind) {
		return bad("has an unknown version")
	}
	var c Command
	ok := false
	switch commandKind(kind) {
	case kindFound:
		f := new(Found)
		ok = readTime(&s, &f.Now) && s.ReadUint16(&f.Expect) && s.ReadUint16(&f.Swarms) &&
			s.ReadUint8(&f.Replication) && f.Params.Read(&s)
		c = f
	case kindRegister:
		r := new(Register)
		var d cryptobyte.String
		ok = readTime(&s, &r.Now) && s.CopyBytes(r.Proof[:]) && s.ReadUint24LengthPrefixed(&d) &&
			s.CopyBytes(r.Signature[:])
		r.Descriptor = d
		c = r
	case kindSign:
		g := new(Sign)
		ok = s.ReadUint64(&g.Version) && s.CopyBytes(g.Digest[:]) && s.ReadUint8(&g.Signer) &&
			s.CopyBytes(g.Sig[:])
		c = g
	case kindReissue:
		r := new(Reissue)
		ok = readTime(&s, &r.Now)
		c = r
	case kindParams:
		r := new(SetParams)
		ok = readTime(&s, &r.Now) && r.Params.Read(&s)
		c = r
	default:
		return bad("kind %d is unknown", kind)
	}
	if !ok || !s.Empty() {
		return bad("kind %d is malformed", kind)
	}
	return c, nil
}

func readTime(s *cryptobyte.String, t *int64) bool {
	var v uint64
	if !s.ReadUint64(&v) || v > maxTime {
		return false
	}
	*t = int64(v)
	return true
}

// Descriptor is what a node says of itself: its directory entry, for one cluster. Of two descriptors the one
// with the higher serial holds.
type Descriptor struct {
	Cluster ident.ClusterID
	Serial  uint64
	Node    directory.Node // State is Alive: the directory decides about it, not the node
}

// Encode returns version u8 | cluster 32 | serial u64 | node.
func (d *Descriptor) Encode() []byte {
	var b cryptobyte.Builder
	b.AddUint8(commandVersion)
	b.AddBytes(d.Cluster[:])
	b.AddUint64(d.Serial)
	d.Node.Append(&b)
	return b.BytesOrPanic()
}

// DecodeDescriptor reads what Encode wrote.
func DecodeDescriptor(p []byte) (*Descriptor, error) {
	s := cryptobyte.String(p)
	var version uint8
	d := new(Descriptor)
	if !s.ReadUint8(&version) || version != commandVersion || !s.CopyBytes(d.Cluster[:]) ||
		!s.ReadUint64(&d.Serial) ||
		!d.Node.Read(&s) || !s.Empty() || d.Node.State != directory.Alive {
		return nil, fault.New(fault.Invalid, "decode node descriptor", "is malformed")
	}
	return d, nil
}

// NewRegister returns the signed command for a descriptor.
func NewRegister(key private.SigningKey, proof [32]byte, d *Descriptor) *Register {
	r := &Register{Proof: proof, Descriptor: d.Encode()}
	r.Signature = key.Sign(append([]byte(labelDescriptor), r.Descriptor...))
	return r
}

// Open returns the descriptor inside r if the node that it names signed it.
func (r *Register) Open() (*Descriptor, error) {
	d, err := DecodeDescriptor(r.Descriptor)
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(d.Node.Key[:], append([]byte(labelDescriptor), r.Descriptor...), r.Signature[:]) {
		return nil, fault.New(fault.Unauthenticated, "register node "+d.Node.ID.Short(),
			"descriptor is not signed by the node")
	}
	return d, nil
}
