package phrase

import (
	"cmp"
	"slices"

	"github.com/tyler-smith/go-bip39/wordlists"
)

// nearest returns the words of the list at the least edit distance from w, up to 2.
func nearest(w string) []string {
	type candidate struct {
		word     string
		distance int
	}
	if len(w) > 16 {
		return nil
	}
	var found []candidate
	for _, word := range wordlists.English {
		if d := distance(w, word); d <= 2 {
			found = append(found, candidate{word, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var out []string
	for _, c := range found {
		if len(out) == nearestWords || c.distance > found[0].distance {
			break
		}
		out = append(out, c.word)
	}
	return out
}

// fixes returns every single replacement by a word at distance 1 that makes the checksum right.
func fixes(index []int) []Fix {
	var out []Fix
	trial := slices.Clone(index)
	for i, n := range index {
		for m, word := range wordlists.English {
			if distance(wordlists.English[n], word) != 1 {
				continue
			}
			trial[i] = m
			if _, ok := join(trial); ok {
				out = append(out, Fix{Position: i + 1, Word: word})
			}
		}
		trial[i] = n
	}
	return out
}

// distance is the number of letters to insert, delete, replace, or swap with their neighbour, to get from a
// to b.
func distance(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
