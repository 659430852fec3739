package client_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

const day = 24 * time.Hour

// clock is a time that a test moves, for all of its clients: this machine's clock and the nodes' go with it.
type clock struct {
	mu    sync.Mutex
	moves []move                       // oldest first
	wall  time.Duration                // this machine's clock, apart from the nodes'
	nodes func(i int) time.Duration    // how far the i-th node asked is off; nil: none is
	asked []map[ident.NodeID]time.Time // what Times was given as besides
}

// move says how far ahead time is from an instant on.
type move struct {
	from  time.Time
	ahead time.Duration
}

func (k *clock) pass(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := time.Duration(0)
	if n := len(k.moves); n > 0 {
		last = k.moves[n-1].ahead
	}
	k.moves = append(k.moves, move{time.Now(), last + d})
}

// at turns a real instant into one of the test.
func (k *clock) at(t time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	ahead := time.Duration(0)
	for _, m := range k.moves {
		if !t.Before(m.from) {
			ahead = m.ahead
		}
	}
	return t.Add(ahead)
}

func (k *clock) atMS(ms int64) int64 { return k.at(time.UnixMilli(ms)).UnixMilli() }

func (k *clock) local() time.Time {
	t := k.at(time.Now())
	k.mu.Lock()
	defer k.mu.Unlock()
	return t.Add(k.wall)
}

func (k *clock) set(wall time.Duration, nodes func(int) time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wall, k.nodes, k.asked = wall, nodes, nil
}

// timed is a network that goes by a clock.
type timed struct {
	client.Network
	*clock
}

func (n timed) Now() time.Time { return n.at(n.Network.Now()) }

func (n timed) Do(ctx context.Context, purpose string, m ident.MailboxID, b []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	resp, path, err := n.Network.Do(ctx, purpose, m, b, sign)
	if err == nil {
		resp.Clock = n.atMS(resp.Clock)
		for _, r := range resp.Results {
			for i := range r.Envelopes {
				r.Envelopes[i].StoredAt = n.atMS(r.Envelopes[i].StoredAt)
			}
		}
	}
	return resp, path, err
}

func (n timed) Subscribe(ctx context.Context, m ident.MailboxID, build func() []byte, sign client.SignFunc,
	handle func(envelope.Envelope) error) error {
	return n.Network.Subscribe(ctx, m, build, sign, func(e envelope.Envelope) error {
		e.StoredAt = n.atMS(e.StoredAt)
		return handle(e)
	})
}

func (n timed) Times(ctx context.Context, count int,
	besides map[ident.NodeID]time.Time) (map[ident.NodeID]time.Time, error) {
	times, err := n.Network.Times(ctx, count, besides)
	n.mu.Lock()
	n.asked = append(n.asked, besides)
	off := n.nodes
	n.mu.Unlock()
	i := 0
	for id, t := range times {
		times[id] = n.at(t)
		if off != nil {
			times[id] = times[id].Add(off(i))
		}
		i++
	}
	return times, err
}

func (k *clock) config(t testing.TB, cluster *swarmtest.Cluster, label string) client.Config {
	t.Helper()
	cfg := config(t, cluster, label)
	cfg.SetNetwork(func(inner client.Network) client.Network { return timed{inner, k} })
	cfg.SetWall(k.local)
	return cfg
}

// round lets a device do what is due, and returns its day keys.
func (d *device) round(t testing.TB) []client.DayKey {
	t.Helper()
	if err := d.Round(patient(t)); err != nil {
		t.Fatalf("upkeep: %v", err)
	}
	return d.Retained()
}

