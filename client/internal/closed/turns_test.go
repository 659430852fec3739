package closed

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-swarm/starling/internal/ident"
)

func testTurns(most int) *turns {
	return &turns{most: most, least: 30 * time.Second, held: map[ident.GroupID]*turn{}}
}

func groupNo(n byte) ident.GroupID { return ident.GroupID{ident.GroupType, n} }

// TestGroupsTakeTurns lets three groups follow two circuits: the one that was quiet for longest makes room,
// none too early.
func TestGroupsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts, ctx := testTurns(2), t.Context()
		a, _ := ts.take(ctx, groupNo(1))
		b, _ := ts.take(ctx, groupNo(2))
		also, _ := ts.take(ctx, groupNo(2))
		if a == nil || b != also {
			t.Fatal("two groups have no turns, or one has two")
		}
		time.Sleep(20 * time.Second)
		ts.touch(a)
		got := make(chan *turn, 1)
		go func() {
			c, _ := ts.take(ctx, groupNo(3))
			got <- c
		}()
		time.Sleep(9 * time.Second)
		select {
		case <-b.over:
			t.Fatal("a turn ended early")
		case <-a.over:
			t.Fatal("the group with news made room")
		default:
		}
		<-b.over
		ts.give(groupNo(2), b)
		if len(got) > 0 {
			t.Fatal("a third group is followed before the last subscription of the second ended")
		}
		ts.give(groupNo(2), also)
		c := <-got
		ts.give(groupNo(1), a)
		ts.give(groupNo(3), c)
		if len(ts.held) != 0 || ts.timer != nil {
			t.Errorf("%d turns are held at the end", len(ts.held))
		}
	})
}

// TestBusyGroupsTakeTurns: a group that is never quiet does not keep its turn for ever.
func TestBusyGroupsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts, ctx := testTurns(1), t.Context()
		busy, _ := ts.take(ctx, groupNo(1))
		go func() {
			for t := time.NewTicker(time.Second); ; {
				select {
				case <-t.C:
					ts.touch(busy)
				case <-busy.over:
					ts.give(groupNo(1), busy)
					return
				}
			}
		}()
		begin := time.Now()
		h, _ := ts.take(ctx, groupNo(2))
		if waited := time.Since(begin); waited != longTurn*ts.least {
			t.Errorf("waited for %v, want %v", waited, longTurn*ts.least)
		}
		ts.give(groupNo(2), h)
	})
}

func TestHurriedGroupGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts, ctx := testTurns(1), t.Context()
		a, _ := ts.take(ctx, groupNo(1))
		order := make(chan byte, 2)
		for n := byte(2); n <= 3; n++ {
			go func() {
				h, _ := ts.take(ctx, groupNo(n))
				order <- n
				ts.give(groupNo(n), h)
			}()
			synctest.Wait()
		}
		ts.hurry(groupNo(3))
		<-a.over // at once
		ts.give(groupNo(1), a)
		if first := <-order; first != 3 {
			t.Errorf("group %d came first, want 3", first)
		}
		<-order
	})
}

func TestWaitForATurnEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := testTurns(1)
		a, _ := ts.take(t.Context(), groupNo(1))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := ts.take(ctx, groupNo(2))
			done <- err
		}()
		synctest.Wait()
		stop()
		if err := <-done; err == nil || len(ts.waiting) != 0 || ts.timer != nil {
			t.Errorf("got %v and %d that wait", err, len(ts.waiting))
		}
		ts.give(groupNo(1), a)
	})
}
