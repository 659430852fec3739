package directory

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// Limits of a cluster file.
const (
	FileVersion       = 1
	MaxSigners        = 7
	MaxName           = 64
	MaxBootstrap      = 64
	MaxClientAddrs    = 8
	MaxAddr           = 255
	MaxFileSize       = 64 << 10
	linkBootstrap     = 3 // entries that fit a link which people can still scan as a QR code
	linkPrefix        = "starling:cluster/"
	labelClusterID    = "starling/v1/cluster-id\x00"
	linkFormatVersion = 1
)

// ClusterFile is what a client is given of a cluster and pins for ever: who may sign its directory, and where
// to start. ID = SHA-256(label | name | admin key | signers | t | salt).
type ClusterFile struct {
	V        int             `json:"v"`
	Name     string          `json:"name"`
	ID       ident.ClusterID `json:"id"`
	AdminKey HexKey          `json:"admin_key"`
	// raw Ed25519 keys of the directory nodes, in signer-index order
	Signers   []HexKey    `json:"signers"`
	T         int         `json:"t"`
	Salt      HexKey      `json:"salt"`
	Bootstrap []Bootstrap `json:"bootstrap"`
	Digest    *HexKey     `json:"directory_digest,omitempty"`
}

// Bootstrap is a node to ask first.
type Bootstrap struct {
	NodeID      ident.NodeID `json:"node_id"`
	ClientAddrs []string     `json:"client_addrs"`
}

// HexKey is 32 bytes with hexadecimal text.
type HexKey [32]byte

// MarshalText returns 64 lower-case hex digits.
func (k HexKey) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(k[:])), nil }

// UnmarshalText reads 64 hex digits.
func (k *HexKey) UnmarshalText(b []byte) error {
	if len(b) != 64 {
		return fault.New(fault.Invalid, "parse key", "has %d characters, want 64", len(b))
	}
	if _, err := hex.Decode(k[:], b); err != nil {
		return fault.New(fault.Invalid, "parse key", "%q is not hexadecimal", b)
	}
	return nil
}

// Threshold returns how many of n signers must sign a directory: the least t > (n+f)/2 with f = (n-1)/3
// liars, so that two different documents of one version cannot both reach it. Up to three signers this guards
// against crashes and a lying follower, not against a lying leader.
func Threshold(n int) int {
	f := (n - 1) / 3
	return (n+f)/2 + 1
}

// NewClusterFile returns a cluster file with its ID. A t of 0 means Threshold(len(signers)). salt must be
// random: it makes the ID of a cluster unlike that of any other with the same name and keys.
func NewClusterFile(name string, adminKey [32]byte, signers [][32]byte, t int, salt [32]byte,
	bootstrap []Bootstrap) (*ClusterFile, error) {
	f := &ClusterFile{V: FileVersion, Name: name, AdminKey: adminKey, T: t, Salt: salt, Bootstrap: bootstrap}
	for _, s := range signers {
		f.Signers = append(f.Signers, s)
	}
	if t == 0 {
		f.T = Threshold(len(signers))
	}
	f.ID = f.computeID()
	return f, f.Check()
}

func (f *ClusterFile) computeID() ident.ClusterID {
	var b cryptobyte.Builder
	b.AddBytes([]byte(labelClusterID))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddBytes([]byte(f.Name)[:min(len(f.Name),
			255)])
	})
	b.AddBytes(f.AdminKey[:])
	b.AddUint8(uint8(len(f.Signers)))
	for i := range f.Signers {
		b.AddBytes(f.Signers[i][:])
	}
	b.AddUint8(uint8(f.T))
	b.AddBytes(f.Salt[:])
	return sha256.Sum256(b.BytesOrPanic())
}

// Check reports whether f is complete, within its limits, and named by its ID.
func (f *ClusterFile) Check() error {
	op := "check cluster file"
	switch n := len(f.Signers); {
	case f.V != FileVersion:
		return fault.New(fault.Invalid, op, "version %d, want %d", f.V, FileVersion)
	case f.Name == "" || len(f.Name) > MaxName:
		return fault.New(fault.Invalid, op, "name of %d bytes, want 1 to %d", len(f.Name), MaxName)
	case n == 0 || n > MaxSigners:
		return fault.New(fault.Invalid, op, "%d signers, want 1 to %d", n, MaxSigners)
	case f.T < (n+2)/2 || f.T > n:
		return fault.New(fault.Invalid, op, "threshold %d of %d signers, want more than half and at most all",
			f.T, n)
	case len(f.Bootstrap) > MaxBootstrap:
		return fault.New(fault.Invalid, op, "%d bootstrap nodes, want at most %d",
			len(f.Bootstrap), MaxBootstrap)
	}
	for i := range f.Signers {
		for j := range i {
			if f.Signers[i] == f.Signers[j] {
				return fault.New(fault.Invalid, op, "signers %d and %d are the same key", j, i)
			}
		}
	}
	for _, b := range f.Bootstrap {
		if len(b.ClientAddrs) == 0 || len(b.ClientAddrs) > MaxClientAddrs {
			return fault.New(fault.Invalid, op, "bootstrap node %s has %d addresses, want 1 to %d",
				b.NodeID.Short(), len(b.ClientAddrs), MaxClientAddrs)
		}
		for _, a := range b.ClientAddrs {
			if a == "" || len(a) > MaxAddr {
				return fault.New(fault.Invalid, op,
					"bootstrap node %s has an address of %d bytes, want 1 to %d", b.NodeID.Short(),
					len(a), MaxAddr)
			}
		}
	}
	if id := f.computeID(); id != f.ID {
		return fault.New(fault.Corrupt, op, "id %s does not match its contents, which give %s", f.ID, id)
	}
	return nil
}

