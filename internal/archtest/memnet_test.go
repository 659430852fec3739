package archtest

import (
	"slices"
	"testing"
)

func TestTheNetworkInMemoryIsForTests(t *testing.T) {
	for _, p := range load(t) {
		if p.rel() != "internal/swarmtest" && slices.Contains(p.Imports, module+"/internal/memnet") {
			t.Errorf("%s imports internal/memnet: programs reach nodes through real sockets", p.rel())
		}
	}
}
