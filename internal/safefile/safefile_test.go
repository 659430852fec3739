package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func want(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != text || st.Mode() != mode {
		t.Errorf("the file is %q of mode %o, want %q of mode %o", b, st.Mode(), text, mode)
	}
	if got := names(t, filepath.Dir(path)); len(got) != 1 {
		t.Errorf("the directory has %q, want the file alone", got)
	}
}

func TestReplaceWritesTheWholeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := Replace(path, []byte("a long first text")); err != nil {
		t.Fatal(err)
	}
	want(t, path, "a long first text", 0o600)
	if err := Replace(path, []byte("second")); err != nil {
		t.Fatal(err)
	}
	want(t, path, "second", 0o600)
	if err := ReplaceMode(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, path, "", 0o644)
}

// A file that others could read does not stay so when it becomes a secret.
func TestReplaceTakesRightsAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := ReplaceMode(path, []byte("plain"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	want(t, path, "secret", 0o600)
}

func TestFailureLeavesTheOldFile(t *testing.T) {
	for name, write := range map[string]func(*os.File) error{
		"write": func(f *os.File) error {
			_, _ = f.WriteString("ha") // half of it is there when the disk is full
			return errors.New("disk full")
		},
		"sync": func(f *os.File) error { return f.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := Replace(path, []byte("old")); err != nil {
				t.Fatal(err)
			}
			if err := replace(path, 0o600, write); err == nil {
				t.Error("a failed write was taken for a success")
			}
			want(t, path, "old", 0o600)
		})
	}
	t.Run("rename", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "key")
		if err := os.MkdirAll(filepath.Join(path, "inner"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Replace(path, []byte("new")); err == nil {
			t.Error("a directory was replaced by a file")
		}
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("the directory has %q, want what was there before", got)
		}
	})
}

func TestReplaceInNoDirectory(t *testing.T) {
	if err := Replace(filepath.Join(t.TempDir(), "none", "key"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that the directory does not exist", err)
	}
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for path, text := range map[string]string{from: "new", to: "old"} {
		if err := Replace(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Rename(from, to); err != nil {
		t.Fatal(err)
	}
	want(t, to, "new", 0o600)
	if err := Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is no such file", err)
	}
	want(t, to, "new", 0o600)
}
