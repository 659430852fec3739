package render

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPrintableLeavesNothingThatDrivesATerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		for _, got := range []string{Printable(text), Quote(text)} {
			if i := strings.IndexFunc(got, control); i >= 0 {
				t.Fatalf("%q became %q", text, got)
			}
		}
		got := PrintableText(text)
		if i := strings.IndexFunc(strings.NewReplacer("\n", "", "\t", "").Replace(got), control); i >= 0 {
			t.Fatalf("%q became %q", text, got)
		}
		if strings.Count(got, "\n") != strings.Count(text, "\n") {
			t.Fatalf("%q became %q: line breaks of a message stay", text, got)
		}
	})
}

func control(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"team": "team", "a-b_c.d:e/f@g+h,i": "a-b_c.d:e/f@g+h,i", "Żółw": "Żółw", "": "''",
		"two words": "'two words'", "it's": `'it'\''s'`, "$HOME": "'$HOME'",
	} {
		if got := Quote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestShortenAndWrapCountCharacters(t *testing.T) {
	if got, want := Shorten("żółw", 3), "żół…"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Shorten("żółw", 4); got != "żółw" {
		t.Errorf("got %q, want it whole", got)
	}
	got := Wrap("ąą bb cc\n\ndd", 5)
	if want := []string{"ąą bb", "cc", "dd"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 members", 1: "1 member", 2: "2 members"} {
		if got := Count(n, "member"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
