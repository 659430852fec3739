package client_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/client/internal/histories"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// whole waits until every history that is known has arrived, and one has.
func (d *device) whole(t testing.TB) client.HistoryTransfer {
	t.Helper()
	return *d.next(t, "the whole history", func(e client.Event) bool {
		return e.Kind == client.EventHistory && !e.History.Outgoing && e.History.Done
	}).History
}

func texts(t testing.TB, d *device, f client.Filter) (out []string) {
	t.Helper()
	all, err := d.Messages(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		out = append(out, m.Text)
	}
	return out
}

func TestLinkedDeviceGetsTheHistory(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	first := alice1.send(t, bob.id(), "one")
	bob.message(t, "one")
	bob.send(t, alice1.id(), "two")
	got := alice1.message(t, "two")
	if _, err := alice1.Message(got.Ref()).React(t.Context(), "👍"); err != nil {
		t.Fatal(err)
	}
	if _, err := alice1.Message(client.Ref{Author: alice1.id(), ID: first.ID}).Edit(t.Context(),
		"one, edited"); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		alice1.send(t, alice1.id(), fmt.Sprint("note ", i))
	}
	if _, err := alice1.Wait(patient(t), first.ID, client.StateStored); err != nil {
		t.Fatal(err)
	}

	alice2 := link(t, cluster, alice1, words, "alice-2")
	h := alice2.whole(t)
	if h.Messages != 42 || h.Total != 42 || h.Device != alice1.Account().Device {
		t.Errorf("history: got %+v, want 42 of 42 messages from the first device", h)
	}
	if err := alice1.WaitHistoriesSent(patient(t)); err != nil {
		t.Errorf("wait for the history that was sent: %v", err)
	}
	for _, peer := range []string{bob.id().String(), alice1.id().String(), ""} {
		f := client.Filter{Conversation: peer}
		if got, want := fmt.Sprint(texts(t, alice2, f)), fmt.Sprint(texts(t, alice1, f)); got != want {
			t.Errorf("conversation %.6q: got %s, want %s", peer, got, want)
		}
	}
	chat, err := alice2.Messages(t.Context(), client.Filter{Conversation: bob.id().String()})
	if err != nil || len(chat) != 2 {
		t.Fatalf("messages with Bob: got %d, %v, want 2", len(chat), err)
	}
	if m := chat[0]; !m.Edited || m.State != client.StateStored || m.ID != first.ID {
		t.Errorf("edited message: got %+v, want it edited and stored", m)
	}
	if m := chat[1]; len(m.Reactions) != 1 || m.Reactions[0].From != alice1.id() || m.FromName != "Bob" ||
		!m.HandedOut {
		t.Errorf("message with a reaction: got %+v, want our reaction, Bob's name, handed out", m)
	}
	if waiting := texts(t, alice2, client.Filter{NotHandedOut: true}); len(waiting) != 0 {
		t.Errorf("to hand out: got %q, want nothing of the history", waiting)
	}

	// What comes after the history is news, and stands after it.
	bob.send(t, alice1.id(), "three")
	alice2.message(t, "three")
	if all := texts(t, alice2, client.Filter{Conversation: bob.id().String()}); fmt.Sprint(
		all) != "[one, edited two three]" {
		t.Errorf("after a new message: got %q, want it last", all)
	}

	// Sending it again adds nothing.
	if err := alice1.Device(alice2.Account().Device).SendHistory(t.Context()); err != nil {
		t.Fatal(err)
	}
	alice2.whole(t)
	if n := len(texts(t, alice2, client.Filter{})); n != 43 {
		t.Errorf("after a second history: got %d messages, want 43", n)
	}
}

// sameMessages checks that b has exactly what a has, conversation by conversation, in order.
func sameMessages(t testing.TB, a, b *device) {
	t.Helper()
	var all [2]map[string]string
	for i, d := range []*device{a, b} {
		all[i] = map[string]string{}
		ms, err := d.Messages(t.Context(), client.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			all[i][m.Conversation] += fmt.Sprintf("%s %d %s; ", m.ID, m.State, m.Text)
		}
	}
	if len(all[0]) != len(all[1]) {
		t.Errorf("got %d conversations, want %d", len(all[1]), len(all[0]))
	}
	for id, want := range all[0] {
		if got := all[1][id]; got != want {
			t.Errorf("conversation %.6s: got %d bytes of messages, want %d, the same ones in the same order",
				id, len(got), len(want))
		}
	}
}

