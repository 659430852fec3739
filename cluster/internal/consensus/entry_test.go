package consensus

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/fault"
)

func TestEntryLayoutIsFrozen(t *testing.T) {
	got, err := encodeEntry([][]byte{[]byte("ab"), []byte("c")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "01" + "0002" + "000002" + "6162" + "000001" + "63"; hex.EncodeToString(got) != want {
		t.Errorf("got %x, want %s", got, want)
	}
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		commands := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 40), 1, 20).Draw(t, "commands")
		data, err := encodeEntry(commands)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeEntry(data)
		if err != nil || !slices.EqualFunc(got, commands, bytes.Equal) {
			t.Fatalf("got %x, %v, want %x", got, err, commands)
		}
	})
}

func TestMalformedEntryIsCorrupt(t *testing.T) {
	good, err := encodeEntry([][]byte{[]byte("ab"), []byte("c")})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]byte{
		"empty":         {},
		"version only":  {1},
		"next version":  append([]byte{2}, good[1:]...),
		"no commands":   {1, 0, 0},
		"too many":      {1, 0xff, 0xff},
		"trailing byte": append(bytes.Clone(good), 0),
	}
	for i := entryOverhead; i < len(good); i++ {
		tests["cut after "+hex.EncodeToString(good[:i])] = good[:i]
	}
	for name, data := range tests {
		if got, err := decodeEntry(data); !errors.Is(err, fault.Corrupt) {
			t.Errorf("%s: got %x, %v, want %v", name, got, err, fault.Corrupt)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	good, err := encodeEntry([][]byte{[]byte("ab"), {}, []byte("c")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{1, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		commands, err := decodeEntry(data)
		if err != nil {
			return
		}
		again, err := encodeEntry(commands)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("got %x, %v after a round trip, want %x", again, err, data)
		}
	})
}

func TestServerIDText(t *testing.T) {
	id := ServerID{Node: nodeID(3), Incarnation: 42}
	got, err := ParseServerID(id.String())
	if err != nil || got != id {
		t.Errorf("got %v, %v, want %v", got, err, id)
	}
	node := nodeID(3).String()
	for _, text := range []string{"", node, node + ".", node + ".x", node + ".-1", node + ".01",
		node + ".4294967296", "ab.1", node + ".1.2"} {
		if got, err := ParseServerID(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}
