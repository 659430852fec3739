package groups

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLabelsAreRegisteredAndNoneBeginsAnother complements the test of package account, which sees that no
// label of the module is used twice.
func TestLabelsAreRegisteredAndNoneBeginsAnother(t *testing.T) {
	b, err := os.ReadFile("labels.go")
	if err != nil {
		t.Fatal(err)
	}
	literals := regexp.MustCompile(`"(starling/v1/[^"]*?)\\x00"`).FindAllStringSubmatch(string(b), -1)
	if len(literals) != len(labels) {
		t.Errorf("%d labels are registered, the source has %d", len(labels), len(literals))
	}
	for _, m := range literals {
		if !slices.Contains(labels, m[1]+"\x00") {
			t.Errorf("label %q is not registered", m[1])
		}
	}
	for i, x := range labels {
		for j, y := range labels {
			if i != j && strings.HasPrefix(y, x) {
				t.Errorf("label %q begins %q", x, y)
			}
		}
	}
}
