// Package stories plays what people do, and what befalls them, with real nodes and clients in bubbles of fake
// time (internal/swarmtest). The stories on real sockets are those of test/e2e.
package stories

import (
	"context"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/ident"
	"github.com/starling-swarm/starling/internal/swarmtest"
)

// patience bounds every wait, in fake time.
const patience = 10 * time.Minute

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	t.Cleanup(stop)
	return ctx
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// device is a client that runs, on a host of the same name.
type device struct {
	*client.Client
	cfg    client.Config
	words  string // the account's recovery phrase
	events *client.Subscription
	stop   func()
}

func config(t *testing.T, w *swarmtest.World, host string) client.Config {
	t.Helper()
	return client.Config{Dir: t.TempDir(), Cluster: w.ClusterFile(), Label: host, Dial: w.Dialer(host)}
}

// create makes an account whose first device runs on the host of that name.
func create(t *testing.T, w *swarmtest.World, name string) *device {
	t.Helper()
	cfg := config(t, w, name)
	c, words, err := client.Create(patient(t), cfg, name)
	must(t, "create "+name, err)
	d := &device{Client: c, cfg: cfg, words: words}
	d.run(t)
	return d
}

// run runs an open client until stop, or the end of the story.
func (d *device) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	c := d.Client
	d.events = c.Events()
	go func() { ended <- c.Run(ctx) }()
	d.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		d.stop = func() {}
	}
	t.Cleanup(func() { d.stop() })
}

// reopen starts a device that was stopped.
func (d *device) reopen(t *testing.T) {
	t.Helper()
	c, err := client.Open(d.cfg)
	must(t, "open "+d.cfg.Label, err)
	d.Client = c
	d.run(t)
}

// link links a device on another host to the account of d, by the recovery phrase and d's approval.
func (d *device) link(t *testing.T, w *swarmtest.World, host string) *device {
	t.Helper()
	cfg := config(t, w, host)
	codes := make(chan string, 1)
	linked := make(chan *client.Client, 1)
	go func() {
		c, recovered, err := client.Restore(patient(t), cfg, d.words, client.RestoreOptions{
			OnPending: func(code string, _ ident.DeviceID) { codes <- code },
		})
		if err != nil || recovered {
			t.Errorf("restore: got recovered %v, %v, want to be linked", recovered, err)
		}
		linked <- c
	}()
	code := <-codes
	d.next(t, "link request", func(e client.Event) bool {
		return e.Kind == client.EventLink && e.Link.Code == code
	})
	_, err := d.Approve(patient(t), code)
	must(t, "approve", err)
	c := <-linked
	if c == nil {
		t.FailNow()
	}
	other := &device{Client: c, cfg: cfg, words: d.words}
	other.run(t)
	return other
}

func (d *device) id() ident.AccountID { return d.Account().ID }

// next returns the next event that want accepts.
func (d *device) next(t *testing.T, what string, want func(client.Event) bool) client.Event {
	t.Helper()
	ctx := patient(t)
	for {
		e, err := d.events.Next(ctx)
		if err != nil {
			t.Fatalf("%s waits for %s: %v", d.cfg.Label, what, err)
		}
		if want(e) {
			return e
		}
	}
}

// gets waits for a message.
func (d *device) gets(t *testing.T, text string) client.Message {
	t.Helper()
	return *d.next(t, "message "+text, func(e client.Event) bool {
		return e.Kind == client.EventMessage && e.Message.Text == text
	}).Message
}

// writes queues a message to an account or a group.
func (d *device) writes(t *testing.T, to ident.Peer, text string) client.Sent {
	t.Helper()
	s, err := d.Send(patient(t), to, client.Outgoing{Text: text})
	must(t, "send "+text, err)
	return s
}

// stored waits until the cluster has a message.
func (d *device) stored(t *testing.T, s client.Sent) client.Receipt {
	t.Helper()
	r, err := d.Wait(patient(t), s.ID, client.StateStored)
	must(t, "wait until it is stored", err)
	return r
}

// texts returns what a conversation holds, oldest first.
func (d *device) texts(t *testing.T, conversation string) (out []string) {
	t.Helper()
	all, err := d.Messages(t.Context(), client.Filter{Conversation: conversation})
	must(t, "read messages", err)
	for _, m := range all {
		out = append(out, m.Text)
	}
	return out
}

// knows makes others contacts, who may invite.
func (d *device) knows(t *testing.T, others ...*device) {
	t.Helper()
	for _, o := range others {
		_, err := d.AddContact(patient(t), o.id(), "")
		must(t, "add contact", err)
	}
}
