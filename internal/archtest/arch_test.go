package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/starling-swarm/starling"

type pkg struct {
	ImportPath, Dir                          string
	GoFiles, TestGoFiles, XTestGoFiles       []string
	Imports, Deps, TestImports, XTestImports []string
}

// rel returns the path inside the module: "cluster/internal/gossip".
func (p pkg) rel() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

// load lists the module's packages; once for all tests.
func load(t *testing.T) []pkg {
	t.Helper()
	all, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages, want the whole module", len(all))
	}
	return all
}

var listed = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e",
		"-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports,Deps,TestImports,XTestImports", module+
			"/...")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list output: %w", err)
		}
		all = append(all, p)
	}
	return all, nil
})

// under reports whether path is one of the trees or lies inside one.
func under(path string, trees ...string) bool {
	for _, tr := range trees {
		if path == tr || strings.HasPrefix(path, tr+"/") {
			return true
		}
	}
	return false
}

var (
	leaves = []string{"internal/fault", "internal/ident", "internal/envelope", "internal/directory",
		"internal/private"}
	pure = []string{
		"internal/account", "cluster/internal/statemachine", "cluster/internal/dirstate", "onionrouter/onion",
		"onionrouter/paths", "devicesync", "groups", "client/internal/content",
	}
	clocks = []string{"time.Now", "time.Sleep", "time.After", "time.NewTimer", "time.NewTicker", "time.Tick",
		"time.Since", "time.Until"}
)

func TestLeavesImportOnlyTheStandardLibrary(t *testing.T) {
	for _, p := range load(t) {
		if !slices.Contains(leaves, p.rel()) {
			continue
		}
		for _, imp := range p.Imports {
			std := !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".")
			ok := std || strings.HasPrefix(imp, "golang.org/x/crypto/") ||
				strings.HasPrefix(imp, "filippo.io/edwards25519") ||
				slices.Contains(leaves, strings.TrimPrefix(imp, module+"/"))
			if !ok {
				t.Errorf("%s imports %s: leaves are the vocabulary that everything shares, so they depend "+
					"on nothing but the standard library, x/crypto and each other", p.rel(), imp)
			}
		}
	}
}

func TestPurePackagesHaveNoSideEffects(t *testing.T) {
	banned := map[string]string{
		"net": "does I/O", "net/http": "does I/O", "os": "does I/O", "os/exec": "does I/O", "log": "logs",
		"log/slog": "logs",
		"syscall":  "does I/O", "math/rand": "hides its randomness", "math/rand/v2": "hides its randomness",
		"crypto/rand": "hides its randomness", "sync": "suggests goroutines: pure code has one caller",
	}
	for _, p := range load(t) {
		if !slices.Contains(leaves, p.rel()) && !under(p.rel(), pure...) {
			continue
		}
		for _, imp := range p.Imports {
			if why, bad := banned[imp]; bad {
				t.Errorf("%s imports %s, which %s: a pure package takes time and randomness as arguments "+
					"so that every replica and every test computes the same", p.rel(), imp, why)
			}
			if rest, ours := strings.CutPrefix(imp, module+"/"); ours && !slices.Contains(leaves, rest) &&
				!under(rest, pure...) && !under(rest, "proto") {
				t.Errorf("%s imports %s: pure packages import leaves and pure packages only", p.rel(), rest)
			}
		}
		eachFile(t, p, p.GoFiles, func(name string, f *ast.File, fset *token.FileSet) {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s starts a goroutine: pure packages have one caller and no hidden concurrency",
						fset.Position(n.Pos()))
				case *ast.SelectorExpr:
					if id, ok := n.X.(*ast.Ident); ok && slices.Contains(clocks, id.Name+"."+n.Sel.Name) {
						t.Errorf("%s reads the clock: pure packages take the time as an argument",
							fset.Position(n.Pos()))
					}
				}
				return true
			})
		})
	}
}

