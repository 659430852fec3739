package statemachine_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
)

// FuzzApplyGroup is FuzzApply for the mailboxes of groups of every form.
func FuzzApplyGroup(f *testing.F) {
	var groups []*storetest.Group
	var births []*envelope.Request
	for form := envelope.FormShared; form <= envelope.FormPublic; form++ {
		g := storetest.NewGroupOf("fuzz", form)
		genesis := g.Genesis()
		g.Accept(genesis.Ops[1].(envelope.Store))
		groups, births = append(groups, g), append(births, genesis)
	}
	g, open := groups[0], groups[2]
	slot := envelope.Slot{Locator: storetest.Key("a"), Sealed: []byte("x")}
	rekey := g.Request(g.Admin(1), append(storetest.Stage(slot),
		g.Sign(g.Next(envelope.CommitRekey, "rekey", slot), 1))...)
	f.Add(rekey.Encode(), uint8(0), uint8(0))
	f.Add(g.Request(g.Admin(1), envelope.Delegate{Serial: 256, Key: rekey.Authority,
		Rights: envelope.MayWrite, NotAfter: 1 << 46, Namespaces: []envelope.Namespace{envelope.GroupAsk}},
		envelope.Revoke{Serial: 256}).Encode(), uint8(0), uint8(0))
	f.Add(g.Request(g.Write(1), envelope.Store{Namespace: envelope.GroupMail, TTL: 60,
		Body: []byte("x")}).Encode(), uint8(1), uint8(0))
	f.Add(births[0].Encode(), uint8(2), uint8(0))
	f.Add(births[2].Encode(), uint8(2), uint8(2))
	f.Add(open.Request(open.Write(1), open.Join(1, 2)...).Encode(), uint8(1), uint8(2))
	f.Add(open.Request(open.Admin(1), envelope.RevokeKeys{Keys: [][32]byte{open.Admit(1, 1).Key}}).Encode(),
		uint8(0), uint8(1))
	f.Add(open.Request(open.Member(1), envelope.Store{Namespace: envelope.GroupMail, TTL: 60,
		IfGeneration: new(uint32(1)), Body: []byte("x")}).Encode(), uint8(3), uint8(1))
	f.Fuzz(func(t *testing.T, request []byte, key, form uint8) {
		g, genesis := groups[form%3], births[form%3]
		mem := new(storetest.Memory)
		r := storetest.NewReplica(mem, statemachine.Config{})
		if _, err := r.Do(t.Context(), g.Mailbox(), genesis.Encode(), storetest.Signer(envelope.LabelRequest,
			g.MailboxKey())); err != nil {
			t.Fatal(err)
		}
		sign := storetest.Signer(envelope.LabelRequest, []ed25519.PrivateKey{g.Admin(1), g.Write(1),
			g.MailboxKey(), g.Member(1)}[key%4])
		if _, err := r.Do(t.Context(), g.Mailbox(), request, sign); err != nil {
			t.Fatal(err)
		}
		if err := mem.Err(); err != nil {
			t.Fatalf("the state machine met damage: %v", err)
		}
		if err := statemachine.Audit(mem); err != nil {
			t.Fatalf("audit: %v", err)
		}
	})
}
