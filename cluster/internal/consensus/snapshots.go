package consensus

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
	"golang.org/x/crypto/cryptobyte"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/safefile"
)

// A snapshot is one file: header, state as the FSM wrote it, SHA-256 of both. It is written under a temporary
// name, synced, and renamed; a file with its final name is complete unless the disk damaged it, which Open
// detects. Layout: docs/formats.md, section 8.
const (
	snapshotMagic     = "starling/v1/snapshot\x00"
	snapshotVersion   = 1
	snapshotSuffix    = ".snap"
	temporarySuffix   = ".tmp"
	maxSnapshotHeader = 64 << 10
	keepSnapshots     = 2
)

// snapshotStore keeps the snapshots of one group in one directory. It implements raft.SnapshotStore.
type snapshotStore struct {
	dir   string
	added func(index, term uint64) // called when a snapshot is complete, if not nil
}

func openSnapshots(dir string) (*snapshotStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"+temporarySuffix))
	if err != nil {
		return nil, err
	}
	for _, f := range left {
		if err := os.Remove(f); err != nil {
			return nil, err
		}
	}
	return &snapshotStore{dir: dir}, nil
}

// Create opens a sink for a new snapshot.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration,
	confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	header, err := encodeSnapshotHeader(&raft.SnapshotMeta{
		Version: version, Index: index, Term: term, Configuration: conf, ConfigurationIndex: confIndex,
	})
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%020d-%020d", index, term)
	f, err := os.CreateTemp(s.dir, id+"-*"+temporarySuffix)
	if err != nil {
		return nil, err
	}
	k := &sink{store: s, id: id, index: index, term: term, file: f, sum: sha256.New()}
	if _, err := k.Write(header); err != nil {
		_ = k.Cancel()
		return nil, err
	}
	return k, nil
}

// List returns what is known of the snapshots, the newest first. Files that are no snapshots are left out.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var metas []*raft.SnapshotMeta
	for _, e := range slices.Backward(entries) { // names sort by index and term
		id, ok := strings.CutSuffix(e.Name(), snapshotSuffix)
		if !ok {
			continue
		}
		if meta, f, err := s.open(id); err == nil {
			_ = f.Close()
			metas = append(metas, meta)
		}
	}
	return metas, nil
}

// Open returns a snapshot's state for reading, after it has checked all of it.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	op := fmt.Sprintf("open snapshot %q", id)
	meta, f, err := s.open(id)
	if err != nil {
		return nil, nil, err
	}
	bodyAt, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		err = verifySnapshot(f, bodyAt+meta.Size)
	}
	if err == nil {
		_, err = f.Seek(bodyAt, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, fault.Wrap(fault.Corrupt, op, err)
	}
	return meta, limited{io.LimitReader(f, meta.Size), f}, nil
}

type limited struct {
	io.Reader
	io.Closer
}

// open reads a snapshot's header and leaves the file at the first byte of the state.
func (s *snapshotStore) open(id string) (*raft.SnapshotMeta, *os.File, error) {
	op := fmt.Sprintf("open snapshot %q", id)
	if filepath.Base(id) != id {
		return nil, nil, fault.New(fault.Invalid, op, "is no name of a snapshot")
	}
	f, err := os.Open(filepath.Join(s.dir, id+snapshotSuffix))
	if err != nil {
		return nil, nil, fault.Wrap(fault.NotFound, op, err)
	}
	meta, err := readSnapshotHeader(f)
	if err != nil {
		_ = f.Close()
		return nil, nil, fault.Wrap(fault.Corrupt, op, err)
	}
	meta.ID = id
	return meta, f, nil
}

// applied returns the FSM's applied index of the newest snapshot; ok is false if there is no snapshot.
func (s *snapshotStore) applied() (index uint64, meta *raft.SnapshotMeta, err error) {
	metas, err := s.List()
	if err != nil || len(metas) == 0 {
		return 0, nil, err
	}
	_, f, err := s.open(metas[0].ID)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	var prefix [snapshotPrefix]byte
	if _, err := io.ReadFull(f, prefix[:]); err != nil {
		return 0, nil, fault.Wrap(fault.Corrupt, "read snapshot", err)
	}
	return binary.BigEndian.Uint64(prefix[:8]), metas[0], nil
}

// reap deletes all but the newest snapshots.
func (s *snapshotStore) reap() error {
	metas, err := s.List()
	if err != nil || len(metas) <= keepSnapshots {
		return err
	}
	for _, m := range metas[keepSnapshots:] {
		if err := os.Remove(filepath.Join(s.dir, m.ID+snapshotSuffix)); err != nil {
			return err
		}
	}
	return nil
}

// sink writes one snapshot.
type sink struct {
	store       *snapshotStore
	id          string
	index, term uint64
	file        *os.File
	sum         hash.Hash
	done        bool
}

func (k *sink) ID() string { return k.id }

func (k *sink) Write(p []byte) (int, error) {
	n, err := k.file.Write(p)
	k.sum.Write(p[:n])
	return n, err
}

