package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/directory"
	"github.com/starling-swarm/starling/internal/envelope"
	"github.com/starling-swarm/starling/internal/fault"
	"github.com/starling-swarm/starling/internal/ident"
)

// tapped is a network whose requests a test can see, and whose answers it can take away.
type tapped struct {
	client.Network
	mu    sync.Mutex
	after func(purpose string, r *envelope.Request, resp *envelope.Response) error
	skew  time.Duration
}

func (n *tapped) tap(f func(purpose string, r *envelope.Request, resp *envelope.Response) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.after = f
}

func (n *tapped) Do(ctx context.Context, purpose string, m ident.MailboxID, b []byte,
	sign client.SignFunc) (*envelope.Response, ident.Path, error) {
	resp, path, err := n.Network.Do(ctx, purpose, m, b, sign)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && n.after != nil {
		r, derr := envelope.DecodeRequest(b)
		if derr != nil {
			return nil, path, derr
		}
		if err := n.after(purpose, r, resp); err != nil {
			return nil, path, err
		}
	}
	return resp, path, err
}

func (n *tapped) Now() time.Time { return n.Network.Now().Add(n.skew) }

func (n *tapped) Directory() *directory.Directory { return n.Network.Directory() }

// inboxStore returns the body of a request that stores into an inbox.
func inboxStore(r *envelope.Request) ([]byte, bool) {
	put, ok := r.Ops[0].(envelope.Store)
	return put.Body, ok && put.Namespace == envelope.Inbox
}

var errLost = fault.New(fault.Unavailable, "test", "the answer is lost")

// TestDeathBeforeTheAcknowledgementSendsOnce kills a sender after the swarm has stored its message and before
// it knows.
func TestDeathBeforeTheAcknowledgementSendsOnce(t *testing.T) {
	cluster := shared(t)
	bob, _ := create(t, cluster, "Bob")
	net := &tapped{}
	alice := createTapped(t, cluster, "Alice", net)

	var bodies []string
	stored := make(chan struct{}, 16)
	net.tap(func(_ string, r *envelope.Request, _ *envelope.Response) error {
		if body, ok := inboxStore(r); ok {
			bodies = append(bodies, string(body))
			stored <- struct{}{}
			return errLost
		}
		return nil
	})
	sent := alice.send(t, bob.id(), "once")
	<-stored
	alice.kill(t) // as kill -9: nothing is written any more
	net.tap(func(_ string, r *envelope.Request, resp *envelope.Response) error {
		if body, ok := inboxStore(r); ok {
			bodies = append(bodies, string(body))
			if !resp.Results[0].Existed {
				t.Errorf("retry: got a new envelope, want the one that was stored")
			}
		}
		return nil
	})
	alice = alice.reopen(t)
	if r, err := alice.Wait(patient(t), sent.ID, client.StateStored); err != nil {
		t.Fatalf("wait after the restart: got %+v, %v", r, err)
	}
	net.tap(nil)
	if len(bodies) < 2 || bodies[0] != bodies[len(bodies)-1] {
		t.Errorf("retries: got %d stores, want the same bytes again", len(bodies))
	}
	alice.send(t, bob.id(), "sentinel")
	bob.message(t, "once")
	bob.message(t, "sentinel")
	if all, err := bob.Messages(t.Context(), client.Filter{}); err != nil || len(all) != 2 {
		t.Errorf("Bob has %d messages, %v, want 2", len(all), err)
	}
}

