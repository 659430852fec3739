package terminal

import (
	"testing"
	"time"
)

func TestAmountSaysSpeedAndTimeLeft(t *testing.T) {
	for _, tt := range []struct {
		done, total int
		took        time.Duration
		want        string
	}{
		{0, 100, time.Second, "0 of 100 messages"},
		{50, 200, 5 * time.Second, "50 of 200 messages, 10/s, 15s left"},
		{200, 200, 10 * time.Second, "200 of 200 messages, 20/s"},
	} {
		if got := amount(tt.done, tt.total, "messages", tt.took); got != tt.want {
			t.Errorf("%d of %d in %s: got %q, want %q", tt.done, tt.total, tt.took, got, tt.want)
		}
	}
	if got, want := bar(6, 12), "[############............]"; got != want {
		t.Errorf("bar: got %s, want %s", got, want)
	}
}
