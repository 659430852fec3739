package render

import (
	"io"
	"os"

	"golang.org/x/term"
)

// IsTerminal reports whether w (or r) is a terminal that may be drawn on.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// Style colours words for people; without colour it returns them as they are, so that colour is never the
// only sign.
type Style struct{ on bool }

// StyleFor returns the style for w: colour only on a terminal, and never with NO_COLOR.
func StyleFor(w io.Writer) Style {
	return Style{on: IsTerminal(w) && os.Getenv("NO_COLOR") == ""}
}

func (s Style) wrap(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Bold is for what a reader looks for first: IDs, names, titles.
func (s Style) Bold(t string) string { return s.wrap("1", t) }

// Dim is for what can be skipped.
func (s Style) Dim(t string) string { return s.wrap("2", t) }

// Green is for what has worked.
func (s Style) Green(t string) string { return s.wrap("32", t) }

// Yellow is for what needs attention or time.
func (s Style) Yellow(t string) string { return s.wrap("33", t) }

// Red is for danger.
func (s Style) Red(t string) string { return s.wrap("31", t) }

// Cyan is for what stands out without meaning good or bad.
func (s Style) Cyan(t string) string { return s.wrap("36", t) }
