package terminal

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
)

const (
	spinAfter = 200 * time.Millisecond // waits shorter than this show nothing
	spinEvery = 120 * time.Millisecond
	barAfter  = 2 * time.Second
	barWidth  = 24
	lineEvery = 10 * time.Second // where nothing can be drawn
	clearLine = "\r\x1b[K"
)

// Waiting shows that something is under way: a spinner on a terminal once it takes longer than 200 ms, a
// plain line every 10 s elsewhere. The returned function removes it.
func (t *Terminal) Waiting(what string) (stop func()) {
	return t.show(
		func(spinner byte, took time.Duration) string {
			return fmt.Sprintf("%c %s %s", spinner, what, render.Seconds(took))
		},
		func(took time.Duration) string { return fmt.Sprintf("still %s (%d s)", what, int(took.Seconds())) },
	)
}

// Progress is waiting for something that is counted: once it takes over 2 s a terminal shows a bar with
// amount, speed and time left. count is asked whenever it is drawn; unit is what it counts. The returned
// function removes it.
func (t *Terminal) Progress(what, unit string, count func() (done, total int)) (stop func()) {
	return t.show(
		func(spinner byte, took time.Duration) string {
			if done, total := count(); took >= barAfter && total > 0 {
				return fmt.Sprintf("%s %s %s", what, bar(done, total), amount(done, total, unit, took))
			}
			return fmt.Sprintf("%c %s %s", spinner, what, render.Seconds(took))
		},
		func(took time.Duration) string {
			done, total := count()
			return fmt.Sprintf("still %s: %s", what, amount(done, total, unit, took))
		},
	)
}

// show draws over and over on a terminal, and prints a line now and then elsewhere, until stop is called.
func (t *Terminal) show(draw func(spinner byte, took time.Duration) string,
	line func(took time.Duration) string) (stop func()) {
	if t.Quiet || t.JSON {
		return func() {}
	}
	drawable := render.IsTerminal(t.Err)
	first, every := lineEvery, lineEvery
	if drawable {
		first, every = spinAfter, spinEvery
	}
	started := time.Now()
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		next := time.NewTimer(first)
		defer next.Stop()
		for i := 0; ; i++ {
			select {
			case <-quit:
				if drawable && i > 0 {
					fmt.Fprint(t.Err, clearLine)
				}
				return
			case <-next.C:
				if drawable {
					fmt.Fprint(t.Err, clearLine+draw(`|/-\`[i%4], time.Since(started)))
				} else {
					fmt.Fprintln(t.Err, line(time.Since(started)))
				}
				next.Reset(every)
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
