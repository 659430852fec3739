package statemachine_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/starling-swarm/starling/cluster/internal/mailstore/storetest"
	"github.com/starling-swarm/starling/cluster/internal/statemachine"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

func commands() []statemachine.Command {
	stamp := statemachine.Stamp{Time: 1_800_000_000_000, Allowance: 2000}
	slots := statemachine.SlotSet{}
	slots.Add(0)
	slots.Add(ident.SlotCount - 1)
	return []statemachine.Command{
		&statemachine.Request{Stamp: stamp, Ingress: statemachine.Ingress{Node: node, Tag: tag,
			Signed: envelope.Signed{TimeMS: 7, Bytes: []byte("request")}}},
		&statemachine.Expire{Stamp: stamp, UpTo: 5, Max: 100},
		&statemachine.Clock{Stamp: stamp, To: 6},
		&statemachine.Config{Stamp: stamp, Number: 3, DirectoryVersion: 4, QuotaBytes: 5, StampDifficulty: 6,
			Replicas: 7, Slots: slots},
	}
}

func TestCommandsRoundTrip(t *testing.T) {
	for _, c := range commands() {
		p := statemachine.EncodeCommand(c)
		got, err := statemachine.DecodeCommand(p)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%T: got %+v (%v), want %+v", c, got, err, c)
		}
		for n := range p {
			if _, err := statemachine.DecodeCommand(p[:n]); err == nil {
				if _, isRequest := c.(*statemachine.Request); !isRequest || n < 14+64+72 {
					t.Errorf("%T: cut to %d of %d bytes is accepted", c, n, len(p))
				}
			}
		}
	}
}

// TestCommandVectors pins the layout: a log written by one version is read by the next.
func TestCommandVectors(t *testing.T) {
	for i, want := range []string{
		"0101000001a3185c5000000007d0" + hex.EncodeToString(append(node[:], tag[:]...)) + "0000000000000007" +
			hex.EncodeToString(make([]byte, 64)) + "72657175657374",
		"0102000001a3185c5000000007d0" + "0000000000000005" + "00000064",
		"0103000001a3185c5000000007d0" + "0000000000000006",
		"0104000001a3185c5000000007d0" + "0000000000000003" + "0000000000000004" + "0000000000000005" + "06" +
			"07" + "80" + hex.EncodeToString(make([]byte, 510)) + "01",
	} {
		if got := hex.EncodeToString(statemachine.EncodeCommand(commands()[i])); got != want {
			t.Errorf("command %d:\n got %s\nwant %s", i, got, want)
		}
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range commands() {
		f.Add(statemachine.EncodeCommand(c))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := statemachine.DecodeCommand(p)
		if err == nil && !bytes.Equal(statemachine.EncodeCommand(c), p) {
			t.Errorf("command %x decodes but does not encode to itself", p)
		}
	})
}

// FuzzApply wants that no bytes in a log make a replica panic, fail or disagree with itself.
func FuzzApply(f *testing.F) {
	acc := storetest.NewAccount("fuzz")
	f.Add(acc.Genesis().Encode(), uint8(0))
	f.Add(acc.Request(nil, envelope.Store{Namespace: envelope.Inbox, TTL: 60, Body: []byte("x")},
		envelope.Info{}).Encode(), uint8(2))
	f.Add(acc.Request(acc.Authority(1), envelope.Delete{Hashes: []envelope.Hash{{}}},
		envelope.DeleteBefore{Before: 1 << 62}).Encode(), uint8(1))
	f.Add(acc.Change(envelope.Recover, 2, 1).Encode(), uint8(0))
	f.Fuzz(func(t *testing.T, request []byte, key uint8) {
		mem := new(storetest.Memory)
		r := storetest.NewReplica(mem, statemachine.Config{})
		if _, err := r.Do(t.Context(), acc.Mailbox(), acc.Genesis().Encode(),
			storetest.Signer(envelope.LabelRequest, acc.MailboxKey())); err != nil {
			t.Fatal(err)
		}
		signer := []ed25519.PrivateKey{acc.MailboxKey(), acc.Authority(1), nil}[key%3]
		sign := storetest.Signer(envelope.LabelRequest, signer)
		if _, err := r.Do(t.Context(), acc.Mailbox(), request, sign); err != nil {
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
