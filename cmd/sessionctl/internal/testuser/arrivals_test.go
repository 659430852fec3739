package testuser

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
)

func TestArrivalsRememberTheFirstTimeAndCountTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a Arrivals
		first, second := ident.MessageID{1}, ident.MessageID{2}
		start := time.Now()
		for _, after := range []time.Duration{time.Second, 2 * time.Second} {
			time.AfterFunc(after, func() { a.Add(first, time.Now()) })
		}
		time.AfterFunc(3*time.Second, func() { a.Add(second, time.Now()) })
		for id, want := range map[ident.MessageID]time.Duration{first: time.Second, second: 3 * time.Second} {
			if at, err := a.Await(t.Context(), id); err != nil || at.Sub(start) != want {
				t.Errorf("message %s: got %s (%v), want %s", id.Short(), at.Sub(start), err, want)
			}
		}
		synctest.Wait()
		if got := a.Doubled(); got != 1 {
			t.Errorf("got %d doubled, want 1", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.Await(ctx, ident.MessageID{3}); err == nil {
			t.Error("a message that never came was reported")
		}
	})
}
