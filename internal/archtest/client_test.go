package archtest

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

const rooms = "client/internal"

// clientRooms says, for each package below client/internal, which of the others it may import, from the
// bottom up. Each holds what it owns alone: rows of the store, a lock, a loop.
var clientRooms = []part{
	{"content", nil, "what a body may say is decided by its bytes alone"},
	{"store", nil, "rows know nothing of those who write them"},
	{"secrets", nil, "a file of keys knows nothing of what they open"},
	{"circuit", nil, "the way to a mailbox does not depend on whose it is"},
	{"core", []string{"store", "secrets", "circuit"},
		"everybody stands on it, so it knows none of them; they register what it calls"},
	{"people", []string{"core", "store"},
		"what is known of accounts does not depend on what was said to them"},
	{"conv", []string{"core", "store", "people", "content"},
		"rows change in the same way wherever a change comes from"},
	{"onetime", []string{"core", "store"}, "a mailbox for one use does not know the use"},
	{"inbox", []string{"core", "store", "people", "conv", "content"},
		"it hands on what comes to those who registered, and names none of them"},
	{"outbox", []string{"core", "store", "people", "inbox"},
		"it delivers what the deliverers take that registered, and names none of them"},
	{"closed", []string{"core", "store", "people", "conv", "content", "onetime", "inbox", "outbox"},
		"closed groups know no other use of the account"},
	{"histories", []string{"core", "store", "people", "conv", "content", "onetime", "inbox"},
		"a history is handed over whatever the account is used for"},
}

func TestClientRoomsPointDown(t *testing.T) {
	pointDown(t, rooms, clientRooms, func(p pkg) []string { return p.Imports })
	for _, p := range load(t) {
		if under(p.rel(), rooms) && slices.Contains(p.Imports, module+"/client") {
			t.Errorf("%s imports client: the face stands on the rooms, never the other way round", p.rel())
		}
	}
}

// TestOneDoorToTheStore wants every transaction that writes to go through core, which makes memory forget
// what it knew better than the disk when one fails.
func TestOneDoorToTheStore(t *testing.T) {
	for _, p := range load(t) {
		if !under(p.rel(), "client") || p.rel() == rooms+"/core" || p.rel() == rooms+"/store" {
			continue
		}
		eachFile(t, p, p.GoFiles, func(_ string, f *ast.File, fset *token.FileSet) {
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if id, ok := s.X.(*ast.Ident); ok && id.Name == "store" && (s.Sel.Name == "Open" ||
						s.Sel.Name == "DB") {
						t.Errorf("%s opens the store: transactions go through core.Core",
							fset.Position(n.Pos()))
					}
				}
				return true
			})
		})
	}
}

// TestTablesNameNobody wants the files that read the tables of handlers to know none of those who register.
func TestTablesNameNobody(t *testing.T) {
	for _, p := range load(t) {
		if p.rel() != rooms+"/inbox" && p.rel() != rooms+"/outbox" {
			continue
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, module+"/"+rooms+"/closed") ||
				strings.HasPrefix(imp, module+"/"+rooms+"/histories") {
				t.Errorf("%s imports %s: whoever handles a kind registers for it", p.rel(), imp)
			}
		}
	}
}

// TestLabIsForTests wants nothing that serves tests alone (the files lab*.go of closed) to be called by
// anything else.
func TestLabIsForTests(t *testing.T) {
	lab := map[string]bool{}
	isLab := func(name string) bool { return strings.HasPrefix(name, "lab") }
	for _, p := range load(t) {
		if p.rel() != rooms+"/closed" {
			continue
		}
		eachFile(t, p, slices.DeleteFunc(slices.Clone(p.GoFiles), func(n string) bool { return !isLab(n) }),
			func(_ string, f *ast.File, _ *token.FileSet) {
				for _, d := range f.Decls {
					if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.IsExported() {
						lab[fn.Name.Name] = true
					}
				}
			})
	}
	for _, p := range load(t) {
		if !under(p.rel(), "client") {
			continue
		}
		files := slices.DeleteFunc(slices.Clone(p.GoFiles), func(n string) bool {
			return p.rel() == rooms+
				"/closed" && isLab(n)
		})
		eachFile(t, p, files, func(_ string, f *ast.File, fset *token.FileSet) {
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && lab[s.Sel.Name] {
					if id, ok := s.X.(*ast.SelectorExpr); ok && id.Sel.Name == "groups" {
						t.Errorf("%s calls %s, which serves tests alone", fset.Position(n.Pos()), s.Sel.Name)
					}
				}
				return true
			})
		})
	}
}
