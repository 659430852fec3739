package phrase

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tyler-smith/go-bip39/wordlists"
	"pgregory.net/rapid"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// Known answers of BIP39 (Trezor's published vectors for 256 bits).
var known = []struct {
	fill   byte
	phrase string
}{
	{0x00, strings.Repeat("abandon ", 23) + "art"},
	{0x7f, strings.TrimSpace(strings.Repeat("legal winner thank year wave sausage worth useful ", 2) +
		"legal winner thank year wave sausage worth title")},
	{0x80, strings.TrimSpace(strings.Repeat("letter advice cage absurd amount doctor acoustic avoid ", 2) +
		"letter advice cage absurd amount doctor acoustic bless")},
	{0xff, strings.Repeat("zoo ", 23) + "vote"},
}

func fill(b byte) private.Key {
	var e [32]byte
	for i := range e {
		e[i] = b
	}
	return private.KeyOf(e)
}

func TestKnownPhrases(t *testing.T) {
	for _, k := range known {
		if got := Encode(fill(k.fill)); got != k.phrase {
			t.Errorf("encode %02x: got %q, want %q", k.fill, got, k.phrase)
		}
		if got, err := Decode(k.phrase); err != nil || !got.Equal(fill(k.fill)) {
			t.Errorf("decode %02x: got %x, %v", k.fill, got, err)
		}
	}
}

func TestWordListIsThatOfBIP39(t *testing.T) {
	sum := sha256.Sum256([]byte(strings.Join(wordlists.English, "\n") + "\n"))
	if got, want := sum[:4], []byte{0x2f, 0x5e, 0xed, 0x53}; !slices.Equal(got, want) ||
		len(wordlists.English) != 2048 {
		t.Errorf("word list hash: got %x, want %x", got, want)
	}
	if !slices.IsSorted(wordlists.English) {
		t.Error("the list is not sorted; Decode searches it by halves")
	}
}

func TestDecodeForgivesCaseAndSpace(t *testing.T) {
	messy := "\t" + strings.ToUpper(strings.ReplaceAll(known[1].phrase, " ", " \n ")) + " "
	if got, err := Decode(messy); err != nil || !got.Equal(fill(0x7f)) {
		t.Errorf("got %x, %v", got, err)
	}
}

func TestWrongWordIsNamedWithItsNearest(t *testing.T) {
	words := strings.Fields(known[1].phrase)
	words[4] = "wavee"
	_, err := Decode(strings.Join(words, " "))
	var w *WordError
	if !errors.As(err, &w) || w.Position != 5 || w.Word != "wavee" || !slices.Contains(w.Nearest, "wave") {
		t.Fatalf("got %v, want word 5 with wave near it", err)
	}
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("%v is not fault.Invalid", err)
	}
	words[4] = "xxxxxxxxxxxxxx"
	if _, err = Decode(strings.Join(words, " ")); !errors.As(err, &w) || len(w.Nearest) != 0 {
		t.Errorf("nonsense: got %v, want no suggestion", err)
	}
}

func TestWrongChecksumOffersSingleFixes(t *testing.T) {
	words := strings.Fields(known[0].phrase)
	words[23] = "arm" // for "art"
	_, err := Decode(strings.Join(words, " "))
	var c *ChecksumError
	if !errors.As(err, &c) {
		t.Fatalf("got %v, want a checksum error", err)
	}
	if !slices.Contains(c.Fixes, Fix{24, "art"}) {
		t.Errorf("fixes %v do not name art", c.Fixes)
	}
	for _, f := range c.Fixes {
		fixed := slices.Clone(words)
		fixed[f.Position-1] = f.Word
		if _, err := Decode(strings.Join(fixed, " ")); err != nil {
			t.Errorf("fix %v does not help: %v", f, err)
		}
	}
	if want := "a word is wrong or out of place"; !strings.Contains(err.Error(), want) {
		t.Errorf("text %q does not say %q", err, want)
	}
}

func TestWordCount(t *testing.T) {
	for _, s := range []string{"", "abandon", strings.Repeat("abandon ", 25), strings.Repeat("a ", 5000)} {
		var c *CountError
		if _, err := Decode(s); !errors.As(err, &c) {
			t.Errorf("decode of %d bytes: got %v, want a count error", len(s), err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := private.KeyOf([32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "entropy")))
		if got, err := Decode(Encode(e)); err != nil || !got.Equal(e) {
			t.Fatalf("got %x, %v, want %x", got, err, e)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, k := range known {
		f.Add(k.phrase)
	}
	f.Add("abandon abandon")
	f.Fuzz(func(t *testing.T, s string) {
		e, err := Decode(s)
		if err == nil && Encode(e) != strings.Join(strings.Fields(strings.ToLower(s)), " ") {
			t.Errorf("%q is not what its entropy encodes to", s)
		}
		if err != nil && !errors.Is(err, fault.Invalid) {
			t.Errorf("%v is not fault.Invalid", err)
		}
	})
}
