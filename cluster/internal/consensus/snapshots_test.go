package consensus

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/starling-swarm/starling/internal/fault"
)

func testConfiguration() raft.Configuration {
	var conf raft.Configuration
	for i := range 3 {
		id := ServerID{Node: nodeID(i), Incarnation: uint32(i)}.String()
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(id),
			Address: raft.ServerAddress(id)})
	}
	conf.Servers[2].Suffrage = raft.Nonvoter
	return conf
}

func writeSnapshot(t *testing.T, s *snapshotStore, index uint64, state string) string {
	t.Helper()
	sink, err := s.Create(1, index, 3, testConfiguration(), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(sink, state); err != nil {
		t.Fatal(err)
	}
	for range 2 { // raft closes after Persist may have closed
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return sink.ID()
}

func openTestSnapshots(t *testing.T) *snapshotStore {
	t.Helper()
	s, err := openSnapshots(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSnapshotRoundTrip(t *testing.T) {
	s := openTestSnapshots(t)
	id := writeSnapshot(t, s, 10, "state of ten")
	meta, r, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	state, err := io.ReadAll(r)
	if err != nil || string(state) != "state of ten" {
		t.Errorf("got state %q, %v", state, err)
	}
	want := testConfiguration()
	if meta.Index != 10 || meta.Term != 3 || meta.ConfigurationIndex != 2 || meta.Size != int64(len(state)) ||
		meta.Version != 1 {
		t.Errorf("got meta %+v", meta)
	}
	if len(meta.Configuration.Servers) != 3 || meta.Configuration.Servers[2] != want.Servers[2] {
		t.Errorf("got servers %v, want %v", meta.Configuration.Servers, want.Servers)
	}
}

func TestOldSnapshotsAreReaped(t *testing.T) {
	s := openTestSnapshots(t)
	for _, index := range []uint64{5, 20, 10, 100} {
		writeSnapshot(t, s, index, "x")
	}
	metas, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for _, m := range metas {
		got = append(got, m.Index)
	}
	if len(got) != keepSnapshots || got[0] != 100 || got[1] != 20 {
		t.Errorf("got snapshots at %v, want at 100 and 20", got)
	}
}

func TestUnfinishedSnapshotsLeaveNothing(t *testing.T) {
	s := openTestSnapshots(t)
	writeSnapshot(t, s, 1, "kept")
	canceled, err := s.Create(1, 2, 3, testConfiguration(), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := canceled.Cancel(); err != nil {
		t.Fatal(err)
	}
	crashed, err := s.Create(1, 3, 3, testConfiguration(), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(crashed, "torn"); err != nil {
		t.Fatal(err)
	}
	_ = crashed.(*sink).file.Close()

	s, err = openSnapshots(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || !strings.HasSuffix(files[0].Name(), snapshotSuffix) {
		t.Errorf("got files %v, want one snapshot", files)
	}
}

func TestDamagedSnapshotIsCorrupt(t *testing.T) {
	s := openTestSnapshots(t)
	id := writeSnapshot(t, s, 1, "the state")
	path := filepath.Join(s.dir, id+snapshotSuffix)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, at int, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, r, err := s.Open(id); !errors.Is(err, fault.Corrupt) {
			t.Errorf("%s %d: got %v, want %v", what, at, err, fault.Corrupt)
			if err == nil {
				r.Close()
			}
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		check("flipped byte", i, bad)
		check("cut at", i, good[:i])
	}
	check("trailing byte", len(good), append(bytes.Clone(good), 0))
	if _, _, err := s.Open("../" + id); !errors.Is(err, fault.Invalid) {
		t.Errorf("name with a path: got %v, want %v", err, fault.Invalid)
	}
}

func FuzzDecodeSnapshotHeader(f *testing.F) {
	good, err := encodeSnapshotHeader(&raft.SnapshotMeta{Version: 1, Index: 7, Term: 3,
		Configuration: testConfiguration(), ConfigurationIndex: 2})
	if err != nil {
		f.Fatal(err)
	}
	fixed := len(snapshotMagic) + 4
	f.Add(good[fixed:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		meta, err := decodeSnapshotHeader(data)
		if err != nil {
			return
		}
		again, err := encodeSnapshotHeader(meta)
		if err != nil || !bytes.Equal(again[fixed:], data) {
			t.Errorf("got %x, %v after a round trip, want %x", again, err, data)
		}
	})
}

func TestDamagedNewestSnapshotFallsBackToTheOlder(t *testing.T) {
	c := startCluster(t, 1, never)
	m := c.members[0]
	for _, command := range []string{"one", "two"} {
		c.propose(command)
		if err := m.group.TakeSnapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	metas, err := m.group.snaps.List()
	if err != nil || len(metas) != 2 {
		t.Fatalf("got %d snapshots, %v, want 2", len(metas), err)
	}
	path := filepath.Join(m.group.snaps.dir, metas[0].ID+snapshotSuffix)
	m.crash()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	m.fsm.state = listState{}
	m.config = nil
	m.start()
	c.propose("three")
	if got := m.fsm.commands(); strings.Join(got, " ") != "one two three" {
		t.Errorf("got %q, want one two three", got)
	}
}
