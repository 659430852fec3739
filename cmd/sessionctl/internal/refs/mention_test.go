package refs

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/ident"
)

func people(names ...string) (out []Named) {
	for i, n := range names {
		out = append(out, Named{ident.AccountID{5, byte(i + 1)}, n})
	}
	return out
}

func TestMentions(t *testing.T) {
	crowd := people("Bob", "Bobby", "Ann Lee", "Ann Marie", "Żółw", "carol")
	for _, tc := range []struct {
		name, text, who, unclear string
	}{
		{"a name", "@Bob lunch?", "Bob", ""},
		{"case does not count", "hey @CAROL and @bob!", "carol Bob", ""},
		{"the longest name counts", "@bobby", "Bobby", ""},
		{"a part of a word is nobody", "@bobbyx @bo", "", ""},
		{"two words", "(@ann lee)", "Ann Lee", ""},
		{"a first word that fits two", "@Ann?", "", "@Ann"},
		{"not in a mail address", "mail me: x@bob.example", "", ""},
		{"each once", "@bob @Bob @bob", "Bob", ""},
		{"other letters", "@żółw,", "Żółw", ""},
		{"at the end", "@", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ids, unclear := Mentioned(tc.text, crowd)
			var who []string
			for _, id := range ids {
				who = append(who, crowd[id[1]-1].Name)
			}
			if got := strings.Join(who, " "); got != tc.who || strings.Join(unclear, " ") != tc.unclear {
				t.Errorf("got %q and unclear %q, want %q and %q", got, unclear, tc.who, tc.unclear)
			}
		})
	}
}

func TestHighlightChangesNothingButColour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		crowd := people(rapid.SliceOf(rapid.String()).Draw(t, "names")...)
		if got := Highlight(text, crowd, func(s string) string { return s }); got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
	})
}

func TestHighlight(t *testing.T) {
	got := Highlight("hi @Bob, x@bob", people("bob"), func(s string) string { return "<" + s + ">" })
	if want := "hi <@Bob>, x@bob"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
