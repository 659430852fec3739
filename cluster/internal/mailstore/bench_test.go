package mailstore_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/mailstore"
	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// BenchmarkApply measures stores of 1 KiB into 64 mailboxes, one synced transaction for each batch.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := open(b, b.TempDir())
			index := uint64(0)
			now := int64(storetest.Epoch)
			apply := func(commands [][]byte) {
				index++
				res := s.ApplyBatch([]mailstore.Batch{{Index: index, Term: 1, Commands: commands}})
				for _, r := range res[0] {
					if r := r.(statemachine.Result); r.Err != nil ||
						r.Response != nil && r.Response.Err() != nil {
						b.Fatalf("apply: %+v", r)
					}
				}
			}
			request := func(r *envelope.Request, sign storetest.Sign) []byte {
				now++
				in := statemachine.Ingress{Signed: sign(ident.NodeID{}, [32]byte{}, now, r.Encode())}
				return statemachine.EncodeCommand(&statemachine.Request{Stamp: statemachine.Stamp{Time: now,
					Allowance: 2000}, Ingress: in})
			}
			apply([][]byte{statemachine.EncodeCommand(
				&statemachine.Config{Stamp: statemachine.Stamp{Time: now}, Number: 1, QuotaBytes: 1 << 40,
					Slots: statemachine.AllSlots()})})
			accounts := make([]*storetest.Account, 64)
			for i := range accounts {
				accounts[i] = storetest.NewAccount(fmt.Sprint(i))
				apply([][]byte{request(accounts[i].Genesis(), storetest.Signer(envelope.LabelRequest,
					accounts[i].MailboxKey()))})
			}
			unsigned := storetest.Signer(envelope.LabelRequest, nil)
			commands := make([][]byte, size)
			n := uint64(0)
			b.SetBytes(int64(size) << 10)
			for b.Loop() {
				for i := range commands {
					n++
					body := binary.BigEndian.AppendUint64(make([]byte, 0, 1024), n)
					commands[i] = request(accounts[n%64].Request(nil,
						envelope.Store{Namespace: envelope.Inbox, TTL: 3600, Body: body[:1024]}), unsigned)
				}
				apply(commands)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "stores/s")
		})
	}
}
