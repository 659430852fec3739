package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// isTerminal reports whether w (or r) is a terminal that may be drawn on.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// style colours words for people; without colour it returns them as they are, so that colour is never the only sign.
type style struct{ on bool }

// styleFor returns the style for w: colour only on a terminal, and never with NO_COLOR.
func styleFor(w io.Writer) style {
	return style{on: isTerminal(w) && os.Getenv("NO_COLOR") == ""}
}

func (s style) wrap(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(t string) string   { return s.wrap("1", t) }
func (s style) dim(t string) string    { return s.wrap("2", t) }
func (s style) green(t string) string  { return s.wrap("32", t) }
func (s style) yellow(t string) string { return s.wrap("33", t) }
func (s style) red(t string) string    { return s.wrap("31", t) }
func (s style) cyan(t string) string   { return s.wrap("36", t) }

// table is rows of aligned columns under a heading, two spaces apart.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.rows = append(t.rows, cells)
}

func (t *table) write(w io.Writer) {
	width := make([]int, len(t.head))
	for _, r := range append([][]string{t.head}, t.rows...) {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	st := styleFor(w)
	line := func(cells []string, paint func(string) string) {
		var b strings.Builder
		for i, c := range cells {
			b.WriteString(paint(c))
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	line(t.head, st.dim)
	for _, r := range t.rows {
		line(r, func(c string) string { return c })
	}
}

// printable makes text that other people wrote safe for a terminal: control characters, which could move the cursor
// or recolour what follows, become visible marks. Line breaks stay out of tables as well.
func printable(s string) string { return visible(s, false) }

// printableText is printable for message bodies: line breaks and tabs stay.
func printableText(s string) string { return visible(s, true) }

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

// waiting shows that something is under way: a spinner on a terminal once it takes longer than 200 ms, a plain line
// every 10 s elsewhere. The returned function removes it.
func (a *app) waiting(what string) (stop func()) {
	if a.flags.quiet || a.flags.json {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	started := time.Now()
	draw, first, every := func(i int) {
		fmt.Fprintf(a.stderr, "still %s (%d s)\n", what, int(time.Since(started).Seconds()))
	}, 10*time.Second, 10*time.Second
	drawn := false
	if isTerminal(a.stderr) {
		frames := []rune("|/-\\")
		first, every = 200*time.Millisecond, 120*time.Millisecond
		draw = func(i int) {
			drawn = true
			fmt.Fprintf(a.stderr, "\r\x1b[K%c %s %s", frames[i%len(frames)], what, seconds(time.Since(started)))
		}
	}
	go func() {
		defer close(ended)
		t := time.NewTimer(first)
		defer t.Stop()
		for i := 0; ; i++ {
			select {
			case <-quit:
				if drawn {
					fmt.Fprint(a.stderr, "\r\x1b[K")
				}
				return
			case <-t.C:
				draw(i)
				t.Reset(every)
			}
		}
	}()
	var once sync.Once
	return func() { once.Do(func() { close(quit); <-ended }) }
}

// seconds prints a duration for people: milliseconds below a second, otherwise seconds with one digit.
func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// ago prints how long before now t lies, for tables.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	switch d := now.Sub(t); {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return t.Local().Format("2006-01-02")
	}
}

// onDay prints a time of which only the day is known.
func onDay(t, now time.Time) string {
	day := t.UTC().Format(time.DateOnly)
	switch {
	case t.IsZero():
		return "never"
	case day == now.UTC().Format(time.DateOnly):
		return "today"
	}
	return day
}

// clock prints the time of a message: the hour today, the date before.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}
