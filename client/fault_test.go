package client_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// TestNodesThatCrashLoseNoMessage crashes one node after the other under a stream of messages.
func TestNodesThatCrashLoseNoMessage(t *testing.T) {
	if testing.Short() {
		t.Skip("crashes every node of a cluster in turn")
	}
	cluster := swarmtest.Start(t, node.EmbeddedConfig{NoOps: true})
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	const n = 60
	crash := make(chan int, n)
	crashed := make(chan struct{})
	go func() {
		defer close(crashed)
		for i := range 3 {
			<-crash
			cluster.Crash(t, i)
			<-crash
			cluster.Restart(t, i)
		}
	}()
	for i := range n {
		alice.send(t, bob.id(), fmt.Sprintf("message %d", i))
		if i%10 == 5 {
			crash <- i
		}
		bob.message(t, fmt.Sprintf("message %d", i))
	}
	<-crashed
	all, err := bob.Messages(t.Context(), client.Filter{})
	if err != nil || len(all) != n {
		t.Fatalf("Bob has %d messages, %v, want %d", len(all), err, n)
	}
	for i, m := range all {
		if want := fmt.Sprintf("message %d", i); m.Text != want {
			t.Errorf("message %d: got %q, want %q", i, m.Text, want)
		}
	}
}

func TestWaitingMailArrivesOnceInOrder(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	bob.stop()
	const n = 40
	var last ident.MessageID
	for i := range n {
		last = alice.send(t, bob.id(), fmt.Sprint(i)).ID
	}
	if _, err := alice.Wait(patient(t), last, client.StateStored); err != nil {
		t.Fatal(err)
	}
	bob = bob.reopen(t)
	if err := bob.SyncToHeads(patient(t)); err != nil {
		t.Fatalf("sync: %v", err)
	}
	all, err := bob.Messages(t.Context(), client.Filter{NotHandedOut: true})
	if err != nil || len(all) != n {
		t.Fatalf("got %d messages, %v, want %d", len(all), err, n)
	}
	for i, m := range all {
		if m.Text != fmt.Sprint(i) {
			t.Errorf("message %d: got %q", i, m.Text)
		}
		if err := bob.MarkHandedOut(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
	bob = bob.reopen(t)
	if err := bob.SyncToHeads(patient(t)); err != nil {
		t.Fatalf("sync: %v", err)
	}
	if all, err := bob.Messages(t.Context(), client.Filter{NotHandedOut: true}); err != nil || len(all) != 0 {
		t.Errorf("handed out twice: got %d messages, %v", len(all), err)
	}
}

// TestTwoDevicesApproveAtOnce lets both of an account's devices grant the same request at the same time.
func TestTwoDevicesApproveAtOnce(t *testing.T) {
	cluster := shared(t)
	alice1, words := create(t, cluster, "Alice")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	cfg := config(t, cluster, "alice-3")
	codes, done := make(chan string, 1), make(chan *client.Client, 1)
	go func() {
		c, _, err := client.Restore(patient(t), cfg, words, client.RestoreOptions{OnPending: func(code string,
			_ ident.DeviceID) {
			codes <- code
		}})
		if err != nil {
			t.Errorf("restore: %v", err)
		}
		done <- c
	}()
	code := <-codes
	var both sync.WaitGroup
	for _, d := range []*device{alice1, alice2} {
		d.next(t, "request", func(e client.Event) bool {
			return e.Kind == client.EventLink &&
				e.Link.Code == code
		})
		both.Go(func() {
			// The loser may find the request granted before it looks for it.
			if _, err := d.Approve(patient(t), code); err != nil && !errors.Is(err, fault.NotFound) {
				t.Errorf("approve: %v", err)
			}
		})
	}
	both.Wait()
	c := <-done
	if c == nil {
		t.FailNow()
	}
	alice3 := run(t, c, cfg)
	for _, d := range []*device{alice1, alice2, alice3} {
		if err := d.SyncToHeads(patient(t)); err != nil {
			t.Errorf("sync: %v", err)
		}
		if list, err := d.Devices(t.Context()); err != nil || len(list.Devices) != 3 ||
			len(list.Pending) != 0 {
			t.Errorf("devices: got %+v, %v, want three and nothing pending", list, err)
		}
		if g := d.Account().Generation; g != 3 {
			t.Errorf("generation: got %d, want 3: the request was granted once", g)
		}
	}
}

// TestSnapshotsReplaceDeltas has a device away while the others write more deltas than a snapshot waits for.
func TestSnapshotsReplaceDeltas(t *testing.T) {
	cluster := shared(t)
	cfg := config(t, cluster, "alice-1")
	cfg.SnapshotEvery(3)
	alice1, words := createWith(t, cfg, "Alice")
	alice2 := link(t, cluster, alice1, words, "alice-2")
	alice2.stop()
	var peers []*device
	for i := range 4 {
		p, _ := create(t, cluster, fmt.Sprint("Peer", i))
		peers = append(peers, p)
		if _, err := alice1.AddContact(patient(t), p.id(), fmt.Sprint("peer", i)); err != nil {
			t.Fatal(err)
		}
		if err := alice1.Idle(patient(t)); err != nil {
			t.Fatal(err)
		}
	}
	alice1.Upkeep()
	ctx := patient(t)
	for (!alice1.HasSnapshot() || alice1.CountDeltas() >= 3) && ctx.Err() == nil {
		if err := alice1.SyncToHeads(ctx); err != nil {
			t.Fatal(err)
		}
	}
	alice2 = alice2.reopen(t)
	if err := alice2.SyncToHeads(ctx); err != nil {
		t.Fatal(err)
	}
	alice3 := link(t, cluster, alice2, words, "alice-3")
	for name, d := range map[string]*device{"away": alice2, "new": alice3} {
		contacts, err := d.Contacts(t.Context())
		if err != nil || len(contacts) != len(peers) {
			t.Errorf("%s device: got %d contacts, %v, want %d", name, len(contacts), err, len(peers))
		}
	}
}

// TestUnknownSenderIsKeptAndVerifiedOnceApproved takes away what Bob knows of Alice, whose messages say no
// more than what he once showed to know.
func TestUnknownSenderIsKeptAndVerifiedOnceApproved(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	alice.send(t, bob.id(), "hello")
	bob.message(t, "hello")
	bob.send(t, alice.id(), "hi")
	alice.message(t, "hi")
	if err := bob.Idle(patient(t)); err != nil {
		t.Fatal(err)
	}
	if err := bob.Forget(alice.id()); err != nil {
		t.Fatal(err)
	}
	sent := alice.send(t, bob.id(), "remember me?")
	if m := bob.message(t, "remember me?"); !m.Unverified || !m.Request {
		t.Errorf("got %+v, want an unverified request", m)
	}
	if _, err := bob.AddContact(patient(t), alice.id(), ""); err != nil {
		t.Fatal(err)
	}
	if m := bob.message(t, "remember me?"); m.Unverified || m.Request || m.ID != sent.ID {
		t.Errorf("once approved: got %+v, want verified", m)
	}
	if all, err := bob.Messages(t.Context(), client.Filter{IDPrefix: sent.ID.String()[:7]}); err != nil ||
		len(all) != 1 {
		t.Errorf("got %d rows, %v, want one", len(all), err)
	}
}

// TestRecordsArePublishedAhead moves a device's clock: it publishes the days that are missing then.
func TestRecordsArePublishedAhead(t *testing.T) {
	cluster := shared(t)
	net := &tapped{skew: 3 * 24 * time.Hour}
	published := make(chan int, 16)
	net.tap(func(_ string, r *envelope.Request, _ *envelope.Response) error {
		n := 0
		for _, op := range r.Ops {
			if put, ok := op.(envelope.Store); ok && put.Namespace == envelope.Days && put.IfCerts != nil {
				n++
			}
		}
		if n > 0 {
			published <- n
		}
		return nil
	})
	cfg := config(t, cluster, "alice-1")
	alice, _ := createWith(t, cfg, "Alice")
	alice.stop()
	alice.cfg.SetNetwork(func(inner client.Network) client.Network {
		net.Network = inner
		return net
	})
	alice.reopen(t)
	select {
	case n := <-published:
		if n != 3 {
			t.Errorf("got %d new day records, want 3", n)
		}
	case <-patient(t).Done():
		t.Error("no day record was published")
	}
}
