package ident_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in ident.AccountID
		copy(in[:], rapid.SliceOfN(rapid.Byte(), 33, 33).Draw(t, "id"))
		in[0] = ident.AccountType
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		var out ident.AccountID
		if err := json.Unmarshal(b, &out); err != nil || out != in {
			t.Fatalf("got %v, %v, want %v", out, err, in)
		}
	})
}

func TestParsingIsStrict(t *testing.T) {
	hex64 := strings.Repeat("ab", 32)
	for _, c := range []struct {
		name string
		err  func() error
		want string
	}{
		{"short", func() error { _, err := ident.ParseAccountID("05ab"); return err },
			"has 4 characters, want 66"},
		{"wrong type", func() error { _, err := ident.ParseAccountID("03" + hex64); return err },
			"begins with 03, want 05"},
		{"group for account", func() error { _, err := ident.ParseGroupID("05" + hex64); return err },
			"begins with 05, want 03"},
		{"not hex", func() error { _, err := ident.ParseNodeID(strings.Repeat("zz", 32)); return err },
			"is not hexadecimal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.err()
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an Invalid error with %q", err, c.want)
			}
		})
	}
}

func TestMessageIDTakesAUUID(t *testing.T) {
	id, err := ident.ParseMessageID("00112233-4455-6677-8899-aabbccddeeff")
	if want := "00112233445566778899aabbccddeeff"; err != nil || id.String() != want {
		t.Errorf("got %v, %v, want %v", id, err, want)
	}
}

func TestSlotsSpreadEvenly(t *testing.T) {
	if got, want := (ident.MailboxID{}).Slot(), ident.Slot(0x666); got != want {
		t.Errorf("slot of the zero mailbox: got %#x, want %#x (the first 12 bits of SHA-256 of 32 zero "+
			"bytes)", got, want)
	}
	seen := map[ident.Slot]bool{}
	for i := range 1 << 14 {
		s := (ident.MailboxID{byte(i), byte(i >> 8)}).Slot()
		if s >= ident.SlotCount {
			t.Fatalf("slot %d, want below %d", s, ident.SlotCount)
		}
		seen[s] = true
	}
	if len(seen) < ident.SlotCount*9/10 {
		t.Errorf("16,384 mailboxes fall into %d slots, want most of %d", len(seen), ident.SlotCount)
	}
}
