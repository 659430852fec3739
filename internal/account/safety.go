package account

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strings"

	"github.com/starling-swarm/starling/internal/ident"
)

// SafetyNumber returns the 60 digits that two people compare, in twelve groups of five. It is the same on
// both sides and stays over changes of devices.
func SafetyNumber(a, b ident.AccountID) string {
	lo, hi := a[1:], b[1:]
	if bytes.Compare(lo, hi) > 0 {
		lo, hi = hi, lo
	}
	h := sha512.Sum512(append(append([]byte(labelSafety), lo...), hi...))
	return digits(h[:], 12)
}

// ChainNumber is what two accounts compare while one of them is contested: it tells which chain of that
// account is meant. Thirty digits.
func ChainNumber(a, b ident.AccountID, head *Cert) string {
	hash := head.Hash()
	h := sha256.Sum256(append(append([]byte(labelSafetyHead), SafetyNumber(a, b)...), hash[:]...))
	return digits(h[:], 6)
}

// digits turns five bytes at a time into a group of five digits.
func digits(h []byte, n int) string {
	groups := make([]string, n)
	for i := range groups {
		n := uint64(0)
		for _, c := range h[5*i : 5*i+5] {
			n = n<<8 | uint64(c)
		}
		groups[i] = fmt.Sprintf("%05d", n%100_000)
	}
	return strings.Join(groups, " ")
}
