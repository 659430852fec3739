package refs

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	verbs := []string{"send", "receive", "restore", "listen", "log", "device", "contact"}
	for _, tc := range []struct {
		typed string
		want  []string
	}{
		{"sned", []string{"send"}},
		{"recieve", []string{"receive"}},
		{"dev", []string{"device"}},
		{"Lisen", []string{"listen"}},
		{"xyzzy", nil},
		{"", nil},
	} {
		if got := Nearest(tc.typed, verbs); !slices.Equal(got, tc.want) {
			t.Errorf("nearest(%q): got %q, want %q", tc.typed, got, tc.want)
		}
	}
}

func TestDistanceIsAMetricOnSingleEdits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z]{1,12}`)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if got, want := distance(a, b), distance(b, a); got != want {
			t.Fatalf("distance(%q, %q): got %d, the other way %d", a, b, got, want)
		}
		if got := distance(a, a); got != 0 {
			t.Fatalf("distance(%q, itself): got %d, want 0", a, got)
		}
		i := rapid.IntRange(0, len(a)-1).Draw(t, "i")
		if got := distance(a, a[:i]+a[i+1:]); got != 1 {
			t.Fatalf("distance after one deletion from %q: got %d, want 1", a, got)
		}
	})
}
