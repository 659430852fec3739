package node

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
)

func writeFile(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodFile = `
bootstrap_expect: 5
advertise:
  peer: node-1.example.net:7701
listen:
  client: 10.0.0.1:7700
log:
  level: debug
`

func TestStrongerLayersWin(t *testing.T) {
	file := writeFile(t, "swarmd.yaml", goodFile)
	l, err := Load(Layers{
		File:  file,
		Env:   []string{"SWARMD_LOG_LEVEL=warn", "SWARMD_ZONE=attic", "SWARMD_CONFIG=ignored", "HOME=/root"},
		Flags: map[string]string{"log.level": "error", "join": "a:1, b:2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key    string
		want   any
		source string
	}{
		{"log.level", "error", "flag --log.level"},
		{"zone", "attic", "env SWARMD_ZONE"},
		{"listen.client", "10.0.0.1:7700", "file " + file},
		{"weight", 100, "default"},
		{"join", []string{"a:1", "b:2"}, "flag --join"},
		{"data_dir", filepath.Join(filepath.Dir(file), "data"), "default"},
		{"advertise.client", []string{"node-1.example.net:7700"}, "default"},
		{"advertise.gossip", "node-1.example.net:7702", "default"},
	} {
		for _, k := range Keys() {
			if k.Name != tt.key {
				continue
			}
			if got := l.Config.Value(k); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.key, got, tt.want)
			}
			if got := l.Source[k.Name]; got != tt.source {
				t.Errorf("source of %s: got %q, want %q", tt.key, got, tt.source)
			}
		}
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	file := writeFile(t, "swarmd.yaml", `
bootstrap_expect: 2
listen:
  client: nonsense
  pear: :1
weight: heavy
roles: [storage, king]
advertise:
  peer: 0.0.0.0:7701
log: {level: loud}
`)
	_, err := Load(Layers{File: file, Env: []string{"SWARMD_TYPO=1"}})
	var problems Problems
	if !errors.As(err, &problems) || !errors.Is(err, fault.Invalid) {
		t.Fatalf("got %v, want Problems of kind Invalid", err)
	}
	for _, want := range []string{
		"bootstrap_expect: is 2", "listen.client: ", "did you mean listen.peer?",
		"weight: heavy is no whole number", `roles: has "king"`,
		`advertise.peer: "0.0.0.0:7701" cannot be reached`, "log.level", "SWARMD_TYPO: unknown",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("problems lack %q: %v", want, problems)
		}
	}
}

func TestLoopbackIsAdvertisedOnlyWhenAllowed(t *testing.T) {
	for _, tt := range []struct {
		name, peer string
		allow      bool
		problems   int
	}{
		{"address", "192.0.2.1:7701", false, 0},
		{"name", "node-1:7701", false, 0},
		{"loopback", "127.0.0.1:7701", false, 2}, // advertise.gossip follows
		{"localhost", "localhost:7701", false, 2},
		{"loopback-allowed", "127.0.0.1:7701", true, 0},
		{"wildcard-allowed", "0.0.0.0:7701", true, 2},
		{"none", "", true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			c.BootstrapExpect, c.AllowLoopback, c.Advertise.Peer = 3, tt.allow, tt.peer
			c.fill()
			if p := c.Validate(); len(p) != tt.problems {
				t.Errorf("got %v, want %d problems", p, tt.problems)
			}
		})
	}
}

func TestMissingFileIsNotFound(t *testing.T) {
	_, err := Load(Layers{File: filepath.Join(t.TempDir(), "none.yaml")})
	if !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v, want NotFound", err)
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	seen := make(map[string]bool)
	for _, k := range Keys() {
		if k.Doc == "" || seen[k.Name] || k.Name == "" {
			t.Errorf("key %q: doc %q, seen before: %v", k.Name, k.Doc, seen[k.Name])
		}
		seen[k.Name] = true
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(goodFile)
	f.Add("a: [b")
	f.Add("listen: 5\nlog: [x]")
	f.Add("? {a: b}\n: c")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, body string) {
		path := filepath.Join(dir, "swarmd.yaml")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Load(Layers{File: path})
		if err != nil {
			return
		}
		// What loads can be written and loads to the same.
		again := filepath.Join(dir, "again.yaml")
		if err := os.WriteFile(again, l.Config.yaml(), 0o600); err != nil {
			t.Fatal(err)
		}
		l2, err := Load(Layers{File: again})
		if err != nil {
			t.Fatalf("written configuration does not load: %v", err)
		}
		for _, k := range Keys() {
			if got, want := l2.Config.Value(k), l.Config.Value(k); !reflect.DeepEqual(got, want) {
				if g, ok := got.([]string); ok && len(g) == 0 && len(want.([]string)) == 0 {
					continue
				}
				t.Errorf("%s: got %v, want %v", k.Name, got, want)
			}
		}
	})
}