// TestHistoryGoesOnAfterKills kills the sender after a chunk is stored and before it knows, and the reader
// before and after it has written a chunk.
func TestHistoryGoesOnAfterKills(t *testing.T) {
	cluster := shared(t)
	net := &tapped{}
	cfg := config(t, cluster, "alice-1")
	cfg.SetNetwork(func(inner client.Network) client.Network { net.Network = inner; return net })
	alice1, words := createWith(t, cfg, "Alice")
	if err := alice1.Seed(20, 10, 2_000); err != nil {
		t.Fatal(err)
	}
	chunks, killed := 0, make(chan struct{})
	net.tap(func(purpose string, r *envelope.Request, _ *envelope.Response) error {
		put, ok := r.Ops[0].(envelope.Store)
		if purpose != histories.PurposeHistory || !ok || put.Namespace != envelope.Blobs {
			return nil
		}
		if chunks++; chunks == 3 {
			alice1.SetStoreHook(func(string) error { return errors.New("killed") })
			close(killed)
		}
		if chunks >= 3 {
			return errLost
		}
		return nil
	})
	alice2 := link(t, cluster, alice1, words, "alice-2")
	<-killed
	alice1.kill(t)
	net.tap(nil)
	for _, point := range []string{"commit", "committed"} {
		dead := make(chan struct{})
		alice2.SetStoreHook(func(p string) error {
			select {
			case <-dead:
				return errors.New("killed")
			default:
			}
			if p == point {
				close(dead)
				return errors.New("killed")
			}
			return nil
		})
		if point == "commit" {
			alice1 = alice1.reopen(t)
		}
		alice2.Upkeep() // something is written, if no chunk is
		<-dead
		alice2.kill(t)
		alice2 = alice2.reopen(t)
	}
	if err := alice1.WaitHistoriesSent(patient(t)); err != nil {
		t.Fatalf("wait for the sender: %v", err)
	}
	awaitHistory(t, alice2)
	sameMessages(t, alice1, alice2)
}

// awaitHistory waits until the device has a history, whenever it came.
func awaitHistory(t testing.TB, d *device) {
	t.Helper()
	for {
		all, err := d.Histories(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(all) > 0 && all[0].Done {
			return
		}
		d.next(t, "history", func(e client.Event) bool { return e.Kind == client.EventHistory })
	}
}

func TestHistoryIsDeclinedAndSentLater(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	alice1.send(t, alice1.id(), "note")
	alice1.KeepHistory(true)
	alice2 := link(t, cluster, alice1, words, "alice-2")
	if all, err := alice1.Histories(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("histories: got %+v, %v, want none", all, err)
	}
	me := alice1.Account().Device
	if err := alice1.Device(me).SendHistory(t.Context()); !errors.Is(err, fault.Invalid) {
		t.Errorf("send to this device: got %v, want invalid", err)
	}
	if err := alice1.Device(ident.DeviceID{1}).SendHistory(t.Context()); !errors.Is(err, fault.NotFound) {
		t.Errorf("send to no device: got %v, want not found", err)
	}
	if err := alice1.Device(alice2.Account().Device).SendHistory(t.Context()); err != nil {
		t.Fatal(err)
	}
	alice2.whole(t)
	sameMessages(t, alice1, alice2)
}

func TestHistoryLargerThanItsMailbox(t *testing.T) {
	if testing.Short() {
		t.Skip("a cluster of its own")
	}
	cluster := swarmtest.Start(t, node.EmbeddedConfig{NoOps: true, QuotaBytes: 1 << 20})
	net := &tapped{}
	cfg := config(t, cluster, "alice-1")
	cfg.SetNetwork(func(inner client.Network) client.Network { net.Network = inner; return net })
	alice1, words := createWith(t, cfg, "Alice")
	if err := alice1.Seed(5, 5, 30); err != nil {
		t.Fatal(err)
	}
	// The messages grow after the chunks are planned: what does not fit any more must not get lost.
	grown := false
	net.tap(func(purpose string, r *envelope.Request, _ *envelope.Response) error {
		if purpose == histories.PurposeHistory && !grown {
			grown = true
			return alice1.Grow(50_000)
		}
		return nil
	})
	alice2 := link(t, cluster, alice1, words, "alice-2")
	alice2.whole(t)
	sameMessages(t, alice1, alice2)
	if all := texts(t, alice2, client.Filter{}); len(all) != 30 || len(all[0]) != 50_000 {
		t.Errorf("got %d messages, want 30 of 50,000 bytes", len(all))
	}
}

func TestRecoveredDeviceSaysWhatItCannotHave(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	alice1.send(t, alice1.id(), "note")
	cfg := config(t, cluster, "rescue")
	c, _, err := client.Restore(patient(t), cfg, words, client.RestoreOptions{NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	rescue := run(t, c, cfg)
	rescue.next(t, "the word that messages are lost", func(e client.Event) bool {
		return e.Kind == client.EventNotice && strings.Contains(e.Text, "cannot be fetched")
	})
}
