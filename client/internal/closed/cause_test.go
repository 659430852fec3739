package closed

import (
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
)

func TestCauseOfAChangeDoesNotNameTheChangeAgain(t *testing.T) {
	inner := fault.New(fault.Limited, "store envelope", "the mailbox is full")
	for want, cause := range map[string]error{
		"the group's log does not come": fault.New(fault.Unavailable, "change group",
			"the group's log does not come"),
		"store envelope: the mailbox is full": fault.Wrap(fault.Unavailable, "change group", inner),
		inner.Error():                         inner,
	} {
		if got := metText(cause); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
