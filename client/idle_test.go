//go:build unix

package client_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/ident"
)

// counted is a network that notes when something is asked of it, and what.
type counted struct {
	*swarm
	mu    sync.Mutex
	asked []asked
}

type asked struct {
	at   time.Time
	what string
}

func (n *counted) note(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, asked{time.Now(), what})
}

// since returns what was asked at or after an instant.
func (n *counted) since(t time.Time) (out []asked) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.asked {
		if !a.at.Before(t) {
			out = append(out, a)
		}
	}
	return out
}

func (n *counted) Do(ctx context.Context, purpose string, m ident.MailboxID, b []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	r, err := envelope.DecodeRequest(b)
	if err != nil {
		return nil, ident.Path{}, err
	}
	what := purpose + ":"
	for _, op := range r.Ops {
		what += fmt.Sprintf(" %T", op)
	}
	n.note(what)
	return n.swarm.Do(ctx, purpose, m, b, sign)
}

func (n *counted) Subscribe(ctx context.Context, m ident.MailboxID, build func() []byte, sign client.SignFunc,
	handle func(envelope.Envelope) error) error {
	n.note("subscribe")
	return n.swarm.Subscribe(ctx, m, build, sign, handle)
}

func (n *counted) Times(ctx context.Context, count int,
	besides map[ident.NodeID]time.Time) (map[ident.NodeID]time.Time, error) {
	n.note("times")
	return n.swarm.Times(ctx, count, besides)
}

func (n *counted) Elsewhere(m ident.MailboxID) { n.swarm.Elsewhere(m) }

func (n *counted) Probe(ctx context.Context) error {
	n.note("probe")
	return n.swarm.Probe(ctx)
}

const (
	// lookAtSnapshot is the one thing that a device asks every hour: whether another one wrote a snapshot.
	lookAtSnapshot = "inbox: envelope.RetrieveKey"
	// perDay is what a new day brings: day records (looked up, then published), the time of nodes, the last
	// mail of the day that is over, and telling the other device that it was fetched; the wake-up by the
	// other device's word may repeat some.
	perDay = 10
)

// verified waits until a message is known to be from whom it says.
func (d *device) verified(t *testing.T, id ident.MessageID) {
	t.Helper()
	ctx := patient(t)
	for {
		got, err := d.Messages(ctx, client.Filter{ID: &id})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 1 && !got[0].Unverified {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("message %s is not verified: %+v", id.Short(), got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestIdleDevicesAskNothing leaves two devices of an account online for a day in which nobody does anything.
// Below the interface that is watched here there are only the heartbeats of one circuit.
func TestIdleDevicesAskNothing(t *testing.T) {
	cluster := shared(t)
	alice, words := create(t, cluster, "Alice")
	alice2 := link(t, cluster, alice, words, "alice-2")
	bob, _ := create(t, cluster, "Bob")
	alice.send(t, bob.id(), "hello")
	bob.message(t, "hello")
	bob.send(t, alice.id(), "hi")
	alice2.verified(t, alice2.message(t, "hi").ID)
	var dirs []string
	for _, d := range []*device{alice, alice2} {
		if err := d.Idle(patient(t)); err != nil {
			t.Fatal(err)
		}
		if err := d.SyncToHeads(patient(t)); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, d.cfg.Dir)
	}
	now := time.Now()
	alice.stop()
	alice2.stop()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var nets []*counted
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for _, dir := range dirs {
			n := &counted{swarm: &swarm{moment: func() time.Time { return now.Add(time.Since(began)) },
				stored: map[envelope.Hash]envelope.Store{}}}
			cfg := client.Config{Dir: dir}
			cfg.SetNetwork(func(client.Network) client.Network { return n })
			cfg.SetWall(n.Now)
			c, err := client.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			running.Go(func() {
				if err := c.Run(ctx); err != nil {
					t.Errorf("run: %v", err)
				}
				if err := c.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			nets = append(nets, n)
		}
		time.Sleep(10 * time.Minute) // what was due at the start
		quiet := time.Now()
		const hours = 24
		time.Sleep(hours * time.Hour)
		for i, n := range nets {
			looks, daily := 0, 0
			for _, a := range n.since(quiet) {
				switch a.what {
				case lookAtSnapshot:
					looks++
				case "subscribe", "probe":
					t.Errorf("device %d after %s: %s, want nothing", i+1, a.at.Sub(quiet), a.what)
				default:
					daily++
					t.Logf("device %d after %s: %s", i+1, a.at.Sub(quiet), a.what)
				}
			}
			if looks > hours || daily > perDay {
				t.Errorf("device %d in %d hours: asked %d times for a newer snapshot and %d times besides, "+
					"want at most %d and %d", i+1, hours, looks, daily, hours, perDay)
			}
		}
		stop()
		running.Wait()
	})
}
