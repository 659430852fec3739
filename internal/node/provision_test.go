package node

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
)

func tree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func plan(t *testing.T) Plan {
	return Plan{Name: "home", Nodes: 5, Out: filepath.Join(t.TempDir(), "c"), Shape: Procs, BasePort: 17700}
}

func TestProvisionLeavesAnExistingClusterAlone(t *testing.T) {
	p := plan(t)
	cf, made, err := Provision(p)
	if err != nil || !made {
		t.Fatalf("first call: made %v, %v", made, err)
	}
	before := tree(t, p.Out)
	again, made, err := Provision(p)
	if err != nil || made {
		t.Fatalf("second call: made %v, %v; want it to leave the cluster alone", made, err)
	}
	if again.ID != cf.ID {
		t.Errorf("second call: got cluster %s, want %s", again.ID, cf.ID)
	}
	after := tree(t, p.Out)
	if len(after) != len(before) {
		t.Errorf("got %d files, want %d", len(after), len(before))
	}
	for path, body := range before {
		if !bytes.Equal(after[path], body) {
			t.Errorf("%s has changed", path)
		}
	}
}

func TestProvisionMakesNodesThatAgree(t *testing.T) {
	for _, shape := range []Shape{Procs, Compose, Systemd} {
		t.Run(string(shape), func(t *testing.T) {
			p := plan(t)
			p.Shape = shape
			cf, _, err := Provision(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := cf.Check(); err != nil {
				t.Errorf("cluster file: %v", err)
			}
			if len(cf.Signers) != 5 || len(cf.Bootstrap) != 5 {
				t.Errorf("got %d signers and %d bootstrap nodes, want 5 of each", len(cf.Signers),
					len(cf.Bootstrap))
			}
			for i := 1; i <= p.Nodes; i++ {
				l, err := Load(Layers{File: filepath.Join(p.NodeDir(i), "swarmd.yaml")})
				if err != nil {
					t.Fatalf("node %d: %v", i, err)
				}
				n, err := New(l.Config, Options{})
				if err != nil {
					t.Fatalf("node %d: %v", i, err)
				}
				if n.ID() != cf.Bootstrap[i-1].NodeID {
					t.Errorf("node %d: got ID %s, want %s", i, n.ID().Short(),
						cf.Bootstrap[i-1].NodeID.Short())
				}
				if len(l.Config.Join) != 4 {
					t.Errorf("node %d joins %v, want the other four", i, l.Config.Join)
				}
				info, err := os.Stat(l.Config.IdentityFile)
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("node %d: key file %v, %v; want mode 0600", i, info.Mode(), err)
				}
			}
		})
	}
}