// Close makes the snapshot durable and gives it its name. After Cancel, or a second time, it does nothing.
func (k *sink) Close() error {
	if k.done {
		return nil
	}
	_, err := k.file.Write(k.sum.Sum(nil))
	if err == nil {
		err = k.file.Sync()
	}
	if err != nil {
		_ = k.Cancel()
		return err
	}
	k.done = true
	if err := k.file.Close(); err != nil {
		return err
	}
	if err := safefile.Rename(k.file.Name(), filepath.Join(k.store.dir, k.id+snapshotSuffix)); err != nil {
		return err
	}
	if k.store.added != nil {
		k.store.added(k.index, k.term)
	}
	return k.store.reap()
}

// Cancel drops the snapshot.
func (k *sink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	err := k.file.Close()
	if rm := os.Remove(k.file.Name()); err == nil {
		err = rm
	}
	return err
}

// verifySnapshot checks the digest over the first n bytes of f.
func verifySnapshot(f *os.File, n int64) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, f, n); err != nil {
		return err
	}
	digest, err := io.ReadAll(io.LimitReader(f, sha256.Size+1))
	if err != nil {
		return err
	}
	if !bytes.Equal(digest, sum.Sum(nil)) {
		return fault.New(fault.Corrupt, "", "digest does not match")
	}
	return nil
}

// encodeSnapshotHeader: magic | version u8 | bytes[u24] of { raft version u8 | index u64 | term u64 |
// configuration index u64 | count u16 | count times (suffrage u8 | bytes[u8] server ID) }.
func encodeSnapshotHeader(m *raft.SnapshotMeta) ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddBytes([]byte(snapshotMagic))
	b.AddUint8(snapshotVersion)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(uint8(m.Version))
		b.AddUint64(m.Index)
		b.AddUint64(m.Term)
		b.AddUint64(m.ConfigurationIndex)
		b.AddUint16(uint16(len(m.Configuration.Servers)))
		for _, s := range m.Configuration.Servers {
			b.AddUint8(uint8(s.Suffrage))
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s.ID)) })
		}
	})
	return b.Bytes()
}

// readSnapshotHeader reads a header and fills in the size of the state that follows it.
func readSnapshotHeader(f *os.File) (*raft.SnapshotMeta, error) {
	var fixed [len(snapshotMagic) + 4]byte
	if _, err := io.ReadFull(f, fixed[:]); err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(fixed[:], []byte(snapshotMagic))
	if !ok {
		return nil, fault.New(fault.Corrupt, "", "does not begin as a snapshot")
	}
	if rest[0] != snapshotVersion {
		return nil, fault.New(fault.Corrupt, "", "version %d, want %d", rest[0], snapshotVersion)
	}
	n := int(rest[1])<<16 | int(rest[2])<<8 | int(rest[3])
	if n > maxSnapshotHeader {
		return nil, fault.New(fault.Corrupt, "", "header of %d bytes, limit is %d", n, maxSnapshotHeader)
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(f, header); err != nil {
		return nil, err
	}
	meta, err := decodeSnapshotHeader(header)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	meta.Size = info.Size() - int64(len(fixed)+n+sha256.Size)
	if meta.Size < 0 {
		return nil, fault.New(fault.Corrupt, "", "ends before its digest")
	}
	return meta, nil
}

func decodeSnapshotHeader(header []byte) (*raft.SnapshotMeta, error) {
	corrupt := func(what string) error {
		return fault.New(fault.Corrupt, "decode snapshot header", "%s",
			what)
	}
	s := cryptobyte.String(header)
	var m raft.SnapshotMeta
	var version uint8
	var count uint16
	if !s.ReadUint8(&version) || !s.ReadUint64(&m.Index) || !s.ReadUint64(&m.Term) ||
		!s.ReadUint64(&m.ConfigurationIndex) || !s.ReadUint16(&count) {
		return nil, corrupt("ends within its fixed fields")
	}
	if version > raft.SnapshotVersionMax {
		return nil, corrupt(fmt.Sprintf("raft version %d, want at most %d", version, raft.SnapshotVersionMax))
	}
	m.Version = raft.SnapshotVersion(version)
	for range count {
		var suffrage uint8
		var text cryptobyte.String
		if !s.ReadUint8(&suffrage) || !s.ReadUint8LengthPrefixed(&text) {
			return nil, corrupt("ends within a server")
		}
		if suffrage > uint8(raft.Nonvoter) {
			return nil, corrupt(fmt.Sprintf("suffrage %d", suffrage))
		}
		id, err := ParseServerID(string(text))
		if err != nil {
			return nil, fault.Wrap(fault.Corrupt, "decode snapshot header", err)
		}
		m.Configuration.Servers = append(m.Configuration.Servers, raft.Server{
			Suffrage: raft.ServerSuffrage(suffrage),
			ID:       raft.ServerID(id.String()), Address: raft.ServerAddress(id.String()),
		})
	}
	if !s.Empty() {
		return nil, corrupt("has bytes after its end")
	}
	return &m, nil
}
