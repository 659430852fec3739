package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/node"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// patience bounds every wait of these tests; nothing is expected to take that long.
const patience = time.Minute

func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	t.Cleanup(stop)
	return ctx
}

// one is the cluster that tests without faults share: starting one costs more than most of them.
var one struct {
	sync.Mutex
	*swarmtest.Cluster
}

func TestMain(m *testing.M) {
	swarmtest.SideBySide(4)
	code := m.Run()
	if one.Cluster != nil {
		if err := one.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close cluster:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// parallel holds the tests that run side by side.
var parallel sync.Map

// shared returns the cluster of the tests that make accounts of their own and break nothing. They run side by
// side from the first call on, since most of their time they wait. It is not for use in a synctest bubble.
func shared(t testing.TB) *swarmtest.Cluster {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		if _, already := parallel.LoadOrStore(t, true); !already {
			t.Parallel()
		}
	}
	one.Lock()
	defer one.Unlock()
	if one.Cluster == nil {
		e, err := node.StartEmbedded(patient(t), node.EmbeddedConfig{NoOps: true})
		if err != nil {
			t.Fatalf("start cluster: %v", err)
		}
		one.Cluster = &swarmtest.Cluster{Embedded: e}
	}
	return one.Cluster
}

// device is a client that runs.
type device struct {
	*client.Client
	events *client.Subscription
	cfg    client.Config
	stop   func()
	killed bool
}

// run starts an opened client and ends it with the test.
func run(t testing.TB, c *client.Client, cfg client.Config) *device {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := &device{Client: c, events: c.Events(), cfg: cfg}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stopped := false
	d.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil && !d.killed {
			t.Errorf("run: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(d.stop)
	return d
}

// kill ends a device as kill -9 would: whatever it still does is not written.
func (d *device) kill(t testing.TB) {
	t.Helper()
	d.SetStoreHook(func(string) error { return errors.New("killed") })
	d.killed = true
	d.stop()
}

// reopen ends a device and starts it again from its disk.
func (d *device) reopen(t testing.TB) *device {
	t.Helper()
	d.stop()
	c, err := client.Open(d.cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return run(t, c, d.cfg)
}

func create(t testing.TB, cluster *swarmtest.Cluster, name string) (*device, string) {
	t.Helper()
	return createWith(t, config(t, cluster, name+"-1"), name)
}

func createWith(t testing.TB, cfg client.Config, name string) (*device, string) {
	t.Helper()
	c, words, err := client.Create(patient(t), cfg, name)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return run(t, c, cfg), words
}

func createTapped(t testing.TB, cluster *swarmtest.Cluster, name string, n *tapped) *device {
	t.Helper()
	cfg := config(t, cluster, name+"-1")
	cfg.SetNetwork(func(inner client.Network) client.Network {
		n.Network = inner
		return n
	})
	d, _ := createWith(t, cfg, name)
	return d
}

// config is that of a new profile, with short delays.
func config(t testing.TB, cluster *swarmtest.Cluster, label string) client.Config {
	t.Helper()
	cfg := client.Config{Dir: t.TempDir(), Cluster: cluster.ClusterFile(), Label: label}
	cfg.Hurry()
	return cfg
}

// next returns the next event that want accepts.
func (d *device) next(t testing.TB, what string, want func(client.Event) bool) client.Event {
	t.Helper()
	ctx := patient(t)
	for {
		e, err := d.events.Next(ctx)
		if err != nil {
			t.Fatalf("wait for %s: %v", what, err)
		}
		if want(e) {
			return e
		}
	}
}

func (d *device) message(t testing.TB, text string) client.Message {
	t.Helper()
	return *d.next(t, "message "+text, func(e client.Event) bool {
		return e.Kind == client.EventMessage &&
			e.Message.Text == text
	}).Message
}

func (d *device) send(t testing.TB, to ident.Peer, text string) client.Sent {
	t.Helper()
	s, err := d.Send(patient(t), to, client.Outgoing{Text: text})
	if err != nil {
		t.Fatalf("send %q: %v", text, err)
	}
	return s
}

func (d *device) id() ident.AccountID { return d.Account().ID }

func TestMessageTravelsAndIsAcknowledged(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	sent := alice.send(t, bob.id(), "hello")
	got := bob.message(t, "hello")
	if got.From != alice.id() || got.FromName != "Alice" || !got.Request || got.Unverified ||
		got.ID != sent.ID {
		t.Errorf("got %+v, want a verified request from Alice with ID %s", got, sent.ID)
	}
	r, err := alice.Wait(patient(t), sent.ID, client.StateStored)
	if err != nil || r.Replicas != 2 || r.Path[0] == r.Path[1] || r.Path[1] == r.Path[2] {
		t.Errorf("receipt: got %+v, %v, want 2 replicas and three hops", r, err)
	}
	bob.send(t, alice.id(), "hi")
	if got := alice.message(t, "hi"); got.Request || got.From != bob.id() {
		t.Errorf("answer: got %+v, want no request from Bob", got)
	}
	second := alice.send(t, bob.id(), "how are you?")
	if got := bob.message(t, "how are you?"); got.Request {
		t.Errorf("after an answer: got a request, want none")
	}
	if r, err := alice.Wait(patient(t), second.ID, client.StateDelivered); err != nil {
		t.Errorf("delivered receipt: got %+v, %v", r, err)
	}
	if err := alice.Idle(patient(t)); err != nil {
		t.Errorf("idle: %v", err)
	}
}

// TestStrictReadsStoreNothing reads through the leader, which takes a write that cannot come about.
func TestStrictReadsStoreNothing(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	bob, _ := create(t, cluster, "Bob")
	if n, err := alice.StrictCerts(patient(t), bob.id()); err != nil || n != 1 {
		t.Errorf("certificates at the leader: got %d, %v, want 1", n, err)
	}
	if err := bob.SyncToHeads(patient(t)); err != nil {
		t.Fatal(err)
	}
	if all, err := bob.Messages(t.Context(), client.Filter{}); err != nil || len(all) != 0 ||
		bob.Unopened() != 0 {
		t.Errorf("Bob has %d messages and %d that do not open, %v, want none", len(all), bob.Unopened(), err)
	}
}

func TestUnknownAccountIsNotFound(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	stranger := alice.id()
	for { // a point of the curve that nobody owns
		stranger[5]++
		if _, err := alice.Send(patient(t), stranger, client.Outgoing{Text: "x"}); err == nil {
			break
		} else if !errors.Is(err, fault.NotFound) {
			t.Fatalf("send to no point: got %v, want not found", err)
		}
	}
	sent := alice.send(t, stranger, "anybody?")
	if r, err := alice.Wait(patient(t), sent.ID, client.StateStored); !errors.Is(err, fault.NotFound) ||
		r.State != client.StateFailed {
		t.Errorf("wait: got %+v, %v, want failed, not found", r, err)
	}
	if _, err := alice.AddContact(patient(t), stranger, "ghost"); !errors.Is(err, fault.NotFound) {
		t.Errorf("add contact: got %v, want not found", err)
	}
}
