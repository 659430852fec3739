package render

import (
	"fmt"
	"strings"
)

// Printable makes text that other people wrote safe for a terminal: control characters, which could move the
// cursor or recolour what follows, become visible marks. Line breaks stay out of tables as well.
func Printable(s string) string { return visible(s, false) }

// PrintableText is printable for message bodies: line breaks and tabs stay.
func PrintableText(s string) string { return visible(s, true) }

func visible(s string, breaks bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case breaks && (r == '\n' || r == '\t'):
			return r
		case r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0):
			return '�'
		case r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			return '�' // bidirectional overrides can hide what a line says
		}
		return r
	}, s)
}

// Shorten shortens s to n characters with an ellipsis.
func Shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + "…"
}

// Wrap breaks text into lines of at most width characters.
func Wrap(text string, width int) (lines []string) {
	for _, paragraph := range strings.Split(text, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
				lines, line = append(lines, line), ""
			}
			line = strings.TrimSpace(line + " " + word)
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// Quote is an argument as a shell takes it.
func Quote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r < 0x80 &&
			!strings.ContainsRune("-_.:/@+,", r)
	}) < 0 {
		return Printable(s)
	}
	return "'" + strings.ReplaceAll(Printable(s), "'", `'\''`) + "'"
}

// Count prints a number of things: "1 member", "3 members".
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
