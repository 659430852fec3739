package account

import (
	"testing"

	"pgregory.net/rapid"
)

// The list is right if the exchange refuses all of it, and complete if nothing else that is canonical fails.
// Nobody finds a sixth point by chance; the neighbours of the five are the likely slips of a list.
func TestSmallOrderKeysAreThoseThatNoExchangeTakes(t *testing.T) {
	probe := newDHKey([32]byte{1})
	for _, key := range smallOrderDH {
		if _, err := probe.exchange(key); err == nil {
			t.Errorf("exchange takes %x, want refused", key)
		}
		if wrong := checkDHPublic(key); wrong != "is of small order" {
			t.Errorf("%x %q, want of small order", key, wrong)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var key [32]byte
		if rapid.Bool().Draw(t, "near") {
			key = rapid.SampledFrom(smallOrderDH[:]).Draw(t, "small")
			key[rapid.IntRange(0, 31).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		} else {
			copy(key[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		}
		wrong := checkDHPublic(key)
		if wrong == "is not canonical" {
			t.Skip()
		}
		if _, err := probe.exchange(key); (err != nil) != (wrong != "") {
			t.Fatalf("%x %q, the exchange gives %v", key, wrong, err)
		}
	})
}
