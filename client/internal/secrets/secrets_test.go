package secrets

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

var errDied = errors.New("died here")

func TestReplaceKeepsExactlyOneSecretWhereverItDies(t *testing.T) {
	for i, at := range Steps {
		t.Run(at, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secrets")
			f := New(path, private.KeyOf([32]byte{7}))
			if err := f.Replace([]byte("old seed")); err != nil {
				t.Fatal(err)
			}
			f.SetHook(func(p string) error {
				if p == at {
					return errDied
				}
				return nil
			})
			if err := f.Replace([]byte("new seed")); !errors.Is(err, errDied) {
				t.Fatalf("replace: got %v, want the failpoint", err)
			}
			want := "new seed"
			if i <= 2 {
				want = "old seed"
			}
			got, err := New(path, private.KeyOf([32]byte{7})).Load()
			if err != nil || string(got) != want {
				t.Errorf("load after death at %s: got %q, %v, want %q", at, got, err, want)
			}
			if _, err := os.Stat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a second file is left: %v", err)
			}
		})
	}
}

func TestReplaceErasesTheOldKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets")
	f := New(path, private.KeyOf([32]byte{7}))
	f.Replace([]byte("old seed"))
	old, err := os.Open(path) // stands for the blocks that the file system may keep
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := f.Replace([]byte("new seed")); err != nil {
		t.Fatal(err)
	}
	var kept bytes.Buffer
	kept.ReadFrom(old)
	if secret, err := decode(private.KeyOf([32]byte{7}), kept.Bytes()); err == nil {
		t.Errorf("the old file still opens: %q", secret)
	}
}

func TestTornReplacementIsPassedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets")
	f := New(path, private.KeyOf([32]byte{7}))
	f.Replace([]byte("seed"))
	whole, _ := os.ReadFile(path)
	for _, n := range []int{0, 10, headSize, len(whole) - 1} {
		if err := os.WriteFile(path+".new", whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Load(); err != nil || string(got) != "seed" {
			t.Errorf("load beside %d torn bytes: got %q, %v, want the old secret", n, got, err)
		}
	}
}

func TestLoadRefusesWrongKeyAndDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets")
	if _, err := New(path, private.KeyOf([32]byte{7})).Load(); !errors.Is(err, fault.NotFound) {
		t.Errorf("load nothing: got %v, want not found", err)
	}
	New(path, private.KeyOf([32]byte{7})).Replace([]byte("seed"))
	if _, err := New(path, private.KeyOf([32]byte{8})).Load(); !errors.Is(err, fault.Corrupt) {
		t.Errorf("wrong key: got %v, want corrupt", err)
	}
	blob, _ := os.ReadFile(path)
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		if _, err := decode(private.KeyOf([32]byte{7}), bad); !errors.Is(err, fault.Corrupt) {
			t.Errorf("byte %d flipped: got %v, want corrupt", i, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	g := New("", private.KeyOf([32]byte{7}))
	seed, _ := g.seal([]byte("seed"))
	f.Add(seed)
	f.Add([]byte{version})
	f.Fuzz(func(t *testing.T, b []byte) {
		// Each fuzzing process seals its own seed, so the one that opens is known by what it holds.
		if secret, err := decode(private.KeyOf([32]byte{7}), b); err == nil && string(secret) != "seed" {
			t.Errorf("forged bytes open: %q", secret)
		}
	})
}

func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets")
	f := New(path, private.KeyOf([32]byte{1}))
	if err := f.Remove(); err != nil {
		t.Errorf("remove nothing: %v", err)
	}
	if err := f.Replace([]byte("gone soon")); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); !errors.Is(err, fault.NotFound) {
		t.Errorf("load: got %v, want not found", err)
	}
}
