package cluster

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails if a node leaves a goroutine behind: Run owns all of them. memberlist's shutdown does not
// wait for a probe under way, which ends by itself within a second.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).triggerFunc"))
}