func TestImportsPointDown(t *testing.T) {
	rules := []struct {
		from, notTo []string
		why         string
	}{
		{[]string{"cluster"}, []string{"onionrouter", "client", "cmd", "internal/node"},
			"cluster, onionrouter and client meet only at interfaces that the consumer declares, " +
				"joined in internal/node"},
		{[]string{"onionrouter"}, []string{"cluster", "client", "cmd", "internal/node"},
			"cluster, onionrouter and client meet only at interfaces that the consumer declares, " +
				"joined in internal/node"},
		{[]string{"client"}, []string{"cluster", "cmd", "internal/node"},
			"a client knows nodes by the wire only"},
		{[]string{"devicesync", "groups", "internal/account"}, []string{"client", "cluster", "cmd",
			"internal/node"}, "pure packages lie below everything that does I/O"},
		{[]string{"internal/node", "internal/rpc", "internal/wire"}, []string{"cmd"}, "commands are the top"},
	}
	for _, p := range load(t) {
		for _, r := range rules {
			if !under(p.rel(), r.from...) {
				continue
			}
			for _, imp := range p.Imports {
				if rest, ours := strings.CutPrefix(imp, module+"/"); ours && under(rest, r.notTo...) {
					t.Errorf("%s imports %s: %s", p.rel(), rest, r.why)
				}
			}
		}
		if under(p.rel(), "client") {
			for _, imp := range p.Imports {
				if imp == module+"/onionrouter" {
					t.Errorf("%s imports onionrouter: the client shares formats and path choice with the "+
						"relay, never its machinery", p.rel())
				}
			}
		}
	}
}

func TestClientReachesNoConsensus(t *testing.T) {
	for _, p := range load(t) {
		if under(p.rel(), "client") {
			deny(t, p, "an embedded client must stay small: Raft, gossip and bbolt belong to nodes",
				"github.com/hashicorp/", "go.etcd.io/bbolt")
		}
		if p.rel() == "onionrouter/onion" {
			deny(t, p, "cells are bytes: the formats must be testable and reusable without a transport",
				"google.golang.org/grpc")
		}
	}
}

func deny(t *testing.T, p pkg, why string, prefixes ...string) {
	t.Helper()
	for _, dep := range p.Deps {
		for _, pre := range prefixes {
			if strings.HasPrefix(dep, pre) {
				t.Errorf("%s reaches %s: %s", p.rel(), dep, why)
			}
		}
	}
}

func TestForeignTypesStayBehindTheirAdapters(t *testing.T) {
	for _, p := range load(t) {
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "github.com/hashicorp/") && !under(p.rel(), "cluster/internal") {
				t.Errorf("%s imports %s: hashicorp types stay under cluster/internal so that they can be "+
					"replaced there", p.rel(), imp)
			}
		}
		eachFile(t, p, p.GoFiles, func(name string, f *ast.File, fset *token.FileSet) {
			if under(p.rel(), "proto", "internal/wire", "internal/rpc") || name == "grpc.go" {
				return
			}
			for _, imp := range f.Imports {
				path := strings.Trim(imp.Path.Value, `"`)
				if rest, ours := strings.CutPrefix(path, module+"/proto/"); ours && !strings.HasPrefix(rest,
					"starling/body/") {
					t.Errorf("%s imports %s: generated types stay in internal/wire, internal/rpc and files "+
						"named grpc.go; everything else speaks the vocabulary", fset.Position(imp.Pos()), path)
				}
			}
		})
	}
}

func TestEveryPackageHasOnePackageDoc(t *testing.T) {
	for _, p := range load(t) {
		if len(p.GoFiles) == 0 || under(p.rel(), "proto") {
			continue
		}
		docs := 0
		eachFile(t, p, p.GoFiles, func(_ string, f *ast.File, _ *token.FileSet) {
			if f.Doc != nil {
				docs++
			}
		})
		if docs != 1 {
			t.Errorf("%s has %d package docs, want exactly one: it is where a reader starts", p.rel(), docs)
		}
	}
}

func TestNoDrawers(t *testing.T) {
	for _, p := range load(t) {
		switch base := filepath.Base(p.rel()); base {
		case "util", "utils", "common", "types", "helpers", "models", "misc":
			t.Errorf("%s: a package is named for its one purpose, and %q is none", p.rel(), base)
		}
	}
}

func TestTestingStaysInTests(t *testing.T) {
	for _, p := range load(t) {
		base := filepath.Base(p.rel())
		if base == "swarmtest" || base == "storetest" || under(p.rel(), "test") {
			continue
		}
		if slices.Contains(p.Imports, "testing") {
			t.Errorf("%s imports testing: test code in a production binary changes its flags and its size",
				p.rel())
		}
	}
}

func eachFile(t *testing.T, p pkg, names []string, do func(name string, f *ast.File, fset *token.FileSet)) {
	t.Helper()
	fset := token.NewFileSet()
	for _, name := range names {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Errorf("%s: %v", p.rel(), err)
			continue
		}
		do(name, f, fset)
	}
}
