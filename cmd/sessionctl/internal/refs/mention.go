package refs

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
)

// mention is a place in a text, @ included, and whom it may mean.
type mention struct {
	from, to int
	who      []ident.AccountID
}

// findMentions finds what follows an @: the longest name that fits, as a whole, else the first word of names.
// Upper and lower case are the same. An @ within a word, as in mail addresses, begins none.
func findMentions(text string, people []Named) (out []mention) {
	for i := 0; i < len(text); i++ {
		if text[i] != '@' {
			continue
		}
		if before, _ := utf8.DecodeLastRuneInString(text[:i]); i > 0 && inWord(before) {
			continue
		}
		m := mention{from: i}
		for _, first := range []bool{false, true} {
			if len(m.who) == 0 {
				m = m.longest(text, people, first)
			}
		}
		if len(m.who) > 0 {
			out = append(out, m)
			i = m.to - 1
		}
	}
	return out
}

// longest fills in who has the longest name (or first word of it) that stands at m.from.
func (m mention) longest(text string, people []Named, firstWord bool) mention {
	for _, p := range people {
		name := p.Name
		if firstWord {
			name, _, _ = strings.Cut(name, " ")
		}
		rest, ok := cutFold(text[m.from+1:], name)
		if next, _ := utf8.DecodeRuneInString(rest); !ok || name == "" || rest != "" && inWord(next) {
			continue
		}
		switch to := len(text) - len(rest); {
		case to > m.to:
			m.to, m.who = to, []ident.AccountID{p.ID}
		case to == m.to:
			m.who = append(m.who, p.ID)
		}
	}
	return m
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' }

// cutFold returns s without prefix; upper and lower case are the same.
func cutFold(s, prefix string) (rest string, ok bool) {
	n := 0
	for range prefix {
		_, size := utf8.DecodeRuneInString(s[n:])
		n += size
	}
	if !strings.EqualFold(s[:n], prefix) {
		return s, false
	}
	return s[n:], true
}

// Mentioned returns whom a text names, each once, and the names that fit several.
func Mentioned(text string, people []Named) (who []ident.AccountID, unclear []string) {
	seen := map[ident.AccountID]bool{}
	for _, m := range findMentions(text, people) {
		switch {
		case len(m.who) > 1:
			unclear = append(unclear, text[m.from:m.to])
		case !seen[m.who[0]] && len(who) < client.MaxMentions:
			seen[m.who[0]] = true
			who = append(who, m.who[0])
		}
	}
	return who, unclear
}

// Highlight paints what names somebody.
func Highlight(text string, people []Named, paint func(string) string) string {
	var b strings.Builder
	at := 0
	for _, m := range findMentions(text, people) {
		b.WriteString(text[at:m.from] + paint(text[m.from:m.to]))
		at = m.to
	}
	return b.String() + text[at:]
}
