package terminal

import (
	"fmt"
	"io"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

// Terminal is where a command talks: to a person, or with JSON to a script. Answers go to Out, everything
// else to Err.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer

	JSON    bool // print documents and nothing for people
	Quiet   bool // print only answers and warnings
	NoInput bool // never ask
	Yes     bool // questions are answered with yes
}

// Answer writes doc as JSON of the given kind with --json, and calls human otherwise.
func (t *Terminal) Answer(kind string, doc any, human func(w io.Writer, st render.Style)) error {
	if t.JSON {
		return cli.WriteJSON(t.Out, kind, doc)
	}
	human(t.Out, render.StyleFor(t.Out))
	return nil
}

// Say prints a line of information for people on stderr; --quiet and --json leave it out.
func (t *Terminal) Say(format string, args ...any) {
	if !t.Quiet && !t.JSON {
		fmt.Fprintf(t.Err, format+"\n", args...)
	}
}

// Warn prints a line on stderr that people should see even with --quiet; with --json it is a document of kind
// note.
func (t *Terminal) Warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if t.JSON {
		_ = cli.WriteJSON(t.Err, "note", sessionapi.Note{Text: text})
		return
	}
	fmt.Fprintln(t.Err, "note: "+text)
}

// Next hints at the verb that usually follows; on terminals only.
func (t *Terminal) Next(format string, args ...any) {
	if render.IsTerminal(t.Err) {
		t.Say("%s", render.StyleFor(t.Err).Dim("next: "+fmt.Sprintf(format, args...)))
	}
}
