package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/dirstate"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/private"
)

// versions returns signed directories 1 to n of a cluster with 5 signers, each signed by the first t signers.
func versions(t *testing.T, n, signatures int) (*directory.ClusterFile, []*directory.Signed) {
	t.Helper()
	var keys [][32]byte
	for i := range 5 {
		keys = append(keys, publicOf(keyOf(fmt.Sprint("node", i))))
	}
	f, err := directory.NewClusterFile("test", [32]byte{1}, keys, 0, [32]byte{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []*directory.Signed
	for v := range n {
		d := &directory.Directory{Cluster: f.ID, Version: uint64(v + 1), IssuedAt: 1, ValidUntil: 2}
		body, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		s := &directory.Signed{Body: body}
		for i := range signatures {
			s.Signatures = append(s.Signatures, directory.Signature{Signer: uint8(i),
				Sig: directory.Sign(signingKeyOf(fmt.Sprint("node", i)), body)})
		}
		out = append(out, s)
	}
	return f, out
}

func TestViewTakesNewerSignedDirectoriesOnly(t *testing.T) {
	f, signed := versions(t, 3, 4)
	_, weak := versions(t, 4, 3)
	path := filepath.Join(t.TempDir(), "directory.bin")
	v, err := openView(f, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.adopt(signed[1]); err != nil || v.version() != 2 {
		t.Fatalf("version 2: got %d, %v", v.version(), err)
	}
	if err := v.adopt(weak[3]); !errors.Is(err, fault.Denied) || v.version() != 2 {
		t.Errorf("3 of 5 signatures: got version %d, %v; want denied", v.version(), err)
	}
	if err := v.adopt(signed[0]); err != nil || v.version() != 2 {
		t.Errorf("rolled back: got version %d, %v; want 2 still", v.version(), err)
	}
	again, err := openView(f, path)
	if err != nil || again.version() != 2 {
		t.Fatalf("after a restart: got version %d, %v; want 2", again.version(), err)
	}
	changed := again.changes()
	if err := again.adopt(signed[2]); err != nil {
		t.Fatal(err)
	}
	<-changed
	if d, _, err := again.wait(context.Background(), 2); err != nil || d.Version != 3 {
		t.Errorf("wait: got %v, %v; want version 3", d, err)
	}
}

func TestViewOutlivesDamageAndRefusesAnotherCluster(t *testing.T) {
	f, signed := versions(t, 1, 4)
	path := filepath.Join(t.TempDir(), "directory.bin")
	b := signed[0].Encode()
	if err := os.WriteFile(path, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := openView(f, path); err != nil || v.version() != 0 {
		t.Errorf("a torn copy: got %v, want an empty view", err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := directory.NewClusterFile("other", [32]byte{1}, [][32]byte{{9}}, 0, [32]byte{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openView(other, path); !errors.Is(err, fault.Denied) {
		t.Errorf("another cluster's data: got %v, want denied", err)
	}
}

func TestGossipMetadataNeedsTheSecret(t *testing.T) {
	key := publicOf(keyOf("node"))
	m := meta{key: key, proof: proofOf(private.KeyOf([32]byte{1}), ident.ClusterID{2}, key), expect: 3,
		peerAddr: "host:1"}
	got, err := decodeMeta(m.encode())
	if err != nil || *got != m {
		t.Fatalf("round trip: got %+v, %v", got, err)
	}
	if proofOf(private.KeyOf([32]byte{1}), ident.ClusterID{3}, key) == m.proof ||
		proofOf(private.KeyOf([32]byte{2}), ident.ClusterID{2}, key) == m.proof {
		t.Error("a proof does not depend on cluster and secret")
	}
}

func FuzzDecodeMeta(f *testing.F) {
	m := meta{peerAddr: "host:1"}
	f.Add(m.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMeta(b); err == nil && string(m.encode()) != string(b) {
			t.Error("what decodes must encode to the same bytes")
		}
	})
}

func TestMembersRefuseCommandsOfOthers(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 3)
	n, from := c.nodes[0].node, c.nodes[1].node
	for name, cmd := range map[string]dirstate.Command{
		"reissue":          &dirstate.Reissue{},
		"found":            &dirstate.Found{Expect: 1, Swarms: 1, Replication: 1},
		"another's entry":  registerAs(c, 2, nil),
		"a stranger's own": registerAs(c, 7, nil),
	} {
		caller := from.ID()
		if name == "a stranger's own" {
			caller = ident.NodeIDOf(keyBytes(7))
		}
		_, err := n.accept(t.Context(), caller, dirstate.Encode(cmd), 3, false)
		if !errors.Is(err, fault.Denied) {
			t.Errorf("%s: got %v, want denied", name, err)
		}
	}
}

func keyBytes(i int) []byte { k := publicOf(keyOf(fmt.Sprint("node", i))); return k[:] }

func registerAs(c *testCluster, i int, change func(*directory.Node)) *dirstate.Register {
	key := signingKeyOf(fmt.Sprint("node", i))
	e := directory.Node{Key: key.Public(), Roles: directory.RoleStorage, State: directory.Alive,
		PeerAddr: "evil:1"}
	e.ID = ident.NodeIDOf(e.Key[:])
	return dirstate.NewRegister(key, [32]byte{}, &dirstate.Descriptor{Cluster: c.file.ID,
		Serial: 1 << 50, Node: e})
}
