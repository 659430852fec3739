package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The document that names the tests, from this package's directory, and its two headings.
const (
	root          = "../.."
	document      = root + "/ARCHITECTURE.md"
	promisesTitle = "## The promises"
	testsTitle    = "## Promises and the tests that hold them"
)

var (
	numbered  = regexp.MustCompile(`(?m)^(\d+)\. `)
	namedTest = regexp.MustCompile("`([^`]+)`|\\b((?:Test|Fuzz)\\w+)(?:/([\\w-]+))?")
)

// TestEveryPromiseNamesTestsThatExist reads the table of ARCHITECTURE.md. A test that is renamed or dropped
// must not leave a promise behind that seems to be held.
func TestEveryPromiseNamesTestsThatExist(t *testing.T) {
	promises := numbered.FindAllString(section(t, promisesTitle), -1)
	if len(promises) == 0 {
		t.Fatalf("%s has no promises under %q", document, promisesTitle)
	}
	held := make(map[string]bool)
	tests, strs := declared(t)
	rows := table(section(t, testsTitle))
	if len(rows) == 0 {
		t.Fatalf("%s has no table under %q", document, testsTitle)
	}
	for _, row := range rows {
		if len(row) != 3 {
			t.Errorf("row %q has %d cells, want 3: source, claim, tests", row, len(row))
			continue
		}
		for _, source := range strings.Fields(row[0]) {
			held[source+". "] = true
		}
		checkTests(t, row[1], row[2], tests, strs)
	}
	for _, p := range promises {
		if !held[p] {
			t.Errorf("promise %q has no row", strings.TrimSpace(p))
		}
	}
}

// checkTests checks the last cell of a row: "no test", or directories in backquotes, each before the names of
// its tests.
func checkTests(t *testing.T, claim, cell string, tests map[string][]string, strs map[string]bool) {
	t.Helper()
	if cell == "no test" {
		return
	}
	dir, found := "", 0
	for _, m := range namedTest.FindAllStringSubmatch(cell, -1) {
		if m[1] != "" {
			dir = m[1]
			continue
		}
		found++
		if dir == "" || !slices.ContainsFunc(tests[m[2]], func(d string) bool { return under(d, dir) }) {
			t.Errorf("%q names %s in %q, and there is no such test there or below", claim, m[2], dir)
		}
		if m[3] != "" && !strs[m[3]] {
			t.Errorf("%q names the case %s of %s, and nothing is called so", claim, m[3], m[2])
		}
	}
	if found == 0 {
		t.Errorf("%q names no test: name one, or say %q", claim, "no test")
	}
}

// section returns what the document has between a heading and the next of the same level.
func section(t *testing.T, heading string) string {
	t.Helper()
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %q", document, heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// table returns the cells of the rows of a section's one table, without its two head lines.
func table(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows[min(2, len(rows)):]
}

// declared returns the directories that declare each test of the module, and all string literals of its Go
// files, among which are the names of the cases.
func declared(t *testing.T) (tests map[string][]string, strs map[string]bool) {
	t.Helper()
	tests, strs = make(map[string][]string), make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".pb.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && strings.HasSuffix(path, "_test.go") {
					tests[n.Name.Name] = append(tests[n.Name.Name], filepath.ToSlash(rel))
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					if s, err := strconv.Unquote(n.Value); err == nil {
						strs[s] = true
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, strs
}
