package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
)

func TestClosedLinkLeadsNowhere(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	g := alice.group(t, "open evening")
	link, err := alice.Group(g.ID).CreateLink(patient(t), time.Now().Add(30*24*time.Hour), 2, 0)
	ok(t, "link", err)
	if len(link.Link) > 100 {
		t.Errorf("the link has %d characters, want 100 at most", len(link.Link))
	}
	shown := alice.in(t, g.ID, "one link", func(g client.Group) bool { return len(g.Links) == 1 })
	if shown.Links[0].Link != link.Link {
		t.Errorf("got link %s, want %s", shown.Links[0].Link, link.Link)
	}
	ok(t, "close", alice.Group(g.ID).RevokeLink(patient(t), link.Serial))
	if n := alice.Lab().LinkSeeds(g.ID); n != 0 {
		t.Errorf("got %d seeds of links, want none once what they lead to is gone", n)
	}
	if _, err := bob.JoinGroup(patient(t), link.Link); !errors.Is(err, fault.NotFound) {
		t.Errorf("join by a closed link: got %v, want not found", err)
	}
	if _, err := bob.Group(g.ID).Get(patient(t)); !errors.Is(err, fault.NotFound) {
		t.Errorf("the group of a closed link: got %v, want not found", err)
	}
}

func TestUsedUpLinkIsCleared(t *testing.T) {
	cluster := shared(t)
	all, id := band(t, cluster, "Alice", "Bob")
	alice, bob := all[0], all[1]
	carol, _ := create(t, cluster, "Carol")
	dave, _ := create(t, cluster, "Dave")
	link, err := alice.Group(id).CreateLink(patient(t), time.Now().Add(time.Hour), 1, 0)
	ok(t, "link", err)
	_, err = carol.JoinGroup(patient(t), link.Link)
	ok(t, "join", err)
	carol.in(t, id, "joined", status(client.GroupJoined))
	for alice.Lab().LinkSeeds(id) != 0 {
		if t.Context().Err() != nil {
			t.Fatal("what the link leads to stays")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := dave.JoinGroup(patient(t), link.Link); !errors.Is(err, fault.NotFound) {
		t.Errorf("join by a link that is used up: got %v, want not found", err)
	}
	bob.in(t, id, "three are members", members(3))
}

func TestLinkIsGoodForThirtyDaysAtMost(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	g := alice.group(t, "open evening")
	for _, life := range []time.Duration{-time.Second, 30*24*time.Hour + 2*time.Minute} {
		if _, err := alice.Group(g.ID).CreateLink(patient(t), time.Now().Add(life), 1, 0); !errors.Is(err,
			fault.Invalid) {
			t.Errorf("a link for %v: got %v, want invalid", life, err)
		}
	}
	if g, err := alice.Group(g.ID).Get(patient(t)); err != nil || len(g.Links) != 0 {
		t.Errorf("got %d links, %v, want none", len(g.Links), err)
	}
	// Well formed, but nobody made it.
	link := "starling:group/AQgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAbvjMcChIA4l7WxosOHMUom5t"
	if _, err := alice.JoinGroup(patient(t), link); !errors.Is(err, fault.NotFound) {
		t.Errorf("a link that nobody made: got %v, want not found", err)
	}
}

// TestInterruptedLinkCanBeClosed kills the device between the commit and what the link leads to, and after
// that was stored.
func TestInterruptedLinkCanBeClosed(t *testing.T) {
	cluster := shared(t)
	for _, stored := range []bool{false, true} {
		net := &tapped{}
		cfg := config(t, cluster, "alice")
		cfg.SetNetwork(func(inner client.Network) client.Network { net.Network = inner; return net })
		alice, _ := createWith(t, cfg, "Alice")
		g := alice.group(t, "open evening")
		dying, die := context.WithCancel(patient(t))
		net.tap(func(purpose string, r *envelope.Request, _ *envelope.Response) error {
			put, ok := r.Ops[0].(envelope.Store)
			if purpose != client.PurposeFetch || !ok || put.Namespace == envelope.Days && stored {
				return nil
			}
			alice.SetStoreHook(func(string) error { return errors.New("killed") })
			die()
			return errLost
		})
		if l, err := alice.Group(g.ID).CreateLink(dying, time.Now().Add(time.Hour), 1, 0); err == nil {
			t.Fatalf("stored %t: got link %+v, want an error", stored, l)
		}
		alice.kill(t)
		net.tap(nil)
		alice = alice.reopen(t)
		found := alice.in(t, g.ID, "an invitation without a text",
			func(g client.Group) bool { return len(g.Links) == 1 && g.Links[0].Link == "" })
		ok(t, "close", alice.Group(g.ID).RevokeLink(patient(t), found.Links[0].Serial))
		if n := alice.Lab().LinkSeeds(g.ID); n != 0 {
			t.Errorf("stored %t: got %d seeds of links, want none", stored, n)
		}
	}
}
