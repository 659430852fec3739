package archtest

import (
	"go/ast"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	verbs  = "cmd/sessionctl"
	parts  = verbs + "/internal"
	shapes = "internal/sessionapi"
)

// sessionctlParts says, for each package below cmd/sessionctl, which of the others it may import. They lie in
// the order from the bottom up, so that nothing can point in a circle.
var sessionctlParts = []part{
	{"render", nil, "how text looks depends on nothing but the text"},
	{"junit", nil, "a report is made of documents alone"},
	{"testuser", nil, "a client in this process has nobody to talk to"},
	{"refs", []string{"render"}, "names are found without knowing how a profile was opened or who asks"},
	{"view", []string{"render", "refs"},
		"a terminal messenger draws with it, so it neither asks nor connects"},
	{"terminal", []string{"render"}, "prompts and progress serve any command, whatever it is about"},
	{"session", []string{"refs"}, "a daemon opens profiles with it, so it neither prints nor asks"},
	{"bench", []string{"testuser"}, "figures are measured without knowing how they are printed"},
	{"demo", []string{"render", "refs", "view", "terminal", "testuser"},
		"the demo brings its own cluster and opens no profile"},
}

func TestSessionctlPartsPointDown(t *testing.T) {
	pointDown(t, parts, sessionctlParts, func(p pkg) []string {
		return slices.Concat(p.Imports, p.TestImports,
			p.XTestImports)
	})
	for _, p := range load(t) {
		if !under(p.rel(), parts) {
			continue
		}
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(imp, "github.com/spf13/") {
				t.Errorf("%s imports %s: flags and verbs stay in %s, a daemon and a terminal messenger "+
					"have none",
					p.rel(), imp, verbs)
			}
		}
	}
}

func TestRenderKnowsNothingOfStarling(t *testing.T) {
	for _, p := range load(t) {
		if p.rel() != parts+"/render" {
			continue
		}
		for _, imp := range p.Imports {
			if rest, ours := strings.CutPrefix(imp, module+"/"); ours {
				t.Errorf("%s imports %s: it makes text safe and aligned, whatever the text is about", p.rel(),
					rest)
			}
		}
	}
}

func TestNobodyImportsVerbs(t *testing.T) {
	for _, p := range load(t) {
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if rest, ours := strings.CutPrefix(imp, module+"/"); ours && (rest == verbs ||
				rest == "cmd/swarmd") {
				t.Errorf("%s imports %s: verbs are the top; what others need of them has a package below",
					p.rel(), rest)
			}
		}
	}
}

func TestShapesKnowNoCommand(t *testing.T) {
	for _, p := range load(t) {
		if p.rel() != shapes {
			continue
		}
		deny(t, p, "documents are shared by commands, daemon and schema, so they know none of them",
			module+"/cmd/",
			"github.com/spf13/")
	}
}

// TestDocumentsLiveInOnePackage wants every JSON shape of sessionctl where the daemon and the schema find it.
func TestDocumentsLiveInOnePackage(t *testing.T) {
	for _, p := range load(t) {
		if !under(p.rel(), verbs) {
			continue
		}
		eachFile(t, p, p.GoFiles, func(_ string, f *ast.File, fset *token.FileSet) {
			ast.Inspect(f, func(n ast.Node) bool {
				field, ok := n.(*ast.Field)
				if !ok || field.Tag == nil {
					return true
				}
				tag, err := strconv.Unquote(field.Tag.Value)
				if err != nil {
					t.Errorf("%s: %v", fset.Position(field.Pos()), err)
				} else if _, json := reflect.StructTag(tag).Lookup("json"); json {
					t.Errorf("%s has a json tag: JSON shapes are types of %s, which commands, "+
						"daemon and schema share",
						fset.Position(field.Pos()), shapes)
				}
				return true
			})
		})
	}
}
