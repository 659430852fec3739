package archtest

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// part is a package below a directory, and which of the others there it may import.
type part struct {
	name string
	may  []string
	why  string
}

// pointDown wants every package below a directory to be in a list that goes from the bottom up, and to import
// no other of them than its entry says.
func pointDown(t *testing.T, dir string, list []part, imports func(pkg) []string) {
	t.Helper()
	may := map[string][]string{}
	why := map[string]string{}
	for _, r := range list {
		for _, below := range r.may {
			if _, known := may[below]; !known {
				t.Errorf("%s may import %s, which does not lie below it in the list", r.name, below)
			}
		}
		may[r.name], why[r.name] = r.may, r.why
	}
	for _, p := range load(t) {
		name, ok := strings.CutPrefix(p.rel(), dir+"/")
		if !ok {
			continue
		}
		if _, known := may[name]; !known {
			t.Errorf("%s is in no rule: say in this test what it may import, and why", p.rel())
			continue
		}
		for _, imp := range imports(p) {
			if other, ours := strings.CutPrefix(imp, module+"/"+dir+"/"); ours && other != name &&
				!slices.Contains(may[name], other) {
				t.Errorf("%s imports %s: %s", p.rel(), other, why[name])
			}
		}
	}
}

// TestFilesStaySmall keeps every file of the client and its command readable at one sitting.
func TestFilesStaySmall(t *testing.T) {
	const most = 400
	for _, p := range load(t) {
		if !under(p.rel(), "client", verbs, shapes) {
			continue
		}
		eachFile(t, p, p.GoFiles, func(_ string, f *ast.File, fset *token.FileSet) {
			if n := fset.File(f.Pos()).LineCount(); n > most {
				t.Errorf("%s has %d lines, want %d at most: split it by what it is about",
					fset.Position(f.Pos()).Filename, n, most)
			}
		})
	}
}
