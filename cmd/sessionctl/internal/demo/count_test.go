package demo

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-swarm/starling/cmd/sessionctl/internal/terminal"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/testuser"
	"github.com/starling-swarm/starling/internal/ident"
)

func TestWhatIsLostOrDoubledIsCountedAndFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &story{ctx: t.Context(), out: &terminal.Terminal{JSON: true, Out: &out}, started: time.Now(),
			bob: &testuser.User{}, laptop: &testuser.User{}}
		ids := []ident.MessageID{{1}, {2}, {3}}
		s.bob.Arrived.Add(ids[0], time.Now())
		s.bob.Arrived.Add(ids[0], time.Now())
		time.AfterFunc(lostAfter/2, func() { s.bob.Arrived.Add(ids[2], time.Now()) })
		came, lost, err := s.arrived(s.bob, ids)
		if err != nil || lost != 1 || len(came) != 2 {
			t.Fatalf("got %d there, %d lost, %v; want 2 and 1", len(came), lost, err)
		}
		if err := s.finish(); err == nil || !strings.Contains(err.Error(), "1 messages lost, 1 doubled") {
			t.Errorf("got %v, want an error with both counts", err)
		}
		if !strings.Contains(out.String(), `"lost":1,"doubled":1`) {
			t.Errorf("got %s, want both counts in it", out.String())
		}
	})
}

func TestNothingIsLostOnceNobodyWaits(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &story{ctx: ctx}
	if _, lost, err := s.arrived(&testuser.User{}, []ident.MessageID{{1}}); err == nil || lost+s.lost != 0 {
		t.Errorf("got %d lost and %v, want the end of the demo", lost, err)
	}
}
