package terminal

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/sessionapi"
)

func TestPeopleAndScriptsGetTheSameAnswer(t *testing.T) {
	for _, tc := range []struct {
		name             string
		json, quiet      bool
		wantOut, wantErr string
	}{
		{"a person", false, false, "Bob\n", "sending\nnote: offline\n"},
		{"a person who wants the answer only", false, true, "Bob\n", "note: offline\n"},
		{"a script", true, false, `{"v":1,"kind":"typing","to":"Bob"}` + "\n",
			`{"v":1,"kind":"note","text":"offline"}` + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			term := &Terminal{Out: &out, Err: &errs, JSON: tc.json, Quiet: tc.quiet}
			term.Say("sending")
			term.Warn("offline")
			term.Next("never on what is no terminal")
			err := term.Answer("typing", sessionapi.Typing{To: "Bob"},
				func(w io.Writer, st render.Style) { fmt.Fprintln(w, st.Bold("Bob")) })
			if err != nil || out.String() != tc.wantOut || errs.String() != tc.wantErr {
				t.Errorf("got %q and %q (%v), want %q and %q", out.String(), errs.String(), err,
					tc.wantOut, tc.wantErr)
			}
		})
	}
}

func TestNobodyIsAskedWhoCannotAnswer(t *testing.T) {
	term := &Terminal{In: strings.NewReader("yes\n"), Err: io.Discard}
	if e := cli.Describe(term.Confirm("Type team", "team")); e == nil || e.Exit != cli.ExitUsage {
		t.Errorf("confirm through a pipe: got %+v, want exit code %d", e, cli.ExitUsage)
	}
	if err := term.Agree("Really?"); err != nil {
		t.Errorf("agree through a pipe: got %v, want the command to go on", err)
	}
	if _, err := term.ReadPhrase(""); cli.Describe(err).Exit != cli.ExitUsage {
		t.Errorf("phrase through a pipe without a file: got %v, want wrong usage", err)
	}
	term.Yes = true
	if err := term.Confirm("Type team", "team"); err != nil {
		t.Errorf("confirm with yes: got %v", err)
	}
}