func TestDeathBetweenQueueAndSendLosesNothing(t *testing.T) {
	cluster := shared(t)
	bob, _ := create(t, cluster, "Bob")
	alice, _ := create(t, cluster, "Alice")
	alice.stop()
	c, err := client.Open(alice.cfg) // does not run: what it queues does not leave
	if err != nil {
		t.Fatal(err)
	}
	id := ident.MessageID{1, 2, 3}
	died := errors.New("died here")
	for _, at := range []string{"commit", "committed"} {
		c.SetStoreHook(func(p string) error {
			if p == at {
				return died
			}
			return nil
		})
		if _, err := c.Send(t.Context(), bob.id(), client.Outgoing{ID: id, Text: "durable"}); !errors.Is(err,
			died) {
			t.Fatalf("send that dies at %s: got %v", at, err)
		}
	}
	c.SetStoreHook(nil)
	if again, err := c.Send(t.Context(), bob.id(), client.Outgoing{ID: id, Text: "durable"}); err != nil ||
		!again.Existed {
		t.Errorf("send again: got %+v, %v, want that it existed", again, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	alice = alice.reopen(t)
	if _, err := alice.Wait(patient(t), id, client.StateStored); err != nil {
		t.Errorf("wait: %v", err)
	}
	alice.send(t, bob.id(), "sentinel")
	bob.message(t, "sentinel")
	if all, err := bob.Messages(t.Context(), client.Filter{}); err != nil || len(all) != 2 ||
		all[0].ID != id {
		t.Errorf("Bob has %+v, %v, want the message once and the sentinel", all, err)
	}
}

// TestNoDayKeyNoMessage withholds a recipient's day records: nothing may be stored then.
func TestNoDayKeyNoMessage(t *testing.T) {
	cluster := shared(t)
	bob, _ := create(t, cluster, "Bob")
	net := &tapped{}
	alice := createTapped(t, cluster, "Alice", net)
	stores := 0
	net.tap(func(purpose string, r *envelope.Request, resp *envelope.Response) error {
		if _, ok := inboxStore(r); ok {
			stores++
		}
		for i := range resp.Results {
			if op, ok := r.Ops[i].(envelope.RetrieveKey); ok && op.Namespace == envelope.Days {
				resp.Results[i].Envelopes = nil
			}
		}
		return nil
	})
	sent := alice.send(t, bob.id(), "not yet")
	e := alice.next(t, "failed attempt", func(e client.Event) bool {
		return e.Kind == client.EventState &&
			e.Receipt.Cause != nil
	})
	if e.Receipt.State != client.StateQueued || !strings.Contains(e.Receipt.Cause.Error(), "day key") {
		t.Errorf("attempt: got %+v, want queued for want of a day key", e.Receipt)
	}
	net.mu.Lock()
	if stores != 0 {
		t.Errorf("%d messages were stored without a day key", stores)
	}
	net.mu.Unlock()
	net.tap(nil)
	bob.message(t, "not yet")
	if _, err := alice.Wait(patient(t), sent.ID, client.StateStored); err != nil {
		t.Errorf("wait: %v", err)
	}
}

func TestSameIDSendsOnce(t *testing.T) {
	cluster := shared(t)
	bob, _ := create(t, cluster, "Bob")
	alice, _ := create(t, cluster, "Alice")
	id := ident.MessageID{7}
	for i := range 3 {
		s, err := alice.Send(patient(t), bob.id(), client.Outgoing{ID: id, Text: fmt.Sprint("take ", i)})
		if err != nil || s.ID != id || s.Existed != (i > 0) {
			t.Errorf("send %d: got %+v, %v", i, s, err)
		}
	}
	alice.send(t, bob.id(), "sentinel")
	bob.message(t, "take 0")
	bob.message(t, "sentinel")
	if all, err := bob.Messages(t.Context(), client.Filter{}); err != nil || len(all) != 2 {
		t.Errorf("Bob has %+v, %v, want two messages", all, err)
	}
}

func TestOversizedAndEmptyTextsAreInvalid(t *testing.T) {
	cluster := shared(t)
	alice, _ := create(t, cluster, "Alice")
	for name, text := range map[string]string{"empty": "", "long": strings.Repeat("x", client.MaxText+1),
		"no UTF-8": "\xff"} {
		_, err := alice.Send(patient(t), alice.id(), client.Outgoing{Text: text})
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
		if name == "long" && !strings.Contains(err.Error(), fmt.Sprint(client.MaxText)) {
			t.Errorf("%s: got %q, want the limit in it", name, err)
		}
	}
	bob, _ := create(t, cluster, "Bob")
	long := strings.Repeat("y", client.MaxText)
	alice.AddContact(patient(t), bob.id(), "")
	bob.AddContact(patient(t), alice.id(), "")
	alice.send(t, bob.id(), long)
	bob.message(t, long)
}
