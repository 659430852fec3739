package terminal

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

// Confirm asks a person to type word before something is lost; Yes answers it. Errors: wrong usage if nobody
// can be asked, cancelled (exit code 11) if the answer is another word.
func (t *Terminal) Confirm(question, word string) error {
	if t.Yes {
		return nil
	}
	if t.NoInput || !render.IsTerminal(t.In) {
		return cli.Usage("this asks before it deletes: add --yes where nobody can answer")
	}
	fmt.Fprintf(t.Err, "%s: ", question)
	line, err := bufio.NewReader(io.LimitReader(t.In, 256)).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != word {
		return &cli.Error{What: "nothing was deleted", Code: "USE-101", Exit: cli.ExitCancelled}
	}
	return nil
}

// Agree asks before something that others notice. Without a terminal, or with Yes, the command itself is the
// answer. Errors: cancelled (exit code 11) if the answer is not yes.
func (t *Terminal) Agree(question string) error {
	if t.Yes || t.JSON || t.NoInput || !render.IsTerminal(t.In) {
		return nil
	}
	fmt.Fprint(t.Err, question+" [y/N] ")
	lines := bufio.NewScanner(t.In)
	if lines.Scan() {
		switch strings.ToLower(strings.TrimSpace(lines.Text())) {
		case "y", "yes":
			return nil
		}
	}
	return &cli.Error{What: "not done", Cause: fault.New(fault.Invalid, "agree", "you did not say yes"),
		Exit: cli.ExitCancelled}
}