func TestProvisionStartsOverAfterAnInterruption(t *testing.T) {
	p := plan(t)
	if _, _, err := Provision(p); err != nil {
		t.Fatal(err)
	}
	marker := filepath.Join(p.Out, "cluster.json")
	if err := os.Remove(marker); err != nil { // what is written last
		t.Fatal(err)
	}
	if _, made, err := Provision(p); err != nil || !made {
		t.Fatalf("after an interruption: made %v, %v", made, err)
	}
	if err := errors.Join(os.Remove(marker), os.Mkdir(filepath.Join(p.NodeDir(3), "data"), 0o700),
		os.WriteFile(filepath.Join(p.NodeDir(3), "data", "node.json"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	key, _ := os.ReadFile(filepath.Join(p.NodeDir(3), "node.key"))
	if _, _, err := Provision(p); !errors.Is(err, fault.Exists) {
		t.Errorf("over a node with data: got %v, want Exists", err)
	}
	if now, _ := os.ReadFile(filepath.Join(p.NodeDir(3), "node.key")); !bytes.Equal(now, key) {
		t.Error("the key of a node with data was replaced")
	}
}

func TestProvisionRefusesAnotherCluster(t *testing.T) {
	p := plan(t)
	if _, _, err := Provision(p); err != nil {
		t.Fatal(err)
	}
	other := p
	other.Name = "office"
	if _, _, err := Provision(other); !errors.Is(err, fault.Exists) {
		t.Errorf("other name: got %v, want Exists", err)
	}
	other = p
	other.Nodes = 7
	if _, _, err := Provision(other); !errors.Is(err, fault.Exists) {
		t.Errorf("other size: got %v, want Exists", err)
	}
	if _, _, err := Provision(Plan{Shape: "cloud"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("bad plan: got %v, want Invalid", err)
	}
}

func TestDirectorySignersAreOdd(t *testing.T) {
	for nodes, want := range map[int]int{3: 3, 4: 3, 5: 5, 6: 5, 7: 7, 20: 7} {
		if got := (&Plan{Nodes: nodes}).signers(); got != want {
			t.Errorf("%d nodes: got %d signers, want %d", nodes, got, want)
		}
	}
}

func TestDataDirectoryBelongsToOneNode(t *testing.T) {
	p := plan(t)
	if _, _, err := Provision(p); err != nil {
		t.Fatal(err)
	}
	open := func(change func(*Config)) (*dataDir, error) {
		t.Helper()
		l, err := Load(Layers{File: filepath.Join(p.NodeDir(1), "swarmd.yaml")})
		if err != nil {
			t.Fatal(err)
		}
		change(&l.Config)
		n, err := New(l.Config, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return n.openData()
	}
	same := func(*Config) {}
	d, err := open(same)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(same); !errors.Is(err, fault.Exists) {
		t.Errorf("second opening: got %v, want Exists", err)
	}
	d.close()
	if d, err = open(same); err != nil {
		t.Fatalf("after closing: %v", err)
	}
	d.close()
	other := func(c *Config) { c.IdentityFile = filepath.Join(p.NodeDir(2), "node.key") }
	if _, err := open(other); !errors.Is(err, fault.Denied) {
		t.Errorf("another node: got %v, want Denied", err)
	}
	if _, err := open(func(c *Config) { c.Incarnation = 1 }); !errors.Is(err, fault.Denied) {
		t.Errorf("another incarnation: got %v, want Denied", err)
	}

	// The data is lost, the key is not: the old incarnation has voted and must not come back.
	if err := os.RemoveAll(filepath.Join(p.NodeDir(1), "data")); err != nil {
		t.Fatal(err)
	}
	if _, err := open(same); !errors.Is(err, fault.Denied) {
		t.Errorf("empty directory of a node that ran: got %v, want Denied", err)
	}
	if d, err = open(func(c *Config) { c.Incarnation = 1 }); err != nil {
		t.Fatalf("next incarnation: %v", err)
	}
	d.close()

	newer := []byte(`{"v":2,"future":true}`)
	if err := os.WriteFile(filepath.Join(p.NodeDir(1), "data", "node.json"), newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(same); !errors.Is(err, ErrNewerData) {
		t.Errorf("newer layout: got %v, want ErrNewerData", err)
	}
}

func TestMissingKeyIsMadeOnlyForANodeThatNeverRan(t *testing.T) {
	dir := t.TempDir()
	path, data := filepath.Join(dir, "node.key"), filepath.Join(dir, "data")
	key, err := identity(path, data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := identity(path, data)
	if err != nil || !key.Equal(again) {
		t.Errorf("second start: got another key or %v", err)
	}
	if err := errors.Join(os.Mkdir(data, 0o700), os.WriteFile(filepath.Join(data, "node.json"), []byte("{}"),
		0o600), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := identity(path, data); !errors.Is(err, fault.NotFound) {
		t.Errorf("lost key of a node that ran: got %v, want NotFound", err)
	}
}

func TestSecretNeverShowsInErrors(t *testing.T) {
	secret := "5f" + string(bytes.Repeat([]byte("a"), 61)) // a digit short
	_, err := ReadSecret(writeFile(t, "cluster.secret", secret))
	if !errors.Is(err, fault.Invalid) || bytes.Contains([]byte(err.Error()), []byte(secret[:8])) {
		t.Errorf("got %v, want Invalid without the secret", err)
	}
	if _, err := ReadIdentity(writeFile(t, "node.key", "-----BEGIN PRIVATE KEY-----\n"+secret+
		"\n-----END PRIVATE KEY-----\n")); !errors.Is(err, fault.Invalid) {
		t.Errorf("got %v, want Invalid", err)
	}
}
