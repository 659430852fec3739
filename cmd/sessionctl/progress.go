package main

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	spinAfter = 200 * time.Millisecond // waits shorter than this show nothing
	barAfter  = 2 * time.Second
	barWidth  = 24
	lineEvery = 10 * time.Second // where nothing can be drawn
)

// progress is waiting for something that is counted: once it takes over 2 s a terminal shows a bar with amount, speed and
// time left. count is asked whenever it is drawn; unit is what it counts. The returned function removes it.
func (a *app) progress(what, unit string, count func() (done, total int)) (stop func()) {
	if a.flags.quiet || a.flags.json {
		return func() {}
	}
	draw, first, every := func(int, time.Duration) {}, lineEvery, lineEvery
	drawn := false
	if isTerminal(a.stderr) {
		first, every = spinAfter, 120*time.Millisecond
		draw = func(i int, took time.Duration) {
			drawn = true
			done, total := count()
			text := fmt.Sprintf("%c %s %s", `|/-\`[i%4], what, seconds(took))
			if took >= barAfter && total > 0 {
				text = fmt.Sprintf("%s %s %s", what, bar(done, total), amount(done, total, unit, took))
			}
			fmt.Fprint(a.stderr, "\r\x1b[K"+text)
		}
	} else {
		draw = func(_ int, took time.Duration) {
			done, total := count()
			fmt.Fprintf(a.stderr, "still %s: %s\n", what, amount(done, total, unit, took))
		}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	started := time.Now()
	go func() {
		defer close(ended)
		t := time.NewTimer(first)
		defer t.Stop()
		for i := 0; ; i++ {
			select {
			case <-quit:
				if drawn {
					fmt.Fprint(a.stderr, "\r\x1b[K")
				}
				return
			case <-t.C:
				draw(i, time.Since(started))
				t.Reset(every)
			}
		}
	}()
	var once sync.Once
	return func() { once.Do(func() { close(quit); <-ended }) }
}

// bar draws done of total.
func bar(done, total int) string {
	n := min(max(done*barWidth/total, 0), barWidth)
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "]"
}

// amount says how far something is, how fast it goes and how long the rest takes at that speed.
func amount(done, total int, unit string, took time.Duration) string {
	s := fmt.Sprintf("%d of %d %s", done, total, unit)
	if done <= 0 || took <= 0 {
		return s
	}
	speed := float64(done) / took.Seconds()
	s += fmt.Sprintf(", %.0f/s", speed)
	if done < total {
		left := time.Duration(float64(total-done) / speed * float64(time.Second))
		s += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return s
}
