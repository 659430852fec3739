package statemachine

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/starling-swarm/starling/internal/envelope"
)

func fullGroup() *group {
	return &group{index: 1, generation: 2, last: [32]byte{3}, read: [32]byte{4}, write: [32]byte{5},
		mod: [32]byte{6}, running: [32]byte{7}, serial: 8, floor: 9, caps: 10, ended: true,
		form: envelope.FormPublic, joins: 11}
}

func fullKey() *groupKey {
	return &groupKey{use: useDelegate, cap: capability{serial: 1, rights: envelope.MayWrite, notAfter: 2,
		generation: 3, revoked: true, namespaces: []envelope.Namespace{envelope.GroupAsk}}}
}

// TestGroupRowVectors pins rows that lie on nodes' disks.
func TestGroupRowVectors(t *testing.T) {
	key := func(s string) string { return s + hex.EncodeToString(make([]byte, 31)) }
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"group": {fullGroup().encode(), "0000000000000001" + "00000002" +
			key("03") + key("04") + key("05") + key("06") + key("07") + "0000000000000008" +
			"0000000000000009" + "0000000a" + "01" + "02" + "0000000b"},
		"delegate": {fullKey().encode(), "04" + "0000000000000001" + "02" + "0000000000000002" + "00000003" +
			"01" + "01" + "0015"},
		"read key": {(&groupKey{use: useRead}).encode(), "01"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func FuzzGroupRows(f *testing.F) {
	f.Add(fullGroup().encode())
	f.Add(fullKey().encode())
	f.Add((&groupKey{use: useMod}).encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		if g, ok := decodeGroup(p); ok && !bytes.Equal(g.encode(), p) {
			t.Errorf("group row %x decodes but does not encode to itself", p)
		}
		if k, ok := decodeGroupKey(p); ok && !bytes.Equal(k.encode(), p) {
			t.Errorf("group key row %x decodes but does not encode to itself", p)
		}
	})
}
