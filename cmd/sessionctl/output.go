package main

import (
	"fmt"
	"io"
	"time"

	"github.com/starling-swarm/starling/internal/cli"
)

// answer writes doc as JSON of the given kind with --json, and calls human otherwise.
func (a *app) answer(kind string, doc any, human func(w io.Writer, st style)) error {
	if a.flags.json {
		return cli.WriteJSON(a.stdout, kind, doc)
	}
	human(a.stdout, styleFor(a.stdout))
	return nil
}

// say prints a line of information for people on stderr; --quiet and --json leave it out.
func (a *app) say(format string, args ...any) {
	if !a.flags.quiet && !a.flags.json {
		fmt.Fprintf(a.stderr, format+"\n", args...)
	}
}

// warn prints a line on stderr that people should see even with --quiet; with --json it is a document of kind note.
func (a *app) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if a.flags.json {
		_ = cli.WriteJSON(a.stderr, "note", struct {
			Text string `json:"text"`
		}{text})
		return
	}
	fmt.Fprintln(a.stderr, "note: "+text)
}

// next hints at the verb that usually follows; on terminals only.
func (a *app) next(format string, args ...any) {
	if isTerminal(a.stderr) {
		a.say("%s", styleFor(a.stderr).dim("next: "+fmt.Sprintf(format, args...)))
	}
}

// millis is a time in JSON: Unix milliseconds, null when there is none.
type millis time.Time

// MarshalJSON implements json.Marshaler.
func (m millis) MarshalJSON() ([]byte, error) {
	t := time.Time(m)
	if t.IsZero() {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%d", t.UnixMilli()), nil
}
