package render

import (
	"testing"
	"time"
)

func TestTimesForPeople(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for _, tc := range []struct{ name, got, want string }{
		{"tenths of a millisecond", Seconds(1500 * time.Microsecond), "1.5 ms"},
		{"milliseconds", Seconds(250 * time.Millisecond), "250 ms"},
		{"seconds", Seconds(2940 * time.Millisecond), "2.9 s"},
		{"of a document", Milliseconds(250), "250 ms"},
		{"never", Ago(time.Time{}, now), "never"},
		{"just now", Ago(now.Add(-time.Second), now), "now"},
		{"an hour ago", Ago(now.Add(-61*time.Minute+time.Second), now), "1 h ago"},
		{"long ago", Ago(now.Add(-72*time.Hour), now), "2026-02-26"},
		{"no day", Day(time.Time{}, now), "never"},
		{"this day", Day(now, now), "today"},
		{"another day", Day(now.Add(-72*time.Hour), now),
			now.Add(-72 * time.Hour).UTC().Format(time.DateOnly)},
		{"a message of today", Clock(now.Add(-time.Hour), now), "11:00:00"},
		{"a message of another day", Clock(now.Add(-24*time.Hour), now), "2026-02-28 12:00"},
		{"until later today", Until(now.Add(time.Hour), now), "13:00"},
		{"until another day", Until(now.Add(24*time.Hour), now), "2026-03-02 12:00"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}

func TestStyleIsNothingWithoutATerminal(t *testing.T) {
	if got := (Style{}).Red("stop"); got != "stop" {
		t.Errorf("got %q, want it plain", got)
	}
	if got, want := (Style{on: true}).Red("stop"), "\x1b[31mstop\x1b[0m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
