package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/starling-swarm/starling/internal/swarmtest"
)

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"sessionctl": main})
}

// tests runs the tests and then stops what they share.
type tests struct{ *testing.M }

func (t tests) Run() int {
	defer stopShared()
	swarmtest.SideBySide(4)
	return t.M.Run()
}

// TestOffline runs the scripts that need no cluster.
func TestOffline(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/offline",
		RequireExplicitExec: true,
		Setup:               setup,
		Cmds:                commands,
	})
}

func setup(env *testscript.Env) error {
	env.Setenv("SESSIONCTL_HOME", env.WorkDir+"/home")
	env.Setenv("XDG_DATA_HOME", env.WorkDir+"/xdg")
	env.Setenv("SESSIONCTL_CLUSTER", "")
	return nil
}

// commands of the scripts:
//
//	exit N COMMAND...    COMMAND ends with exit code N
//	field VAR PATH [stderr]  VAR = the field PATH (a.b.0.c) of the last line of JSON on stdout (or stderr)
//	                     that has it
//	nofield PATH         that line has no such field, or null
//	fields COUNT LIST... the COUNT lines of JSON each have exactly the named fields besides v and kind;
//	                     "x?" may be absent
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exit":    cmdExit,
	"field":   cmdField,
	"nofield": cmdNoField,
	"fields":  cmdFields,
}

func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit N COMMAND...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		code, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = fmt.Sprint(code.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("got exit code %s, want %s", got, args[0])
	}
}

func lines(ts *testscript.TestScript, name string) []map[string]any {
	var docs []map[string]any
	for _, l := range strings.Split(strings.TrimSpace(ts.ReadFile(name)), "\n") {
		var doc map[string]any
		if err := json.Unmarshal([]byte(l), &doc); err != nil {
			ts.Fatalf("%s: %v in %q", name, err, l)
		}
		docs = append(docs, doc)
	}
	return docs
}

// lookup follows a path of keys and indexes; nil if it leads nowhere.
func lookup(v any, path string) any {
	for _, key := range strings.Split(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

func cmdField(ts *testscript.TestScript, neg bool, args []string) {
	docs := lines(ts, append(args, "stdout")[2])
	v := lookup(docs[len(docs)-1], args[1])
	for i := len(docs) - 1; i >= 0 && v == nil && len(args) > 2; i-- {
		v = lookup(docs[i], args[1])
	}
	if neg || v == nil {
		ts.Fatalf("no field %s in %v", args[1], docs[len(docs)-1])
	}
	if s, ok := v.(string); ok {
		ts.Setenv(args[0], s)
		return
	}
	b, _ := json.Marshal(v)
	ts.Setenv(args[0], string(b))
}

func cmdNoField(ts *testscript.TestScript, neg bool, args []string) {
	docs := lines(ts, "stdout")
	if v := lookup(docs[len(docs)-1], args[0]); neg || v != nil {
		ts.Fatalf("field %s is %v, want none", args[0], v)
	}
}

func cmdFields(ts *testscript.TestScript, neg bool, args []string) {
	docs := lines(ts, "stdout")
	if fmt.Sprint(len(docs)) != args[0] {
		ts.Fatalf("got %d lines of JSON, want %s", len(docs), args[0])
	}
	for _, doc := range docs {
		rest := map[string]bool{}
		for k := range doc {
			rest[k] = true
		}
		for _, f := range append([]string{"v", "kind"}, args[1:]...) {
			name, optional := strings.CutSuffix(f, "?")
			if !rest[name] && !optional {
				ts.Fatalf("field %s is missing in %v", name, doc)
			}
			delete(rest, name)
		}
		if len(rest) > 0 {
			ts.Fatalf("fields %v are not in the contract", rest)
		}
	}
}
