package account

import "github.com/starling-swarm/starling/internal/fault"

// MaxBlob is the largest bucket, which is also the largest body of an envelope.
const MaxBlob = 98_304

// minBlob and minCopy are the smallest buckets of messages and of what own devices tell each other. They
// differ, so that a message and the copy of it do not have the same size.
const (
	minBlob = 1_536
	minCopy = 1_024
)

// bucket returns the smallest bucket from least on that holds n bytes: steps of 512 to 4,096, then four steps
// an octave.
func bucket(n, least int) (int, error) {
	size := least
	for size < n {
		switch {
		case size < 4_096:
			size += 512
		default:
			octave := 4_096
			for octave*2 <= size {
				octave *= 2
			}
			size += octave / 4
		}
	}
	if size > MaxBlob {
		return 0, fault.New(fault.Invalid, "pad", "has %d bytes, want at most %d", n, MaxBlob)
	}
	return size, nil
}
