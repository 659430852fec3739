// Package phrase turns 256 bits of entropy into the 24 words of a recovery phrase and back.
//
// The words are those of BIP39 (English); the entropy is used as it is, without BIP39's seed derivation.
// Decode answers a mistyped phrase with where the mistake is and what was probably meant: see WordError and
// ChecksumError. The package is pure. See docs/formats.md, section 5.1.
package phrase

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/tyler-smith/go-bip39/wordlists"

	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/private"
)

// Words is the number of words of a phrase.
const Words = 24

// maxInput bounds what Decode looks at: 24 words of 8 letters, and generous space.
const maxInput = 4_096

// nearestWords is how many suggestions a WordError has at most.
const nearestWords = 3

// Encode returns the 24 words of entropy, separated by single spaces.
func Encode(entropy private.Key) string {
	b := entropy.Reveal()
	sum := sha256.Sum256(b[:])
	words := make([]string, Words)
	bits := append(b[:], sum[0])
	for i := range words {
		words[i] = wordlists.English[eleven(bits, i)]
	}
	return strings.Join(words, " ")
}

// eleven returns bits 11i to 11i+10 of b, high bit first.
func eleven(b []byte, i int) (n int) {
	for bit := 11 * i; bit < 11*i+11; bit++ {
		n = n<<1 | int(b[bit/8]>>(7-bit%8)&1)
	}
	return n
}

// Decode reads a phrase; case and white space do not matter. Errors: *CountError, *WordError, *ChecksumError,
// all fault.Invalid.
func Decode(s string) (entropy private.Key, err error) {
	if len(s) > maxInput {
		return entropy, &CountError{Got: -1}
	}
	words := strings.Fields(strings.ToLower(s))
	if len(words) != Words {
		return entropy, &CountError{Got: len(words)}
	}
	index := make([]int, Words)
	for i, w := range words {
		n, ok := slices.BinarySearch(wordlists.English, w)
		if !ok {
			return entropy, &WordError{Position: i + 1, Word: w, Nearest: nearest(w)}
		}
		index[i] = n
	}
	b, ok := join(index)
	if !ok {
		return private.Key{}, &ChecksumError{Fixes: fixes(index)}
	}
	return private.KeyOf(b), nil
}

// join puts the bits together and checks the last eight.
func join(index []int) (entropy [32]byte, ok bool) {
	var b [33]byte
	for i, n := range index {
		for bit := range 11 {
			at := 11*i + bit
			b[at/8] |= byte(n>>(10-bit)&1) << (7 - at%8)
		}
	}
	copy(entropy[:], b[:])
	sum := sha256.Sum256(entropy[:])
	return entropy, sum[0] == b[32]
}

// CountError says that there are not 24 words.
type CountError struct{ Got int } // -1: far too much text

func (e *CountError) Error() string {
	if e.Got < 0 {
		return fmt.Sprintf("read phrase: too long, want %d words", Words)
	}
	return fmt.Sprintf("read phrase: %d words, want %d", e.Got, Words)
}

// WordError names a word that is not in the list.
type WordError struct {
	Position int // from 1
	Word     string
	Nearest  []string // words of the list, nearest first; none if nothing is near
}

func (e *WordError) Error() string {
	s := fmt.Sprintf("read phrase: word %d, %q, is not in the list", e.Position, e.Word)
	if len(e.Nearest) > 0 {
		s += "; nearest: " + strings.Join(e.Nearest, ", ")
	}
	return s
}

// ChecksumError says that every word exists but they do not belong together.
type ChecksumError struct {
	Fixes []Fix // single replacements by a word at edit distance 1 that make the phrase valid
}

// Fix is one replacement.
type Fix struct {
	Position int // from 1
	Word     string
}

func (e *ChecksumError) Error() string {
	s := "read phrase: a word is wrong or out of place"
	for i, f := range e.Fixes {
		sep := ", or "
		if i == 0 {
			sep = "; perhaps "
		}
		s += fmt.Sprintf("%sword %d is %q", sep, f.Position, f.Word)
	}
	return s
}

// Is makes all three fault.Invalid.
func (e *CountError) Is(target error) bool    { return target == fault.Invalid }
func (e *WordError) Is(target error) bool     { return target == fault.Invalid }
func (e *ChecksumError) Is(target error) bool { return target == fault.Invalid }
