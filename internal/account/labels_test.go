package account

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLabelsAreUnique reads every label in the module's sources: two uses of one label would let bytes made
// for one purpose pass for another.
func TestLabelsAreUnique(t *testing.T) {
	found := make(map[string][]string)
	literal := regexp.MustCompile(`"(starling/v1/[^"]*?)\\x00"`)
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range literal.FindAllStringSubmatch(string(b), -1) {
			found[m[1]] = append(found[m[1]], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for label, paths := range found {
		if len(paths) > 1 {
			t.Errorf("label %q is used in %v, want one place", label, paths)
		}
	}
	for _, l := range labels {
		if name := strings.TrimSuffix(l, "\x00"); len(found[name]) != 1 || !strings.HasSuffix(l, "\x00") {
			t.Errorf("label %q of this package is in %v, want one place", name, found[name])
		}
	}
	own := 0
	for label, paths := range found {
		if !strings.Contains(paths[0], filepath.Join("internal", "account")) {
			continue
		}
		own++
		if !slices.Contains(labels, label+"\x00") {
			t.Errorf("label %q is not registered", label)
		}
	}
	if own != len(labels) {
		t.Errorf("%d labels are registered, the sources have %d", len(labels), own)
	}
	// No label may be the beginning of another, as some are followed by bytes of variable meaning.
	for i, a := range labels {
		for j, b := range labels {
			if i != j && strings.HasPrefix(b, a) {
				t.Errorf("label %q begins %q", a, b)
			}
		}
	}
}
