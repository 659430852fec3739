package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
	"github.com/starling-swarm/starling/internal/safefile"
)

// DataVersion is the version of the layout of a node's data directory. A node refuses a newer one.
const DataVersion = 1

// ErrNewerData is in the chain of the error for a data directory that a newer swarmd has written.
var ErrNewerData = errors.New("data directory is of a newer version")

// ReadIdentity reads a node's private key: PKCS #8 in PEM, as openssl and age tools know it. Errors:
// NotFound, Invalid.
func ReadIdentity(path string) (key private.SigningKey, err error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return key, fault.Wrap(kindOfFile(err), "read identity", err)
	}
	block, _ := pem.Decode(body)
	if block == nil || block.Type != "PRIVATE KEY" {
		return key, fault.New(fault.Invalid, "read identity "+path, "has no PEM block PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return key, fault.New(fault.Invalid, "read identity "+path, "is no PKCS #8 key")
	}
	ed, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return key, fault.New(fault.Invalid, "read identity "+path, "is %T, want an Ed25519 key", parsed)
	}
	return private.SigningKeyOf(ed)
}

// NewIdentity makes a private key and writes it to path, which must not exist. Errors: Exists, Internal, or
// the disk's.
func NewIdentity(path string) (key private.SigningKey, err error) {
	seed, err := private.Draw(rand.Reader)
	if err != nil {
		return key, err
	}
	key = seed.Signing()
	pub := key.Public()
	der, err := x509.MarshalPKCS8PrivateKey(key.Reveal())
	if err != nil {
		return key, fault.Wrap(fault.Internal, "make identity", err)
	}
	body := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	body = append([]byte("# key of "+ident.NodeIDOf(pub[:]).String()+"\n"), body...)
	return key, writeSecret(path, body)
}

// ReadSecret reads the cluster secret: 64 hexadecimal digits. Errors: NotFound, Invalid.
func ReadSecret(path string) (private.Key, error) {
	var s [private.Size]byte
	body, err := os.ReadFile(path)
	if err != nil {
		return private.Key{}, fault.Wrap(kindOfFile(err), "read cluster secret", err)
	}
	text := strings.TrimSpace(string(body))
	if n, err := hex.Decode(s[:], []byte(text)); len(text) != 64 || err != nil || n != 32 {
		// The text is a secret: neither it nor the decoder's error, which quotes it, may show.
		return private.Key{}, fault.New(fault.Invalid, "read cluster secret "+path,
			"is not 64 hexadecimal digits")
	}
	return private.KeyOf(s), nil
}

// ReadClusterFile reads and checks a cluster file. Errors: NotFound, Invalid, and those of
// directory.ParseClusterFile.
func ReadClusterFile(path string) (*directory.ClusterFile, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(kindOfFile(err), "read cluster file", err)
	}
	cf, err := directory.ParseClusterFile(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cf, nil
}

func kindOfFile(err error) fault.Kind {
	if errors.Is(err, fs.ErrNotExist) {
		return fault.NotFound
	}
	return fault.Invalid
}

// writeSecret writes a new file that only its owner may read. Errors: Exists.
func writeSecret(path string, body []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Exists, "write "+path, "file exists")
	}
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Sync(), f.Close())
}

// dataDir is an open data directory: locked, of a known version, and of one node.
type dataDir struct {
	path string
	info dataInfo
	lock *flock.Flock
}

// dataInfo is node.json of a data directory: whose it is.
type dataInfo struct {
	V           int             `json:"v"`
	Node        ident.NodeID    `json:"node"`
	Cluster     ident.ClusterID `json:"cluster"`
	Incarnation uint32          `json:"incarnation"` // as configured when the directory was claimed
	MadeAt      int64           `json:"made_at"`     // Unix milliseconds
}

// openData locks the data directory and checks that it belongs to this node, cluster and incarnation; an
// empty one is claimed for them. Errors: Exists when another process has it, Denied when it belongs to
// another, or when the node has run before and its data is gone, and ErrNewerData.
func (n *Node) openData() (*dataDir, error) {
	path := n.cfg.DataDir
	op := "open data directory " + path
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	d := &dataDir{path: path, lock: flock.New(filepath.Join(path, "lock"))}
	ok, err := d.lock.TryLock()
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err)
	}
	if !ok {
		return nil, fault.New(fault.Exists, op, "another process has it open")
	}
	want := dataInfo{V: DataVersion, Node: n.id, Cluster: n.file.ID, Incarnation: uint32(n.cfg.Incarnation)}
	if err := d.claim(op, n.cfg.IdentityFile+".ran", want); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// claim reads whose directory d is, or makes it that of want. ran is a file beside the key that remembers
// which incarnations have run.
func (d *dataDir) claim(op, ran string, want dataInfo) error {
	file := filepath.Join(d.path, "node.json")
	body, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := checkRan(op, ran, want.Incarnation); err != nil {
			return err
		}
		d.info = want
		d.info.MadeAt = time.Now().UnixMilli()
		body, err := json.MarshalIndent(d.info, "", "  ")
		if err != nil {
			return fault.Wrap(fault.Internal, op, err)
		}
		// First the mark, then the claim: a crash between them costs an incarnation, the other order could
		// cost votes.
		if err := safefile.Replace(ran, fmt.Appendf(nil, "%d\n", want.Incarnation)); err != nil {
			return fault.Wrap(fault.Invalid, op, err)
		}
		return writeSecret(file, append(body, '\n'))
	}
	if err != nil {
		return fault.Wrap(fault.Invalid, op, err)
	}
	if err := json.Unmarshal(body, &d.info); err != nil {
		return fault.Wrap(fault.Corrupt, op, err)
	}
	switch {
	case d.info.V > DataVersion:
		return &fault.Error{Kind: fault.Invalid, Op: op,
			Detail: fmt.Sprintf("version %d, this swarmd knows %d", d.info.V,
				DataVersion), Cause: ErrNewerData}
	case d.info.V < 1:
		return fault.New(fault.Corrupt, op, "version %d", d.info.V)
	case d.info.Node != want.Node:
		return fault.New(fault.Denied, op, "belongs to node %s, the identity is %s", d.info.Node.Short(),
			want.Node.Short())
	case d.info.Cluster != want.Cluster:
		return fault.New(fault.Denied, op, "belongs to cluster %s, the cluster file is of %s",
			d.info.Cluster, want.Cluster)
	case d.info.Incarnation != want.Incarnation:
		return fault.New(fault.Denied, op, "belongs to incarnation %d, the configuration says %d",
			d.info.Incarnation, want.Incarnation)
	}
	return nil
}

// checkRan refuses to start with nothing under an incarnation that has voted before: such a replica could
// vote twice, or count as a copy of what it has lost.
func checkRan(op, ran string, incarnation uint32) error {
	body, err := os.ReadFile(ran)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Wrap(fault.Invalid, op, err)
	}
	last, err := strconv.ParseUint(strings.TrimSpace(string(body)), 10, 32)
	if err != nil {
		return fault.New(fault.Corrupt, op, "%s holds no number", ran)
	}
	if uint64(incarnation) <= last {
		return fault.New(fault.Denied, op,
			"it is empty, but this node has run before: its data is lost; set incarnation: %d to come back "+
				"as a new replica", last+1)
	}
	return nil
}

func (d *dataDir) close() { _ = d.lock.Unlock() }
