package statemachine_test

import (
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		m := new(storetest.Memory)
		t.Cleanup(func() {
			if err := m.Err(); err != nil {
				t.Errorf("the state machine met damage: %v", err)
			}
			if err := statemachine.Audit(m); err != nil {
				t.Errorf("audit: %v", err)
			}
		})
		r := storetest.NewReplica(m, statemachine.Config{Replicas: 1})
		return storetest.Harness{Mailboxes: r, Advance: r.Advance}
	})
}
