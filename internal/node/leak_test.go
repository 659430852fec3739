package node_test

import (
	"testing"

	"go.uber.org/goleak"
)

// A node that has stopped or crashed leaves no goroutine behind, but for a probe of memberlist, which waits
// for its answer or timeout whatever happens to the list.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probe"))
}
