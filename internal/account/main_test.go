package account

import (
	"flag"
	"os"
	"testing"
)

// TestMain keeps property tests short: a trace makes whole accounts. -rapid.checks overrides it.
func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "rapid.checks" })
	if !set {
		checks := "15"
		if testing.Short() {
			checks = "6"
		}
		if err := flag.Set("rapid.checks", checks); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
