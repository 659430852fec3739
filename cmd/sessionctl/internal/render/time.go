package render

import (
	"fmt"
	"time"
)

// Seconds prints a duration for people: milliseconds below a second, otherwise seconds with one digit.
func Seconds(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// Ago prints how long before now t lies, for tables.
func Ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	switch d := now.Sub(t); {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return t.Local().Format("2006-01-02")
	}
}

// Day prints a time of which only the day is known.
func Day(t, now time.Time) string {
	day := t.UTC().Format(time.DateOnly)
	switch {
	case t.IsZero():
		return "never"
	case day == now.UTC().Format(time.DateOnly):
		return "today"
	}
	return day
}

// Clock prints the time of a message: the hour today, the date before.
func Clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// Until prints a time to come: the hour today, the date later.
func Until(t, now time.Time) string {
	t = t.Local()
	if t.Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// Milliseconds prints milliseconds for people.
func Milliseconds(ms float64) string { return Seconds(time.Duration(ms * float64(time.Millisecond))) }
