package statemachine_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

// TestAuditMissesNoRow removes every row in turn: the others must tell.
func TestAuditMissesNoRow(t *testing.T) {
	s := newSwarm(t, statemachine.Config{})
	s.want(s.do(s.acc.Genesis(), 0), 0)
	s.want(s.do(s.acc.Request(nil, inbox("mail")), -1), 0)
	s.want(s.do(s.acc.Request(s.acc.Authority(1), envelope.Store{Namespace: envelope.Vault,
		Key: storetest.Key("k"), Body: []byte("x")}), 1), 0)
	if err := statemachine.Audit(s.mem); err != nil {
		t.Fatalf("a sound state: %v", err)
	}
	tables := []statemachine.Table{
		statemachine.TableOwn, statemachine.TableName, statemachine.TableMail, statemachine.TableKey,
		statemachine.TableDup, statemachine.TableDue, statemachine.TableSlot,
	}
	for _, table := range tables {
		k, v := s.mem.Next(table, nil)
		if k == nil {
			t.Errorf("table %d is empty", table)
		}
		for k != nil {
			k, v = bytes.Clone(k), bytes.Clone(v)
			s.mem.Delete(table, k)
			if err := statemachine.Audit(s.mem); !errors.Is(err, fault.Corrupt) {
				t.Errorf("without row %x of table %d: got %v, want corrupt", k, table, err)
			}
			s.mem.Put(table, k, v)
			k, v = s.mem.Next(table, append(k, 0))
		}
	}
}
