package clictx

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFirstContextBecomesCurrent(t *testing.T) {
	home := t.TempDir()
	must(t, Add(home, "dev", []byte(`{"a":1}`)))
	must(t, Add(home, "home", []byte(`{"b":2}`)))
	c, err := Load(home)
	must(t, err)
	if c.Current != "dev" || len(c.Names()) != 2 {
		t.Errorf("got current %q of %v, want dev of 2", c.Current, c.Names())
	}
	path, err := Resolve(home, "")
	must(t, err)
	if body, _ := os.ReadFile(path); string(body) != `{"a":1}` {
		t.Errorf("current context: got %q", body)
	}
}

func TestResolveTakesContextsAndFiles(t *testing.T) {
	home := t.TempDir()
	must(t, Add(home, "lab", []byte("x")))
	file := filepath.Join(t.TempDir(), "cluster.json")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, tt := range []struct {
		name, arg, want string
		err             error
	}{
		{"context", "lab", filepath.Join(home, "clusters", "lab.json"), nil},
		{"file", file, file, nil},
		{"neither", "nowhere", "", fault.NotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Resolve(home, tt.arg)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
	if _, err := Resolve(t.TempDir(), ""); !errors.Is(err, fault.NotFound) {
		t.Errorf("no current context: got %v, want NotFound", err)
	}
}

func TestRemoveFallsBackToTheFormerContext(t *testing.T) {
	home := t.TempDir()
	must(t, Add(home, "home", []byte("x")))
	must(t, Add(home, "dev", []byte("y")))
	previous, err := Use(home, "dev")
	if err != nil || previous != "home" {
		t.Fatalf("got %q, %v; want home", previous, err)
	}
	must(t, Remove(home, "dev", previous))
	c, err := Load(home)
	must(t, err)
	if c.Current != "home" {
		t.Errorf("got current %q, want home", c.Current)
	}
	if _, err := os.Stat(filepath.Join(home, "clusters", "dev.json")); err == nil {
		t.Error("the copied cluster file is still there")
	}
	if err := Remove(home, "dev", ""); !errors.Is(err, fault.NotFound) {
		t.Errorf("second removal: got %v, want NotFound", err)
	}
	if _, err := Use(home, "dev"); !errors.Is(err, fault.NotFound) {
		t.Errorf("use of a removed context: got %v, want NotFound", err)
	}
}

func TestAddRefusesNamesThatArePaths(t *testing.T) {
	for _, name := range []string{"", "../x", "a/b", ".hidden", "with space"} {
		if err := Add(t.TempDir(), name, nil); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v, want Invalid", name, err)
		}
	}
}

func TestLoadRefusesForeignFiles(t *testing.T) {
	for name, body := range map[string]string{"version": `{"v":2}`, "text": `hello`,
		"type": `{"v":1,"contexts":5}`} {
		home := t.TempDir()
		must(t, os.WriteFile(filepath.Join(home, "contexts.json"), []byte(body), 0o600))
		if _, err := Load(home); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
}