// ParseClusterFile reads and checks a cluster file. Unknown fields are errors.
func ParseClusterFile(b []byte) (*ClusterFile, error) {
	op := "read cluster file"
	if len(b) > MaxFileSize {
		return nil, fault.New(fault.Invalid, op, "has %d bytes, want at most %d", len(b), MaxFileSize)
	}
	var version struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	if version.V != FileVersion {
		return nil, fault.New(fault.Invalid, op, "version %d, want %d", version.V, FileVersion)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	f := new(ClusterFile)
	if err := d.Decode(f); err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	if d.More() {
		return nil, fault.New(fault.Invalid, op, "has data after its end")
	}
	return f, f.Check()
}

// Encode returns f as indented JSON.
func (f *ClusterFile) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "encode cluster file", err)
	}
	return append(b, '\n'), nil
}

// Signer returns the index of the node among the signers, and whether it is one.
func (f *ClusterFile) Signer(id ident.NodeID) (int, bool) {
	for i := range f.Signers {
		if ident.NodeIDOf(f.Signers[i][:]) == id {
			return i, true
		}
	}
	return 0, false
}

// Link is the short form of a cluster file: enough to fetch the rest from a bootstrap node and to check it.
type Link struct {
	ID        ident.ClusterID
	AdminKey  HexKey
	Bootstrap []Bootstrap
}

// Link returns the link to f with its first three bootstrap nodes.
func (f *ClusterFile) Link() Link {
	return Link{ID: f.ID, AdminKey: f.AdminKey, Bootstrap: f.Bootstrap[:min(len(f.Bootstrap), linkBootstrap)]}
}

// String returns "starling:cluster/" and base64url of version u8 | id 32 | admin key 32 | count u8 | for each
// node: id 32 | addresses u8 | for each: bytes[u8].
func (l Link) String() string {
	var b cryptobyte.Builder
	b.AddUint8(linkFormatVersion)
	b.AddBytes(l.ID[:])
	b.AddBytes(l.AdminKey[:])
	b.AddUint8(uint8(len(l.Bootstrap)))
	for _, n := range l.Bootstrap {
		b.AddBytes(n.NodeID[:])
		b.AddUint8(uint8(len(n.ClientAddrs)))
		for _, a := range n.ClientAddrs {
			addString8(&b, a)
		}
	}
	sum := sha256.Sum256(b.BytesOrPanic())
	b.AddBytes(sum[:4]) // against a link that lost its end in a chat window
	return linkPrefix + base64.RawURLEncoding.EncodeToString(b.BytesOrPanic())
}

// IsLink reports whether s claims to be a link rather than a file name.
func IsLink(s string) bool { return strings.HasPrefix(s, linkPrefix) }

// ParseLink reads what String wrote.
func ParseLink(s string) (l Link, err error) {
	bad := func(why string) (Link, error) {
		return Link{}, fault.New(fault.Invalid, "parse cluster link", "%s", why)
	}
	text, ok := strings.CutPrefix(s, linkPrefix)
	if !ok || len(s) > 8192 {
		return bad("does not begin with " + linkPrefix + ", or is too long")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 5 || strings.ContainsAny(text, "\r\n") { // which the decoder would skip
		return bad("is not base64url, or is cut off")
	}
	body := raw[:len(raw)-4]
	if sum := sha256.Sum256(body); binary.BigEndian.Uint32(sum[:]) != binary.BigEndian.Uint32(
		raw[len(body):]) {
		return bad("is cut off or mistyped: its checksum does not match")
	}
	p := cryptobyte.String(body)
	var version, n uint8
	if !p.ReadUint8(&version) || version != linkFormatVersion {
		return bad("has an unknown version")
	}
	if !p.CopyBytes(l.ID[:]) || !p.CopyBytes(l.AdminKey[:]) || !p.ReadUint8(&n) || n == 0 ||
		n > linkBootstrap {
		return bad("is malformed")
	}
	for range n {
		var node Bootstrap
		if !p.CopyBytes(node.NodeID[:]) || !readStrings(&p, &node.ClientAddrs, MaxClientAddrs, MaxAddr) ||
			len(node.ClientAddrs) == 0 {
			return bad("is malformed")
		}
		l.Bootstrap = append(l.Bootstrap, node)
	}
	if !p.Empty() {
		return bad("has bytes after its end")
	}
	return l, nil
}

// Accept checks that f is the cluster file that the link names.
func (l Link) Accept(f *ClusterFile) error {
	if err := f.Check(); err != nil {
		return err
	}
	if f.ID != l.ID || f.AdminKey != l.AdminKey {
		return fault.New(fault.Denied, "follow cluster link", "node returned the file of cluster %s, want %s",
			f.ID, l.ID)
	}
	return nil
}
