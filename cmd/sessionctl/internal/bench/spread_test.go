package bench

import (
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	var times []time.Duration
	for i := 100; i >= 1; i-- {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	want := distribution{50 * time.Millisecond, 90 * time.Millisecond, 99 * time.Millisecond,
		100 * time.Millisecond, 50500 * time.Microsecond}
	if got := spread(times); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := spread([]time.Duration{7}); got != (distribution{7, 7, 7, 7, 7}) {
		t.Errorf("one value: got %v, want it everywhere", got)
	}
}