// settle lets devices take turns until all of them have said and heard everything.
func settle(t testing.TB, devices ...*device) {
	t.Helper()
	for range 2 {
		for _, d := range devices {
			d.round(t)
			if err := d.Idle(patient(t)); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range devices {
			if err := d.SyncToHeads(patient(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// span is how many days' keys a device holds, from the oldest to today.
func span(keys []client.DayKey, now time.Time) int {
	if len(keys) == 0 {
		return 0
	}
	oldest := slices.MinFunc(keys, func(a, b client.DayKey) int { return int(a.Day) - int(b.Day) })
	return int(now.Unix()/86_400) - int(oldest.Day) + 1
}

// TestWeeksOfTwoDevices lets a month pass for two devices that wake every day: generations come weekly, day
// keys go after about two days, and messages are read all along.
func TestWeeksOfTwoDevices(t *testing.T) {
	cluster := shared(t)
	k := &clock{}
	cfg := k.config(t, cluster, "alice-1")
	alice1, words := createWith(t, cfg, "Alice")
	alice2 := linkWith(t, k.config(t, cluster, "alice-2"), alice1, words)
	bob, _ := createWith(t, k.config(t, cluster, "bob-1"), "Bob")
	start := alice1.Account().Generation
	changed := k.local()
	days, most := 30, uint32(5)
	if testing.Short() {
		days, most = 8, 1
	}
	for i := range days {
		k.pass(day)
		was := alice1.Account().Generation
		settle(t, alice1, alice2)
		now := k.local()
		bob.round(t)
		if i%10 == 0 {
			bob.send(t, alice1.id(), now.String())
			alice1.message(t, now.String())
			alice2.message(t, now.String())
		}
		if g := alice1.Account().Generation; g != was {
			if left := now.Sub(changed); left < 6*day-time.Hour || left > 8*day {
				t.Errorf("day %d: generation %d after %s, want about a week", i, g, left)
			}
			changed = now
		}
		if left := now.Sub(changed); left > 8*day {
			t.Fatalf("day %d: no new generation for %s", i, left)
		}
		for _, d := range []*device{alice1, alice2} {
			if n := span(d.Retained(), now); i > 4 && n > 4 {
				t.Errorf("day %d: device %s holds the keys of %d days, want 4 at most", i,
					d.Account().Label, n)
			}
		}
	}
	if g := alice1.Account().Generation - start; g < max(most, 2)-1 || g > most ||
		alice2.Account().Generation-start != g {
		t.Errorf("%d and %d generations in %d days, want %d or one less on both", g,
			alice2.Account().Generation-start, days, most)
	}
	if list, err := alice1.Devices(t.Context()); err != nil || len(list.Devices) != 2 {
		t.Errorf("devices: got %+v, %v, want both", list.Devices, err)
	}
}

// TestSilentDeviceHoldsKeysUntilItIsLeftOut switches one of two devices off.
func TestSilentDeviceHoldsKeysUntilItIsLeftOut(t *testing.T) {
	if testing.Short() {
		t.Skip("plays a month")
	}
	cluster := shared(t)
	k := &clock{}
	alice1, words := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	alice2 := linkWith(t, k.config(t, cluster, "alice-2"), alice1, words)
	settle(t, alice1, alice2)
	alice2.stop()
	held := 0
	for i := 1; i <= 30; i++ {
		k.pass(day)
		settle(t, alice1)
		held = max(held, span(alice1.Retained(), k.local()))
		list, err := alice1.Devices(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		active := 0
		for _, d := range list.Devices {
			if d.Status == "active" {
				active++
			}
		}
		if i < 15 && active != 2 || i > 24 && active != 1 {
			t.Errorf("day %d: %d active devices, want the second one for 16 days and no longer than a "+
				"week more", i, active)
		}
		if span(alice1.Retained(), k.local()) > 18 {
			t.Errorf("day %d: keys of %d days are held, want 18 at most", i, held)
		}
	}
	if held < 16 {
		t.Errorf("keys of %d days were held for the silent device, want 16 at least", held)
	}
	if n := span(alice1.Retained(), k.local()); n > 4 {
		t.Errorf("keys of %d days are held once it is left out, want 4 at most", n)
	}
	// It comes back, learns that it is out, and does not touch anything.
	alice2 = alice2.reopen(t)
	alice2.next(t, "revocation", func(e client.Event) bool {
		return e.Kind == client.EventDevice && e.Device.Kind == "revoked" &&
			e.Device.Device == alice2.Account().Device
	})
	if !alice2.Account().Revoked {
		t.Error("the silent device does not know that it was left out")
	}
}

// TestSoleDeviceNeverLeavesItselfOut switches the only device off for months.
func TestSoleDeviceNeverLeavesItselfOut(t *testing.T) {
	cluster := shared(t)
	k := &clock{}
	alice, _ := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	alice.round(t)
	alice.stop()
	k.pass(100 * day)
	alice = alice.reopen(t)
	alice.round(t)
	if a := alice.Account(); a.Revoked || a.Generation != 2 {
		t.Errorf("got %+v, want the device in generation 2", a)
	}
	if n := span(alice.Retained(), k.local()); n > 4 {
		t.Errorf("keys of %d days are held, want 4 at most", n)
	}
}

// TestClocksThatRunAheadEraseNothing moves one kind of clock at a time past the limit.
func TestClocksThatRunAheadEraseNothing(t *testing.T) {
	cluster := shared(t)
	k := &clock{}
	now := time.Now()
	// noon: just after midnight a day key more is still needed
	k.pass(now.Truncate(day).Add(36 * time.Hour).Sub(now))
	alice, _ := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	k.pass(day)
	before := alice.round(t)
	fresh := func(what string, want bool) {
		t.Helper()
		if erased := len(alice.round(t)) < len(before)+1 && !slices.Contains(alice.Retained(),
			before[0]); erased != want {
			t.Errorf("%s: erased %v, want %v: %v", what, erased, want, alice.Retained())
		}
	}
	k.set(40*day, nil)
	fresh("this machine's clock alone is ahead", false)
	// The network's time is ahead for the client, but two nodes disagree.
	k.set(0, func(int) time.Duration { return -30 * day })
	k.pass(3 * day)
	fresh("the nodes' clocks are behind", false)
	k.set(0, func(i int) time.Duration {
		return []time.Duration{0, -30 * day, -30 * day, -30 * day,
			-30 * day}[i]
	})
	fresh("one node's clock alone is ahead", false)
	k.set(-30*day, nil)
	fresh("this machine's clock is behind", false)
	k.set(0, nil)
	fresh("all clocks agree", true)
}

// TestLeapOfTheClockAsksFurtherNodes lets three days pass at once.
func TestLeapOfTheClockAsksFurtherNodes(t *testing.T) {
	cluster := shared(t)
	k := &clock{}
	alice, _ := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	alice.round(t)
	for i, leap := range []time.Duration{20 * time.Hour, 20 * time.Hour, 20 * time.Hour, 9 * day} {
		k.set(0, nil)
		k.pass(leap)
		alice.round(t)
		k.mu.Lock()
		further := slices.ContainsFunc(k.asked,
			func(besides map[ident.NodeID]time.Time) bool { return len(besides) >= 2 })
		asked := len(k.asked)
		k.mu.Unlock()
		if further != (leap > day) || i == 0 && asked > 0 {
			t.Errorf("leap of %s: asked %d times, further nodes %v", leap, asked, further)
		}
	}
	// Nodes that were not asked before have a say: nothing goes while they disagree.
	before := alice.Retained()
	n := 0
	k.set(0, func(int) time.Duration {
		n++
		if n > 4 {
			return -30 * day
		}
		return 0
	})
	k.pass(5 * day)
	if after := alice.round(t); !slices.Contains(after, before[0]) {
		t.Errorf("got %v after a leap that further nodes deny, want %v in it", after, before[0])
	}
}

// TestNothingIsErasedBeforeItIsFetched keeps a device from reading its mailbox.
func TestNothingIsErasedBeforeItIsFetched(t *testing.T) {
	cluster := shared(t)
	k := &clock{}
	net := &tapped{}
	cfg := k.config(t, cluster, "alice-1")
	alice, _ := createWith(t, cfg, "Alice")
	bob, _ := createWith(t, k.config(t, cluster, "bob-1"), "Bob")
	before := alice.round(t)
	alice.stop()
	cfg.SetNetwork(func(inner client.Network) client.Network {
		net.Network = timed{inner, k}
		return net
	})
	alice.cfg = cfg
	sent := bob.send(t, alice.id(), "read me first")
	if _, err := bob.Wait(patient(t), sent.ID, client.StateStored); err != nil {
		t.Fatal(err)
	}
	k.pass(5 * day)
	net.tap(func(_ string, r *envelope.Request, _ *envelope.Response) error {
		if _, ok := r.Ops[0].(envelope.DeleteBefore); ok { // how SyncToHeads asks for the head
			return fault.New(fault.Limited, "test", "not now")
		}
		return nil
	})
	alice = alice.reopen(t)
	if err := alice.Round(patient(t)); !errors.Is(err, fault.Limited) {
		t.Errorf("upkeep: got %v, want that the mailbox cannot be read", err)
	}
	if got := alice.Retained(); !slices.Contains(got, before[0]) {
		t.Errorf("got %v before everything is fetched, want %v in it", got, before[0])
	}
	net.tap(nil)
	alice.round(t)
	if got := alice.Retained(); slices.Contains(got, before[0]) {
		t.Errorf("got %v once everything is fetched, want %v gone", got, before[0])
	}
	alice.message(t, "read me first")
}

// TestMessageThatWaitsOutlivesItsDayKey keeps a message for days with bytes that were sealed when it was
// written.
func TestMessageThatWaitsOutlivesItsDayKey(t *testing.T) {
	cluster := shared(t)
	k := &clock{}
	alice, _ := createWith(t, k.config(t, cluster, "alice-1"), "Alice")
	bob, _ := createWith(t, k.config(t, cluster, "bob-1"), "Bob")
	alice.send(t, bob.id(), "first")
	bob.message(t, "first")
	if err := alice.Idle(patient(t)); err != nil {
		t.Fatal(err)
	}
	alice.stop()
	c, err := client.Open(alice.cfg) // does not run: what it queues is sealed, and stays
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), bob.id(), client.Outgoing{Text: "late"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	k.pass(4 * day)
	bob.round(t)
	alice.reopen(t)
	bob.message(t, "late")
	if n := bob.Unopened(); n != 0 {
		t.Errorf("%d messages did not open", n)
	}
}
