package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/internal/fault"
)

func TestExitCodesFollowKinds(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		exit int
		code string
	}{
		{"none", nil, 0, ""},
		{"invalid", fault.New(fault.Invalid, "x", ""), 1, "ARG-100"},
		{"denied", fmt.Errorf("send: %w", fault.New(fault.Denied, "x", "")), 4, "KEY-101"},
		{"unauthenticated", fault.Unauthenticated, 4, "KEY-100"},
		{"not-found", Fail("find peer", fault.NotFound), 8, "REF-100"},
		{"limited", fault.Limited, 5, "QTA-100"},
		{"unavailable", fault.Unavailable, 3, "NET-100"},
		{"unavailable-in-time", fault.Wrap(fault.Unavailable, "dial", context.DeadlineExceeded), 6,
			"NET-102"},
		{"stale", fault.Stale, 1, "REF-102"},
		{"exists", fault.Exists, 1, "REF-101"},
		{"corrupt", fault.Corrupt, 70, "STO-100"},
		{"internal", fault.New(fault.Internal, "x", ""), 70, "BUG-100"},
		{"cancelled", context.Canceled, 11, "USE-101"},
		{"file", os.ErrPermission, 1, "SYS-100"},
		{"own", &Error{What: "store in use", Code: "STO-102", Exit: ExitBusy}, 9, "STO-102"},
		{"usage", Usage("no such flag"), 2, "USE-100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if got := Report(&b, false, tt.err); got != tt.exit {
				t.Errorf("got exit %d, want %d", got, tt.exit)
			}
			if tt.code != "" && !strings.Contains(b.String(), "["+tt.code+"]") {
				t.Errorf("got %q, want code %s", b.String(), tt.code)
			}
		})
	}
}

func TestEveryKindHasACode(t *testing.T) {
	for k := fault.Invalid; k.Valid(); k++ {
		if c, ok := classes[k]; !ok || c.code == "" || c.exit == 0 {
			t.Errorf("kind %v has class %+v", k, c)
		}
	}
}

func TestErrorsHaveOneForm(t *testing.T) {
	err := Fail("swarm 4 has no leader", fault.New(fault.Unavailable, "", "1 of 3 replicas answers"),
		"swarmd status")
	var text, doc bytes.Buffer
	Report(&text, false, err)
	if got, want := text.String(),
		"error: swarm 4 has no leader: 1 of 3 replicas answers [NET-100]\ntry: swarmd status\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	Report(&doc, true, err)
	var got map[string]any
	if err := json.Unmarshal(doc.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{"v": 1.0, "kind": "error", "code": "NET-100",
		"what": "swarm 4 has no leader", "cause": "1 of 3 replicas answers", "exit": 3.0} {
		if got[field] != want {
			t.Errorf("%s: got %v, want %v", field, got[field], want)
		}
	}
}

func TestWriteJSONWantsAnObject(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, "empty", struct{}{}); err != nil ||
		b.String() != "{\"v\":1,\"kind\":\"empty\"}\n" {
		t.Errorf("got %q, %v", b.String(), err)
	}
	if err := WriteJSON(&b, "list", []int{1}); err == nil {
		t.Error("a list was taken for an object")
	}
}

func testTree(fail error) *cobra.Command {
	root := &cobra.Command{Use: "bird", Short: "A bird"}
	root.PersistentFlags().Bool("json", false, "")
	noun := &cobra.Command{Use: "nest", Short: "Nests"}
	build := &cobra.Command{Use: "build NAME", Short: "Build one", Example: "  bird nest build oak",
		Args: cobra.ExactArgs(1), RunE: func(*cobra.Command, []string) error { return fail }}
	build.Flags().String("of", "", "")
	_ = build.MarkFlagRequired("of")
	noun.AddCommand(build)
	root.AddCommand(noun, VersionCommand(), ManCommand("1"))
	return root
}

func TestMainTellsUsageFromFailure(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		fail   error
		exit   int
		stderr string
	}{
		{"fine", []string{"nest", "build", "oak", "--of=twigs"}, nil, 0, ""},
		{"bare-noun", []string{"nest"}, nil, 0, ""},
		{"mistyped-verb", []string{"nest", "biuld"}, nil, 2, "try: bird nest build"},
		{"mistyped-noun", []string{"nets"}, nil, 2, "try: bird nest"},
		{"missing-argument", []string{"nest", "build", "--of=twigs"}, nil, 2, "accepts 1 arg"},
		{"missing-flag", []string{"nest", "build", "oak"}, nil, 2, `required flag(s) "of"`},
		{"unknown-flag", []string{"nest", "build", "oak", "--fo=x"}, nil, 2, "unknown flag: --fo"},
		{"failure", []string{"nest", "build", "oak", "--of=twigs"}, errors.New("no tree"), 1,
			"error: no tree [SYS-100]"},
		{"failure-json", []string{"nest", "build", "oak", "--of=twigs", "--json"}, errors.New("no tree"), 1,
			`"what":"no tree"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if got := Main(t.Context(), testTree(tt.fail), tt.args, nil, &out, &errs); got != tt.exit {
				t.Errorf("got exit %d, want %d; stderr %s", got, tt.exit, errs.String())
			}
			if !strings.Contains(errs.String(), tt.stderr) {
				t.Errorf("got stderr %q, want it to contain %q", errs.String(), tt.stderr)
			}
		})
	}
}

func TestHelpShowsExamplesFirst(t *testing.T) {
	var out, errs bytes.Buffer
	if code := Main(t.Context(), testTree(nil), []string{"nest", "build", "--help"}, nil, &out,
		&errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	example, usage := strings.Index(out.String(), "bird nest build oak"), strings.Index(out.String(),
		"Usage:")
	if example < 0 || usage < example {
		t.Errorf("example at %d, usage at %d in\n%s", example, usage, out.String())
	}
}
